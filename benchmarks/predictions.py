"""P(fractured) of every image by every row, each row in a process of its own."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import numpy.typing as npt

from benchmarks.rows import BenchmarkRow
from benchmarks.runtimes.process import WorkerError, WorkerProcess
from fracture_edge import console

#: For a split of any size on a slow machine.
_TIMEOUT_S = 24 * 3600.0


def answers(
    rows: Sequence[BenchmarkRow],
    pixels: npt.NDArray[np.uint8],
    *,
    threads: int,
    say: Callable[[str], None] = console.say,
) -> tuple[Mapping[str, npt.NDArray[np.float64]], dict[str, str]]:
    """Run all images through all rows of one model.

    Args:
        rows: What to run, one after the other.
        pixels: The preprocessed images, uint8 [N, H, W, 1].
        threads: Of each runtime.
        say: Is told what goes on.

    Returns:
        P(fractured), [N], by row id; and by row id why a row failed.
    """
    found: dict[str, npt.NDArray[np.float64]] = {}
    errors: dict[str, str] = {}
    with TemporaryDirectory(prefix="fracture-edge-answers-") as folder:
        source, target = Path(folder) / "pixels.npy", Path(folder) / "answers.npy"
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
                    errors[row.id] = "gives no number for some of the images"
            if row.id in errors:
                say(f"{row.id}: FAILED, {errors[row.id]}")
    return found, errors
