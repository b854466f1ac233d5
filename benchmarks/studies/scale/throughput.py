"""`python -m benchmarks.studies throughput FOLDER`: images a second on one core and on two, beside yardsticks.

Everything is a process of its own, from its start to its last record, pinned to its cores. The contenders take
turns, so that other load on the machine meets all of them; how much there was is part of the result. It needs
Linux.
"""

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory
from typing import Annotated

import typer

from benchmarks.records.environment import Environment
from benchmarks.speed.ratio import Ratio, ratio
from benchmarks.studies.scale.groups import GroupCost, Member, run_group
from fracture_edge.batch.folders import find_images
from fracture_edge.console import say
from fracture_edge.errors import FractureEdgeError
from train.json_records import write_record

app = typer.Typer(add_completion=False, rich_markup_mode=None)
RESULTS = Path(__file__).resolve().parents[2] / "results" / "throughput.json"
#: Names of the contenders. "One image" is the constant part: start of the process and of the model.
ONE_IMAGE = "`classify` of one image"
ONE_CORE, TWO_CORES = "`classify`, one core", "`classify`, two cores"
ONE_THREAD = "`classify --threads 1`, two cores"
HALVES = "two processes of `classify`, a core and half of the images each"
MANY_ONE, MANY_TWO = "`predict_many`, one core", "`predict_many`, two cores"
PLAIN, PLAIN_HALVES = "Pillow and onnxruntime alone, one core", "two processes of it, half of the images each"


@dataclass(frozen=True, slots=True, kw_only=True)
class Contender:
    """Measurements of one way of classifying the images.

    Attributes:
        name: Name of the contender.
        images: Number of images.
        seconds: Seconds of each round, from the start of the processes to their end.
        cpu_seconds: Processor time of each round.
        memory_mb: Largest sum of the peak memory of its processes, in MB (10^6 bytes).
    """

    name: str
    images: int
    seconds: tuple[float, ...]
    cpu_seconds: tuple[float, ...]
    memory_mb: float

    @property
    def images_per_second(self) -> float:
        """Images a second, by the median round."""
        return self.images / median(self.seconds)


@dataclass(frozen=True, slots=True, kw_only=True)
class Throughput:
    """Throughput of `classify` and of yardsticks.

    Attributes:
        data: Name of the folder of images.
        megabytes: Mean size of a file in MB (10^6 bytes).
        contenders: Measurements, by contender.
        other_cores: Number of cores that other processes kept busy during the measurement, on average.
        environment: Machine and package versions.
    """

    data: str
    megabytes: float
    contenders: tuple[Contender, ...]
    other_cores: float
    environment: Environment

    def contender(self, name: str) -> Contender:
        """Return the contender of a name."""
        return next(each for each in self.contenders if each.name == name)

    def speedup(self, slow: str, fast: str) -> Ratio:
        """Compute how many times as fast one contender is as another, over the rounds."""
        return ratio(self.contender(slow).seconds, self.contender(fast).seconds)


def groups(files: Sequence[Path], folder: Path, cores: Sequence[int]) -> Mapping[str, Sequence[Member]]:
    """Return the processes of each contender.

    Args:
        files: Paths of the images.
        folder: Folder for the records.
        cores: Numbers of two cores.
    """
    first, second, both = frozenset(cores[:1]), frozenset(cores[1:2]), frozenset(cores[:2])
    halves = ((first, files[::2]), (second, files[1::2]))

    def classify(cores: frozenset[int], files: Sequence[Path], *options: str) -> Member:
        output = folder / f"{min(cores)}.jsonl"
        return Member(
            ["-m", "fracture_edge", "classify", "-", "--jsonl", "-o", str(output), "--force", *options],
            cores,
            files,
        )

    def worker(name: str, cores: frozenset[int], files: Sequence[Path]) -> Member:
        return Member(["-m", "benchmarks.studies.scale.workers", name], cores, files)

    return {
        ONE_IMAGE: [classify(both, files[:1])],
        ONE_CORE: [classify(first, files)],
        TWO_CORES: [classify(both, files)],
        ONE_THREAD: [classify(both, files, "--threads", "1")],
        HALVES: [classify(core, half) for core, half in halves],
        MANY_ONE: [worker("predict_many", first, files)],
        MANY_TWO: [worker("predict_many", both, files)],
        PLAIN: [worker("plain_loop", first, files)],
        PLAIN_HALVES: [worker("plain_loop", core, half) for core, half in halves],
    }


def throughput(files: Sequence[Path], data: str, rounds: int) -> Throughput:
    """Measure all contenders in turns.

    Args:
        files: Paths of the images, all of which can be classified.
        data: Name of the folder of images.
        rounds: Number of rounds, after a short one that is not counted.

    Raises:
        FractureEdgeError: There are fewer than two cores, or a process failed.
    """
    cores = sorted(os.sched_getaffinity(0))
    if len(cores) < 2:
        raise FractureEdgeError("the study compares one core with two, and this process may use one only")
    costs: dict[str, list[GroupCost]] = {}
    with TemporaryDirectory(prefix="fracture-edge-study-") as folder:
        for group in groups(files[:4], Path(folder), cores).values():
            run_group(group)
        before = _busy_seconds()
        for number in range(rounds):
            for name, group in groups(files, Path(folder), cores).items():
                cost = run_group(group)
                costs.setdefault(name, []).append(cost)
                say(f"round {number + 1}: {name}: {cost.seconds:.2f} s, processor {cost.cpu_seconds:.2f} s")
        busy = _busy_seconds() - before
    ours = sum(cost.cpu_seconds for found in costs.values() for cost in found)
    elapsed = sum(cost.seconds for found in costs.values() for cost in found)
    return Throughput(
        data=data,
        megabytes=round(sum(file.stat().st_size for file in files) / len(files) / 1e6, 3),
        contenders=tuple(
            Contender(
                name=name,
                images=1 if name == ONE_IMAGE else len(files),
                seconds=tuple(cost.seconds for cost in found),
                cpu_seconds=tuple(cost.cpu_seconds for cost in found),
                memory_mb=max(cost.memory_mb for cost in found),
            )
            for name, found in costs.items()
        ),
        other_cores=round(max(0.0, busy - ours) / elapsed, 2),
        environment=Environment.here(),
    )


def _busy_seconds() -> float:
    """Return the time that all cores together were busy since the start of the system, in seconds (proc(5))."""
    user, nice, system, _idle, _iowait, *interrupts = map(
        int, Path("/proc/stat").read_text(encoding="utf-8").splitlines()[0].split()[1:8]
    )
    return float(user + nice + system + sum(interrupts)) / os.sysconf("SC_CLK_TCK")


@app.command()
def run(
    folder: Annotated[Path, typer.Argument(help="Folder of images, searched with its sub-folders.")],
    count: Annotated[int, typer.Option(min=4, help="Number of images, spread evenly over the folder.")] = 1000,
    rounds: Annotated[int, typer.Option(min=1, help="Number of rounds.")] = 5,
    output: Annotated[
        Path, typer.Option("--output", "-o", metavar="FILE.json", help="Write the JSON here.", show_default=False)
    ] = RESULTS,
) -> None:
    """Compare one core with two, with two processes, and with a plain loop of Pillow and onnxruntime."""
    from fracture_edge.classifier import FractureClassifier

    found = find_images(folder, recursive=True).images
    spread = found[:: max(1, len(found) // count)][:count]
    # Some files are broken on purpose, and cost nothing.
    usable = [
        file
        for file, answer in zip(spread, FractureClassifier().predict_many(spread, jobs=2), strict=True)
        if answer.ok
    ]
    if len(usable) < 2:
        raise FractureEdgeError(
            f"{folder}: {len(usable)} images that can be classified; the study needs two or more"
        )
    result = throughput(usable, folder.resolve().name, rounds)
    write_record(output, result)
    for each in result.contenders:
        say(f"{each.name}: {each.images_per_second:.1f} images/s, {each.memory_mb:.0f} MB")
    for slow, fast in ((ONE_CORE, TWO_CORES), (ONE_CORE, ONE_THREAD), (ONE_CORE, HALVES), (MANY_ONE, MANY_TWO)):
        found_ratio = result.speedup(slow, fast)
        say(f"{fast}: {found_ratio.value:.2f} [{found_ratio.low:.2f}, {found_ratio.high:.2f}] times {slow}")
    say(f"other processes kept {result.other_cores:.2f} cores busy")
