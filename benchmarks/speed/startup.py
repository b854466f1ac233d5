"""Time of the complete process `fracture-edge classify one.png`: `python -P -m benchmarks.speed.startup`.

The yardstick is a process that only imports what any such program needs: numpy, Pillow and onnxruntime. Both are
started in turns, so that other load on the machine affects both equally, and both without onnxruntime's telemetry,
which would make the yardstick slower. A wheel must be installed: an editable installation adds an import hook to
every process, the yardstick included.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import distribution
from pathlib import Path

import numpy as np
import numpy.typing as npt
from PIL import Image

from benchmarks.speed.latency import Percentiles, rounds, summary
from benchmarks.speed.ratio import Ratio, ratio
from fracture_edge.errors import FractureEdgeError

YARDSTICK = (sys.executable, "-c", "import numpy, PIL.Image, onnxruntime")
CLASSIFY = (str(Path(sys.executable).with_name("fracture-edge")), "classify")


@dataclass(frozen=True, slots=True)
class Startup:
    """Time of complete processes.

    Attributes:
        yardstick: Time of the process that only imports, in milliseconds.
        classify: Time of `fracture-edge classify one.png`, in milliseconds.
        ratio: Median of classify / yardstick over the rounds.
    """

    yardstick: Percentiles
    classify: Percentiles
    ratio: Ratio


def refuse_editable() -> None:
    """Check that fracture-edge is installed as users install it.

    Raises:
        FractureEdgeError: The installation is editable.
    """
    origin = json.loads(distribution("fracture-edge").read_text("direct_url.json") or "{}")
    if origin.get("dir_info", {}).get("editable"):
        raise FractureEdgeError("fracture-edge is installed editable here; measure where a wheel is installed")


def run_once(command: Sequence[str]) -> None:
    """Run a command to its end, without the Python environment variables of this process.

    Raises:
        subprocess.CalledProcessError: The command failed.
    """
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL, env=_environment())  # noqa: S603


def _environment() -> Mapping[str, str]:
    ours = ("PYTHONPATH", "PYTHONDONTWRITEBYTECODE")
    kept = {name: value for name, value in os.environ.items() if name not in ours}
    return kept | {"ORT_DISABLE_TELEMETRY": "1"}


def measure(image: Path, runs: int) -> Startup:
    """Time `classify` and the yardstick in turns.

    Args:
        image: Path of the image to classify.
        runs: Number of timed processes of each, after the warm-up.
    """
    functions = {
        "yardstick": lambda path: run_once(YARDSTICK),
        "classify": lambda path: run_once((*CLASSIFY, str(path))),
    }
    seconds = rounds(functions, [image], runs)
    yardstick, classify = seconds["yardstick"], seconds["classify"]
    return Startup(summary(yardstick), summary(classify), ratio(classify, yardstick))


def radiograph(rows: int, columns: int, *, grain: float = 3.0) -> npt.NDArray[np.uint8]:
    """Generate an image like a long bone that compresses about as well as radiographs do.

    It shows a shaft with bright walls in soft tissue. The noise is correlated between neighbouring pixels, like
    that of a detector.

    Args:
        rows: Height in pixels.
        columns: Width in pixels.
        grain: Standard deviation of the noise, in grey levels; it determines most of the size of a JPEG file.

    Returns:
        Image, uint8 [rows, columns].
    """
    random = np.random.default_rng(0)
    across = np.abs(np.linspace(-1, 1, columns))
    tissue = 90 * np.clip(1.3 - across, 0, 1)
    shaft = np.where(across < 0.25, 50, 0) + 90 * np.exp(-(((across - 0.25) / 0.05) ** 2))
    along = np.linspace(0.8, 1.1, rows)[:, np.newaxis]
    white = random.standard_normal((rows + 1, columns + 1), np.float32)
    # The sum of four has twice the standard deviation of one.
    noise = grain / 2 * (white[1:, 1:] + white[1:, :-1] + white[:-1, 1:] + white[:-1, :-1])
    return np.clip((tissue + shaft) * along + noise, 0, 255).astype(np.uint8)


def example(folder: Path) -> Path:
    """Write a generated radiograph, as large as most FracAtlas images, to `folder` as PNG, and return its path."""
    path = folder / "one.png"
    Image.fromarray(radiograph(454, 373)).save(path)
    return path


def main() -> None:
    """Measure and print the result."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("image", nargs="?", type=Path, help="default: a generated 454x373 grey PNG")
    parser.add_argument("--runs", type=int, default=40)
    options = parser.parse_args()
    refuse_editable()
    with tempfile.TemporaryDirectory() as folder:
        found = measure(options.image or example(Path(folder)), options.runs)
    for name, taken in (("yardstick", found.yardstick), ("classify", found.classify)):
        print(f"{name:9}  p50 {taken.p50:.0f} ms  p90 {taken.p90:.0f} ms")
    print(f"ratio {found.ratio.value:.3f} [{found.ratio.low:.3f}, {found.ratio.high:.3f}]")


if __name__ == "__main__":
    main()
