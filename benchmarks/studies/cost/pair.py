"""Two model files timed in turns on one thread: `python -m benchmarks.studies pair A.onnx B.onnx`.

Prints the latency percentiles of both and the median of the rounds' ratios B / A with its 95 % interval.
"""

import json
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import typer

from benchmarks.environment import environment
from benchmarks.runtimes.runners import runner_of
from benchmarks.speed.latency import rounds, summary
from benchmarks.speed.ratio import ratio
from fracture_edge.classifier import FractureClassifier
from fracture_edge.modelfile import read_tflite_info

app = typer.Typer(add_completion=False, rich_markup_mode=None)


def pair(first: Path, second: Path, runs: int) -> dict[str, Any]:
    """Time two files that take the same input.

    Args:
        first: An ``.onnx`` or ``.tflite`` file.
        second: Likewise.
        runs: Timed rounds.

    Returns:
        Percentiles of both in milliseconds, and ``ratio``: median of second / first over the rounds with the 95 %
        interval of that median.
    """
    info = read_tflite_info(first) if first.suffix == ".tflite" else FractureClassifier(first).info
    size = info.preprocessing
    images = np.random.default_rng(0).integers(0, 256, (8, 1, size.height, size.width, 1), np.uint8)
    contenders = {name: runner_of(path, 1).probabilities for name, path in (("first", first), ("second", second))}
    seconds = rounds(contenders, list(images), runs)
    return {
        "first": {"file": first.name, **asdict(summary(seconds["first"]))},
        "second": {"file": second.name, **asdict(summary(seconds["second"]))},
        "ratio": asdict(ratio(seconds["second"], seconds["first"])),
        "threads": 1,
        "environment": environment(),
    }


@app.command()
def run(
    first: Annotated[Path, typer.Argument(metavar="A.onnx", help="A model file; .tflite as well.")],
    second: Annotated[Path, typer.Argument(metavar="B.onnx", help="Another that takes the same input.")],
    runs: Annotated[int, typer.Option(min=1, help="Timed rounds.")] = 300,
) -> None:
    """Time two model files in turns on one thread; print percentiles and the ratio B / A as JSON."""
    print(json.dumps(pair(first, second, runs), indent=2))
