"""How long a fresh process takes to its first answer, and how much memory it needs."""

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
    """What fresh processes of a row need.

    Attributes:
        milliseconds: Time from the start to the probability.
        peak_memory_mb: Greatest of the processes' peaks, in units of 10^6 bytes.
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
    """Start every row afresh, in turns, and have it answer for one picture.

    The clock runs from before the process is started until the probability is here: interpreter, imports, model,
    decoding, the first inference. One start of each row comes before that does not count, so that its files are in
    the page cache.

    Args:
        rows: What to start.
        image: A picture file.
        threads: Number of threads of each runtime.
        runs: Starts that count.
        timeout_s: Of loading, and of the answer.
        errors: Is told, by row id, why a row failed; it is not started again.

    Returns:
        Figures by row id, of those that did not fail; nothing when `runs` is 0.
    """
    if not runs:
        return {}
    seconds: dict[str, list[float]] = {row.id: [] for row in rows}
    peaks = dict.fromkeys(seconds, 0.0)
    # disable=None: a bar only where there is a terminal.
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
        answer = worker.ask("answer", image=str(image))
        taken = time.perf_counter() - started
    if not math.isfinite(answer["probability"]):
        raise WorkerError("gives no number")
    return taken, answer["peak_memory_mb"]
