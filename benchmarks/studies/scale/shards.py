"""`python -m benchmarks.studies shards`: four shards of a folder, one of them killed, compared with one run.

Also the cost of merging, with made-up records.
"""

import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Annotated

import typer

from benchmarks.records.environment import Environment
from benchmarks.studies.scale.groups import Member, run_group
from fracture_edge.batch.resume import partial_path
from fracture_edge.batch.shard import Shard
from fracture_edge.console import say
from fracture_edge.doctor.known_answers import IMAGES, phantom
from fracture_edge.errors import FractureEdgeError
from fracture_edge.prediction import Prediction
from train.json_records import write_record

app = typer.Typer(add_completion=False, rich_markup_mode=None)
RESULTS = Path(__file__).resolve().parents[2] / "results" / "shards.json"
_ROOT = Path(__file__).resolve().parents[3]
#: Every so many files, one is broken.
BROKEN = 50
SHARDS, KILLED = 4, 2


@dataclass(frozen=True, slots=True, kw_only=True)
class MergeCost:
    """Cost of merging made-up records.

    Attributes:
        records: Number of records, in four parts.
        seconds: Time of the process, in seconds.
        cpu_seconds: Processor time of the process, in seconds.
        memory_mb: Peak memory of the process, in MB (10^6 bytes).
    """

    records: int
    seconds: float
    cpu_seconds: float
    memory_mb: float


@dataclass(frozen=True, slots=True, kw_only=True)
class ShardsResult:
    """One run over a folder, and four shards of it at the same time.

    Attributes:
        files: Number of files, among them broken ones.
        broken: Number of broken files.
        shard_files: Number of files of each shard.
        kept: Number of records that the killed shard had written.
        classified_again: Number of files that it classified after it was resumed.
        equal: Whether the merged file is that of one run, but for the times of the records.
        merge_exit: Exit status of `merge`.
        merging: Cost of merging.
        environment: Machine and package versions.
    """

    files: int
    broken: int
    shard_files: tuple[int, ...]
    kept: int
    classified_again: int
    equal: bool
    merge_exit: int
    merging: tuple[MergeCost, ...]
    environment: Environment


def draw_files(folder: Path, count: int) -> list[Path]:
    """Make a folder of files, most of them links to a few drawn images, some of them broken."""
    drawn = folder / "drawn"
    drawn.mkdir(parents=True)
    for number in range(IMAGES):
        (drawn / f"{number}.png").write_bytes(phantom(number))
    (drawn / "broken.png").write_bytes((drawn / "0.png").read_bytes()[:-100])
    files = folder / "files"
    files.mkdir()
    for number in range(count):
        name = "broken" if number % BROKEN == BROKEN // 2 else str(number % IMAGES)
        os.link(drawn / f"{name}.png", files / f"{number:06}.png")
    return sorted(files.iterdir())


def without_times(path: Path) -> str:
    """Read a file of JSON lines with its times replaced."""
    return re.sub(r'"elapsed_ms": [0-9.]+', '"elapsed_ms": 0', path.read_text(encoding="utf-8"))


def start(*arguments: object) -> "subprocess.Popen[bytes]":
    """Start `fracture-edge`."""
    return subprocess.Popen(  # noqa: S603
        [sys.executable, "-P", "-m", "fracture_edge", *map(str, arguments)],
        env={**os.environ, "PYTHONPATH": str(_ROOT), "OPENBLAS_NUM_THREADS": "1"},
        stderr=subprocess.DEVNULL,
    )


def run_shards(folder: Path, count: int) -> ShardsResult:
    """Classify a folder in one run and in shards, kill a shard when it is half done, and merge.

    Args:
        folder: Empty folder for everything.
        count: Number of files.

    Raises:
        FractureEdgeError: A process failed.
    """
    files = draw_files(folder, count)
    parts = [folder / f"part-{number}.jsonl" for number in range(1, SHARDS + 1)]

    def classify(output: Path, *options: object) -> "subprocess.Popen[bytes]":
        return start("classify", folder / "files", "--jsonl", "-o", output, *options)

    whole = folder / "whole.jsonl"
    _wait([classify(whole)])
    shards = [Shard(number, SHARDS).of(files) for number in range(1, SHARDS + 1)]
    processes = [
        classify(part, "--shard", f"{number}/{SHARDS}", "--jobs", 1) for number, part in enumerate(parts, 1)
    ]
    kept = _kill_half_way(processes.pop(KILLED - 1), partial_path(parts[KILLED - 1]), len(shards[KILLED - 1]) // 2)
    processes.append(classify(parts[KILLED - 1], "--shard", f"{KILLED}/{SHARDS}", "--resume"))
    _wait(processes)
    names = folder / "names"
    names.write_text("".join(f"{file}\n" for file in files), encoding="utf-8")
    merged = folder / "merged.jsonl"
    code = start("merge", *parts, "-o", merged, "--expect", names).wait()
    before = partial_path(parts[KILLED - 1])
    if before.exists():
        raise FractureEdgeError(f"{before} is still there")
    return ShardsResult(
        files=len(files),
        broken=sum(number % BROKEN == BROKEN // 2 for number in range(count)),
        shard_files=tuple(map(len, shards)),
        kept=kept,
        classified_again=len(shards[KILLED - 1]) - kept,
        equal=merged.exists() and without_times(merged) == without_times(whole),
        merge_exit=code,
        merging=(),
        environment=Environment.here(),
    )


def _kill_half_way(process: "subprocess.Popen[bytes]", partial: Path, records: int) -> int:
    """Kill a process once it has written so many records, and return how many it left."""
    while process.poll() is None:
        if partial.exists() and partial.read_bytes().count(b"\n") >= records:
            process.send_signal(signal.SIGKILL)
            process.wait()
            return partial.read_bytes().count(b"\n")
        time.sleep(0.01)
    raise FractureEdgeError("the shard ended before it was killed; give more files")


def _wait(processes: Sequence["subprocess.Popen[bytes]"]) -> None:
    for process in processes:
        # Some files are broken.
        if process.wait() not in (0, 3):
            raise FractureEdgeError(f"a process failed with exit status {process.returncode}")


def merge_cost(folder: Path, example: Prediction, records: int) -> MergeCost:
    """Measure the merging of made-up records in the order of a list.

    Args:
        folder: Folder for the files.
        example: Prediction that all records are made of.
        records: Number of records.
    """
    parts = [folder / f"made-up-{number}.jsonl" for number in range(SHARDS)]
    names = folder / "made-up"
    streams = [part.open("w", encoding="utf-8") for part in parts]
    with names.open("w", encoding="utf-8") as listed:
        for number in range(records):
            path = f"archive/{number // 1000:06}/{number:09}.dcm"
            listed.write(f"{path}\n")
            shard = next(shard for shard in range(SHARDS) if Shard(shard + 1, SHARDS).has(path))
            streams[shard].write(json.dumps(replace(example, path=path).record()) + "\n")
    for stream in streams:
        stream.close()
    merged = folder / "made-up.jsonl"
    arguments = [
        "-m",
        "fracture_edge",
        "merge",
        *map(str, parts),
        "-o",
        str(merged),
        "--expect",
        str(names),
        "--force",
    ]
    cost = run_group([Member(arguments, frozenset(os.sched_getaffinity(0)), ())])
    return MergeCost(records=records, seconds=cost.seconds, cpu_seconds=cost.cpu_seconds, memory_mb=cost.memory_mb)


@app.command()
def run(
    count: Annotated[int, typer.Option(min=100, help="Number of files.")] = 10_000,
    records: Annotated[
        list[int] | None, typer.Option(min=1, help="Number of records to merge; repeat it. Default: 10^4 to 10^6.")
    ] = None,
    output: Annotated[
        Path, typer.Option("--output", "-o", metavar="FILE.json", help="Write the JSON here.", show_default=False)
    ] = RESULTS,
) -> None:
    """Classify a folder in four shards, kill one and resume it, merge them, and compare with one run."""
    from fracture_edge.classifier import FractureClassifier

    example = FractureClassifier().predict(phantom(0))
    with TemporaryDirectory(prefix="fracture-edge-study-") as folder:
        costs = tuple(
            merge_cost(Path(folder), example, number) for number in records or (10_000, 100_000, 1_000_000)
        )
    with TemporaryDirectory(prefix="fracture-edge-study-") as folder:
        result = replace(run_shards(Path(folder), count), merging=costs)
    write_record(output, result)
    say(
        f"{result.files} files, {result.kept} records kept, {result.classified_again} files again: "
        f"{'equal' if result.equal else 'DIFFERENT'}, merge exit {result.merge_exit}"
    )
    if not result.equal or result.merge_exit:
        raise FractureEdgeError("the merged file is not that of one run")
