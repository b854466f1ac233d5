"""Predictions of every row for every image, each row in a separate process."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import numpy.typing as npt

from benchmarks.rows import BenchmarkRow
from benchmarks.runtimes.process import WorkerError, WorkerProcess
from fracture_edge import console

#: Long enough for a split of any size on a slow machine.
_TIMEOUT_S = 24 * 3600.0


def predict_rows(
    rows: Sequence[BenchmarkRow],
    pixels: npt.NDArray[np.uint8],
    *,
    threads: int,
    say: Callable[[str], None] = console.say,
) -> tuple[Mapping[str, npt.NDArray[np.float64]], dict[str, str]]:
    """Predict all images with all rows of one model, one row after the other.

    Args:
        rows: Rows to run.
        pixels: Preprocessed images, uint8 [N, H, W, 1].
        threads: Number of threads of each runtime.
        say: Function that receives progress messages.

    Returns:
        Two dictionaries by row id: P(fractured), float64 [N], of the rows that succeeded, and the error message of
        those that failed.
    """
    found: dict[str, npt.NDArray[np.float64]] = {}
    errors: dict[str, str] = {}
    with TemporaryDirectory(prefix="fracture-edge-predictions-") as folder:
        source, target = Path(folder) / "pixels.npy", Path(folder) / "predictions.npy"
        np.save(source, pixels)
        for row in rows:
            say(f"{row.id}: {len(pixels)} images")
            try:
                with WorkerProcess(row.runtime, row.path, threads=threads, timeout_s=_TIMEOUT_S) as worker:
                    worker.ask("probabilities", pixels=str(source), target=str(target))
                scores = np.load(target).astype(np.float64)
            except WorkerError as error:
                errors[row.id] = str(error)
            else:
                if np.isfinite(scores).all():
                    found[row.id] = scores
                else:
                    errors[row.id] = "gives NaN or infinity for some of the images"
            if row.id in errors:
                say(f"{row.id}: FAILED, {errors[row.id]}")
    return found, errors
