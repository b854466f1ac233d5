"""Time two model files in turns on one thread: `python -m benchmarks.studies pair A.onnx B.onnx`.

Prints the latency percentiles of both, and the median over all rounds of the ratio B / A with its 95 % interval.
"""

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import numpy as np
import typer

from benchmarks.records.environment import Environment
from benchmarks.runtimes.runners import runner_of
from benchmarks.speed.latency import rounds, summary
from benchmarks.speed.ratio import Ratio, ratio
from fracture_edge.classifier import FractureClassifier
from fracture_edge.modelfile import read_tflite_info
from train.json_records import to_plain

app = typer.Typer(add_completion=False, rich_markup_mode=None)
#: Number of images that the rounds go through.
_IMAGES = 8


@dataclass(frozen=True, slots=True)
class TimedFile:
    """Latency of one file.

    Attributes:
        file: Name of the file.
        p50: Median, in milliseconds.
        p90: 90th percentile, in milliseconds.
        p99: 99th percentile, in milliseconds.
        runs: Number of timed rounds.
    """

    file: str
    p50: float
    p90: float
    p99: float
    runs: int

    @classmethod
    def of(cls, file: Path, seconds: Sequence[float]) -> "TimedFile":
        """Create it from a file and the seconds of each round."""
        found = summary(seconds)
        return cls(file.name, found.p50, found.p90, found.p99, found.runs)


@dataclass(frozen=True, slots=True)
class Pair:
    """Latencies of two files that were timed in turns.

    Attributes:
        first: Latency of the first file.
        second: Latency of the second file.
        ratio: Median of second / first over the rounds.
        threads: Number of threads.
        environment: Machine and package versions.
    """

    first: TimedFile
    second: TimedFile
    ratio: Ratio
    threads: int
    environment: Environment


def pair(first: Path, second: Path, runs: int) -> Pair:
    """Time two files, each with images of its own input size.

    Args:
        first: Path of an ``.onnx`` or ``.tflite`` file.
        second: Path of another ``.onnx`` or ``.tflite`` file.
        runs: Number of timed rounds.
    """
    functions = {"first": _inference(first), "second": _inference(second)}
    seconds = rounds(functions, range(_IMAGES), runs)
    return Pair(
        first=TimedFile.of(first, seconds["first"]),
        second=TimedFile.of(second, seconds["second"]),
        ratio=ratio(seconds["second"], seconds["first"]),
        threads=1,
        environment=Environment.here(),
    )


def _inference(file: Path) -> Callable[[int], object]:
    """Return a function that computes P(fractured) of one of a few noise images of the file's input size."""
    info = read_tflite_info(file) if file.suffix == ".tflite" else FractureClassifier(file).info
    size = info.preprocessing
    images = np.random.default_rng(0).integers(0, 256, (_IMAGES, 1, size.height, size.width, 1), np.uint8)
    runner = runner_of(file, 1)
    return lambda number: runner.probabilities(images[number])


@app.command()
def run(
    first: Annotated[Path, typer.Argument(metavar="A.onnx", help="Model file, .onnx or .tflite.")],
    second: Annotated[Path, typer.Argument(metavar="B.onnx", help="Another model file.")],
    runs: Annotated[int, typer.Option(min=1, help="Number of timed rounds.")] = 300,
) -> None:
    """Time two model files in turns on one thread; print percentiles and the ratio B / A as JSON."""
    print(json.dumps(to_plain(pair(first, second, runs)), indent=2))
