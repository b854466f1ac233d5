"""`python -m benchmarks.studies archive`: `fracture-edge archive` on a Ray cluster of two nodes, with failures.

Everything runs in a network namespace of its own. It needs Linux, root, and the extra [ray].
"""

import json
import os
import signal
import subprocess
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Annotated, Any

import typer

from benchmarks.records.environment import Environment
from benchmarks.studies.network import enter_namespace
from benchmarks.studies.scale.opens import Opens
from benchmarks.studies.scale.shards import draw_files, start, without_times
from fracture_edge.batch.archive.blocks import TASK_FILES
from fracture_edge.console import say
from fracture_edge.errors import FractureEdgeError
from train.json_records import write_record

app = typer.Typer(add_completion=False, rich_markup_mode=None)
RESULTS = Path(__file__).resolve().parents[2] / "results" / "archive.json"
_SECONDS = 600.0
#: Number of files of the small run, which shows how much of the time is the start.
FEW = 100
#: Share of the records after which something is killed.
_KILL_AFTER = 0.3


@dataclass(frozen=True, slots=True, kw_only=True)
class ArchiveRun:
    """Run on the cluster.

    Attributes:
        seconds: Time of the command, in seconds.
        equal: Whether its records are those of `classify`, but for their times.
        by_node: Number of files that each node classified, in descending order.
    """

    seconds: float
    equal: bool
    by_node: tuple[int, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class ArchiveResult:
    """What a cluster of two nodes withstood.

    Attributes:
        files: Number of files, among them broken ones.
        broken: Number of broken files.
        task_files: Number of files of a task.
        block_files: Number of files of a block.
        classify_seconds: Seconds of `classify` on the same cores, for `FEW` files and for all.
        few: Run over `FEW` files.
        undisturbed: Run over all.
        raylet_killed: Run during which one node was killed by SIGKILL.
        records_at_kill: Number of records that had arrived when the driver was killed by SIGKILL.
        repeated: Number of files that were opened before and after the driver was killed.
        driver_killed: Run that went on after that.
        memory_mb: Largest sum of the resident memory of Ray's own processes on both nodes, without workers and the
            command, in MB (10^6 bytes).
        load_average: Average number of processes that wanted to run in the 15 minutes before the end, this
            study's own among them.
        environment: Machine and package versions.
        ray: Version of Ray.
    """

    files: int
    broken: int
    task_files: int
    block_files: int
    classify_seconds: tuple[float, float]
    few: ArchiveRun
    undisturbed: ArchiveRun
    raylet_killed: ArchiveRun
    records_at_kill: int
    repeated: int
    driver_killed: ArchiveRun
    memory_mb: float
    load_average: float
    environment: Environment
    ray: str


class _Cluster:
    """Cluster of two nodes with one core each on the loopback address."""

    def __init__(self) -> None:
        os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
        from ray.cluster_utils import Cluster

        self._options = {"num_cpus": 1, "node_ip_address": "127.0.0.1", "object_store_memory": 200_000_000}
        self._cluster = Cluster(initialize_head=True, head_node_args={**self._options, "include_dashboard": False})
        self._second: Any = None
        self.add_second()

    @property
    def address(self) -> str:
        """Address of the cluster."""
        return str(self._cluster.address)

    def add_second(self) -> None:
        """Start the second node."""
        self._second = self._cluster.add_node(**self._options)

    def kill_second(self) -> None:
        """Kill the raylet of the second node by SIGKILL."""
        (raylet,) = self._second.all_processes["raylet"]
        os.kill(raylet.process.pid, signal.SIGKILL)

    def memory_mb(self) -> float:
        """Return the resident memory of Ray's own processes, in MB."""
        pids = {
            entry.process.pid
            for node in self._cluster.list_all_nodes()
            for entries in node.all_processes.values()
            for entry in entries
        }
        pages = 0
        for pid in pids:
            statm = Path(f"/proc/{pid}/statm")
            pages += int(statm.read_text(encoding="utf-8").split()[1]) if statm.exists() else 0
        return pages * os.sysconf("SC_PAGE_SIZE") / 1e6

    def close(self) -> None:
        """Stop all nodes."""
        self._cluster.shutdown()


def run_archive(folder: Path, count: int, block_files: int) -> ArchiveResult:
    """Run `archive` undisturbed, with a raylet killed, and with the driver killed.

    Args:
        folder: Empty folder for everything.
        count: Number of files.
        block_files: Number of files of a block.
    """
    import ray

    files = draw_files(folder, count)
    few = folder / "few"
    few.mkdir()
    for file in files[:FEW]:
        os.link(file, few / file.name)
    whole, whole_few = folder / "whole.jsonl", folder / "few.jsonl"
    classify_seconds = (_classify(few, whole_few), _classify(folder / "files", whole))
    cluster = _Cluster()
    try:

        def launch(output: Path, source: Path, *options: object) -> "subprocess.Popen[bytes]":
            return start(
                "archive", source, "-o", output, "--address", cluster.address, "--block", block_files, *options
            )

        def measured(name: str, source: Path, expected: Path, meanwhile: Callable[[Path], None]) -> ArchiveRun:
            output, started = folder / name, time.monotonic()
            process = launch(output, source)
            meanwhile(output)
            return _finished(process, output, expected, time.monotonic() - started)

        small = measured("few-out", few, whole_few, lambda output: None)
        undisturbed = measured("out", folder / "files", whole, lambda output: None)
        memory = cluster.memory_mb()

        def kill_node(output: Path) -> None:
            _wait_for_records(output, int(count * _KILL_AFTER))
            cluster.kill_second()

        raylet_killed = measured("raylet", folder / "files", whole, kill_node)
        cluster.add_second()
        output = folder / "driver"
        with Opens(folder / "files") as before:
            process = launch(output, folder / "files")
            _wait_for_records(output, int(count * _KILL_AFTER))
            process.send_signal(signal.SIGKILL)
            process.wait()
            _wait_until_quiet(before)
        kept = _records(output)
        with Opens(folder / "files") as after:
            started = time.monotonic()
            resumed = launch(output, folder / "files", "--resume")
            driver_killed = _finished(resumed, output, whole, time.monotonic() - started)
        if before.lost or after.lost:
            raise FractureEdgeError("the system lost events; the number of repeated files is not known")
    finally:
        cluster.close()
    return ArchiveResult(
        files=count,
        broken=without_times(whole).count('"status": "truncated"'),
        task_files=TASK_FILES,
        block_files=block_files,
        classify_seconds=classify_seconds,
        few=small,
        undisturbed=undisturbed,
        raylet_killed=raylet_killed,
        records_at_kill=kept,
        repeated=len(before.counts.keys() & after.counts.keys()),
        driver_killed=driver_killed,
        memory_mb=round(memory, 1),
        load_average=round(os.getloadavg()[2], 1),
        environment=Environment.here(),
        ray=ray.__version__,
    )


def _classify(source: Path, output: Path) -> float:
    started = time.monotonic()
    if (code := start("classify", source, "--jsonl", "-o", output).wait()) not in (0, 3):
        raise FractureEdgeError(f"classify failed with exit status {code}")
    return round(time.monotonic() - started, 2)


def _finished(process: "subprocess.Popen[bytes]", output: Path, expected: Path, before: float) -> ArchiveRun:
    started = time.monotonic()
    if (code := process.wait(_SECONDS)) not in (0, 3):
        raise FractureEdgeError(f"archive failed with exit status {code}")
    return ArchiveRun(
        seconds=round(before + time.monotonic() - started, 2),
        equal=without_times(output / "answers.jsonl") == without_times(expected),
        by_node=tuple(sorted(json.loads((output / "nodes.json").read_text()).values(), reverse=True)),
    )


def _records(output: Path) -> int:
    return sum(part.read_bytes().count(b"\n") for part in (output / "parts").glob("*.jsonl*"))


def _wait_for_records(output: Path, count: int) -> None:
    deadline = time.monotonic() + _SECONDS
    while _records(output) < count:
        if time.monotonic() > deadline:
            raise FractureEdgeError(f"no {count} records after {_SECONDS:.0f} s")
        time.sleep(0.01)


def _wait_until_quiet(opens: Opens) -> None:
    """Wait until workers that outlive the driver for a moment open no more files."""
    before = -1
    while before != opens.counts.total():
        before = opens.counts.total()
        time.sleep(2)


@app.command()
def run(
    count: Annotated[int, typer.Option(min=FEW, help="Number of files.")] = 1000,
    block: Annotated[int, typer.Option(min=1, help="Number of files of a block.")] = 250,
    output: Annotated[
        Path, typer.Option("--output", "-o", metavar="FILE.json", help="Write the JSON here.", show_default=False)
    ] = RESULTS,
) -> None:
    """Classify an archive on two nodes: undisturbed, with a node killed, with the driver killed and resumed."""
    enter_namespace()
    with TemporaryDirectory(prefix="fracture-edge-study-") as folder:
        result = run_archive(Path(folder), count, block)
    write_record(output, result)
    for name, one in (
        ("few", result.few),
        ("undisturbed", result.undisturbed),
        ("raylet killed", result.raylet_killed),
        ("driver killed", result.driver_killed),
    ):
        say(f"{name}: {one.seconds:.1f} s, {'equal' if one.equal else 'DIFFERENT'}, files by node {one.by_node}")
    say(f"{result.records_at_kill} records when the driver was killed, {result.repeated} files opened again")
