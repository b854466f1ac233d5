"""Two model files timed in turns on one thread: `python -m benchmarks.studies pair A.onnx B.onnx`.

Prints the latency percentiles of both and the median of the rounds' ratios B / A with its 95 % interval.
"""

import argparse
import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.environment import environment
from benchmarks.runtimes.runners import runner_of
from benchmarks.speed.latency import rounds, summary
from benchmarks.speed.ratio import ratio
from fracture_edge.classifier import FractureClassifier
from fracture_edge.modelfile import read_tflite_info


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


def main() -> None:
    """Time the two files named on the command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("first", type=Path)
    parser.add_argument("second", type=Path)
    parser.add_argument("--runs", type=int, default=300)
    arguments = parser.parse_args()
    print(json.dumps(pair(arguments.first, arguments.second, arguments.runs), indent=2))


if __name__ == "__main__":
    main()
