"""Measure the time from the start of a process to its first prediction, and its peak memory."""

import math
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from tqdm import tqdm

from benchmarks.rows import BenchmarkRow
from benchmarks.runtimes.process import WorkerError, WorkerProcess
from benchmarks.speed.latency import Percentiles, summary


@dataclass(frozen=True, slots=True)
class FirstAnswer:
    """Time to the first prediction and peak memory of new processes of a row.

    Attributes:
        milliseconds: Time from the start of the process to the first probability.
        peak_memory_mb: Largest peak memory of the processes, in MB (10^6 bytes).
    """

    milliseconds: Percentiles
    peak_memory_mb: float


def first_answers(
    rows: Sequence[BenchmarkRow],
    image: Path,
    *,
    threads: int,
    runs: int,
    timeout_s: float,
    errors: dict[str, str],
) -> Mapping[str, FirstAnswer]:
    """Time new processes of each row, in turns, until they have predicted one image.

    The time covers the start of the process, imports, loading the model, decoding the image and the first
    inference. The first start of each row is not counted; it brings its files into the page cache.

    Args:
        rows: Rows to measure.
        image: Path of an image file.
        threads: Number of threads of each runtime.
        runs: Number of timed starts per row.
        timeout_s: Time limit in seconds of loading and of the prediction.
        errors: Dictionary that receives the error messages of failed rows by row id; such a row is not started
            again.

    Returns:
        Measurements by row id, without failed rows; empty when `runs` is 0.
    """
    if not runs:
        return {}
    seconds: dict[str, list[float]] = {row.id: [] for row in rows}
    peaks = dict.fromkeys(seconds, 0.0)
    # disable=None: show the progress bar only on a terminal.
    for number in tqdm(range(1 + runs), "first answers", leave=False, disable=None):
        for row in rows:
            if row.id in errors:
                continue
            try:
                taken, peak = _start(row, image, threads, timeout_s)
            except WorkerError as error:
                errors[row.id] = str(error)
                continue
            peaks[row.id] = max(peaks[row.id], peak)
            if number:
                seconds[row.id].append(taken)
    return {row: FirstAnswer(summary(taken), peaks[row]) for row, taken in seconds.items() if row not in errors}


def _start(row: BenchmarkRow, image: Path, threads: int, timeout_s: float) -> tuple[float, float]:
    started = time.perf_counter()
    with WorkerProcess(row.runtime, row.path, threads=threads, timeout_s=timeout_s) as worker:
        reply = worker.ask("answer", image=str(image))
        taken = time.perf_counter() - started
    if not math.isfinite(reply["probability"]):
        raise WorkerError("gives NaN or infinity")
    return taken, reply["peak_memory_mb"]
