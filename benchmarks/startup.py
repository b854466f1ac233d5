"""Whole-process time and peak memory of `fracture-edge classify one.png`: `python -m benchmarks.startup`.

The yardstick is a process that only imports what any such program must, numpy, Pillow and onnxruntime. Both
are started in turn, so that whatever else the machine does hurts both.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
from PIL import Image

from benchmarks.environment import environment

YARDSTICK = (sys.executable, "-c", "import numpy, PIL.Image, onnxruntime")
WARM_UP = 3


def run_once(command: Sequence[str]) -> tuple[float, float]:
    """Run a process to its end: seconds, and peak resident memory in MB (10^6 bytes).

    Raises:
        subprocess.CalledProcessError: It failed.
    """
    started = time.perf_counter()
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL)  # noqa: S603
    _, status, usage = os.wait4(process.pid, 0)
    taken = time.perf_counter() - started
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise subprocess.CalledProcessError(process.returncode, command)
    # ru_maxrss is in kibibytes on Linux.
    return taken, usage.ru_maxrss * 1024 / 1e6


def measure(image: Path, runs: int) -> dict[str, Any]:
    """Time `classify` and the yardstick alternately.

    Args:
        image: What to classify.
        runs: Of each, after `WARM_UP` that do not count.

    Returns:
        Median and 90 % point of both in milliseconds, the ratio of the medians, the median of the ratios
        of neighbouring runs, and the peak memory of `classify`.
    """
    classify = (str(Path(sys.executable).with_name("fracture-edge")), "classify", str(image))
    seconds: dict[str, list[float]] = {"classify": [], "yardstick": []}
    memory = 0.0
    for number in range(WARM_UP + runs):
        for name, command in (("yardstick", YARDSTICK), ("classify", classify)):
            taken, peak = run_once(command)
            if number >= WARM_UP:
                seconds[name].append(taken)
                if name == "classify":
                    memory = max(memory, peak)
    pairs = zip(seconds["classify"], seconds["yardstick"], strict=True)
    return {
        "runs": runs,
        **{
            name: {"p50_ms": median(values) * 1000, "p90_ms": float(np.percentile(values, 90)) * 1000}
            for name, values in seconds.items()
        },
        "ratio": median(seconds["classify"]) / median(seconds["yardstick"]),
        "median_of_ratios": median(a / b for a, b in pairs),
        "peak_memory_mb": memory,
        "environment": environment(),
    }


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("image", nargs="?", type=Path, help="default: a generated 454x373 grey PNG")
    parser.add_argument("--runs", type=int, default=30)
    parser.add_argument("--json", action="store_true", help="print JSON")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        image = options.image or _example(Path(folder) / "one.png")
        result = measure(image, options.runs)
    if options.json:
        print(json.dumps(result, indent=2))
        return
    for name in ("yardstick", "classify"):
        print(f"{name:9}  p50 {result[name]['p50_ms']:.0f} ms  p90 {result[name]['p90_ms']:.0f} ms")
    print(f"ratio of medians {result['ratio']:.2f}, median of ratios {result['median_of_ratios']:.2f}")
    print(f"peak memory of classify {result['peak_memory_mb']:.0f} MB; {options.runs} runs each, in turn")


def _example(path: Path) -> Path:
    """A smooth grey picture of the size of FracAtlas's images, with some noise."""
    random = np.random.default_rng(0)
    rows, columns = np.mgrid[0:454, 0:373]
    bone = 200 * np.exp(-(((columns - 186) / 60) ** 2)) * (rows > 20)
    Image.fromarray((bone + random.integers(0, 30, bone.shape)).astype(np.uint8)).save(path)
    return path


if __name__ == "__main__":
    main()
