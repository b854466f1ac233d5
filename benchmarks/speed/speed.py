"""Measure the speed of all rows of a model, each in a separate process, in turns.

Only one process runs at a time, the others are stopped. If a worker fails, its row gets an error message and the
other rows continue.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from types import TracebackType

from tqdm import tqdm

from benchmarks.records.measured_row import Speed
from benchmarks.records.result import Harness, Settings
from benchmarks.rows import BenchmarkRow
from benchmarks.runtimes.process import WorkerError, WorkerProcess
from benchmarks.runtimes.stand_in import IDLE
from benchmarks.speed.first_answer import FirstAnswer, first_answers
from benchmarks.speed.latency import WARM_UP, Percentiles, summary
from fracture_edge import console

#: Maximum number of images in memory of each worker, used in turn.
MOST_IMAGES = 50
#: Throughput of batches: number of turns, and seconds and maximum number of runs of each; at least one run each.
_TURNS, _TURN_SECONDS, _MOST_RUNS = 3, 1.0, 100
_HARNESS = BenchmarkRow(
    model="harness", format=IDLE, runtime=IDLE, precision="", path=None, file="", bytes=0, sha256=""
)
Seconds = Mapping[str, Sequence[float]]


@dataclass(frozen=True, slots=True, kw_only=True)
class SpeedOptions:
    """Options of the speed measurement.

    Attributes:
        threads: Numbers of threads to measure; each worker is pinned to as many cores.
        runs: Minimum number of timed inferences, and of timed runs from file to decision, per row.
        rounds: Number of rounds that these runs are divided into.
        batches: Batch sizes of the throughput measurement.
        first_answers: Number of new processes per row that are timed to their first prediction, with the largest
            number of threads.
        timeout_s: Time limit in seconds of each command of a worker: loading, a turn, a first prediction.
    """

    threads: tuple[int, ...] = (1,)
    runs: int = 200
    rounds: int = 20
    batches: tuple[int, ...] = (1, 8, 32)
    first_answers: int = 5
    timeout_s: float = 600

    @property
    def runs_per_turn(self) -> int:
        """Number of runs of a row per turn."""
        return -(-self.runs // self.rounds)

    @property
    def turns(self) -> int:
        """Number of rounds needed for all runs; fewer than `rounds` if there are fewer runs."""
        return -(-self.runs // self.runs_per_turn)

    @property
    def settings(self) -> Settings:
        """Settings to store in the result."""
        return Settings(
            runs=self.runs_per_turn * self.turns,
            rounds=self.turns,
            threads=self.threads,
            batches=self.batches,
            first_answers=self.first_answers,
        )


@dataclass(frozen=True, slots=True)
class RowSpeed:
    """Speed of one row. A row that failed keeps the measurements made before.

    Attributes:
        speed: Latency and throughput by number of threads (as text); ``None`` if not measured.
        first_answer_ms: Time from the start of a new process to its first prediction; ``None`` if not measured.
        peak_memory_mb: Peak memory of such a process in MB (10^6 bytes); ``None`` if not measured.
        speed_error: Error message if the row failed, else ``None``.
    """

    speed: Mapping[str, Speed] | None = None
    first_answer_ms: Percentiles | None = None
    peak_memory_mb: float | None = None
    speed_error: str | None = None


@dataclass(frozen=True, slots=True)
class Speeds:
    """Speeds of the rows of a model.

    Attributes:
        rows: Speed by row id.
        harness: Overhead of the timing code, measured like a row and in turns with the rows; ``None`` if that
            failed.
    """

    rows: Mapping[str, RowSpeed]
    harness: Harness | None


def measure_speed(
    rows: Sequence[BenchmarkRow],
    images: Sequence[Path],
    options: SpeedOptions | None = None,
    say: Callable[[str], None] = console.say,
) -> Speeds:
    """Measure the speed of the rows of one model in turns.

    All rows are loaded at the same time, each in its own process, and must fit into memory.

    Args:
        rows: Rows to measure, at least one; all take part in every round, in this order.
        images: Paths of readable image files, at least one; the first `MOST_IMAGES` are used.
        options: Options of the measurement; ``None`` for the defaults.
        say: Function that receives progress messages.

    Raises:
        FractureEdgeError: More threads than cores.
    """
    chosen, used = options or SpeedOptions(), images[:MOST_IMAGES]
    errors: dict[str, str] = {}
    speeds: dict[str, dict[str, Speed]] = {row.id: {} for row in rows}
    overhead = None
    for threads in chosen.threads:
        alive = [row for row in rows if row.id not in errors]
        say(f"{rows[0].model}: {len(alive)} formats take turns, threads: {threads}")
        with _Workers([*alive, _HARNESS], used, threads, chosen.timeout_s, errors) as workers:
            measured, idle = _measure(workers, chosen)
        overhead = overhead or idle
        for row, speed in measured.items():
            speeds[row][str(threads)] = speed
    say(f"{rows[0].model}: new processes")
    starts = first_answers(
        [row for row in rows if row.id not in errors],
        used[0],
        threads=max(chosen.threads),
        runs=chosen.first_answers,
        timeout_s=chosen.timeout_s,
        errors=errors,
    )
    for row, error in errors.items():
        say(f"{row}: FAILED, {error}")
    return Speeds(
        {row: _row_speed(by_threads, starts.get(row), errors.get(row)) for row, by_threads in speeds.items()},
        Harness(overhead) if overhead else None,
    )


def _row_speed(speed: Mapping[str, Speed], start: FirstAnswer | None, error: str | None) -> RowSpeed:
    if start is None:
        return RowSpeed(speed, speed_error=error)
    return RowSpeed(speed, start.milliseconds, start.peak_memory_mb, error)


class _Workers:
    """Workers of all rows for one number of threads; a failed one is removed and its error put into `errors`."""

    def __init__(
        self,
        rows: Sequence[BenchmarkRow],
        images: Sequence[Path],
        threads: int,
        timeout_s: float,
        errors: dict[str, str],
    ) -> None:
        self.workers: dict[str, WorkerProcess] = {}
        self._errors = errors
        try:
            for row in rows:
                try:
                    self.workers[row.id] = WorkerProcess(
                        row.runtime, row.path, threads=threads, images=images, timeout_s=timeout_s
                    )
                except WorkerError as error:
                    errors[row.id] = str(error)
        except BaseException:
            self.close()
            raise

    def in_turns(
        self,
        label: str,
        command: str,
        *,
        turns: int,
        runs: int | Mapping[str, int],
        warm_up: int,
        **arguments: object,
    ) -> Seconds:
        """Run a timing command on all rows in turns.

        Args:
            label: Label of the progress bar.
            command: Timing command of `benchmarks.runtimes.worker`.
            turns: Number of rounds through all rows.
            runs: Number of timed runs per turn, for all rows or by row.
            warm_up: Number of uncounted runs at the start of each turn.
            **arguments: Further arguments of the command.

        Returns:
            Seconds of all timed runs by row id.
        """
        seconds: dict[str, list[float]] = {row: [] for row in self.workers}
        # disable=None: show the progress bar only on a terminal.
        for _ in tqdm(range(turns), label, leave=False, disable=None):
            for row, worker in tuple(self.workers.items()):
                count = runs if isinstance(runs, int) else runs[row]
                try:
                    seconds[row] += worker.ask(command, runs=count, warm_up=warm_up, **arguments)["seconds"]
                except WorkerError as error:
                    self._errors[row] = str(error)
                    self.remove(row)
        return {row: seconds[row] for row in self.workers}

    def remove(self, row: str) -> None:
        """Stop the worker of one row."""
        self.workers.pop(row).close()

    def close(self) -> None:
        """Stop all workers."""
        for row in tuple(self.workers):
            self.remove(row)

    def __enter__(self) -> "_Workers":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def _measure(workers: _Workers, options: SpeedOptions) -> tuple[dict[str, Speed], Percentiles | None]:
    """Measure all rows for one number of threads, and the overhead of the timing code in microseconds."""
    runs, turns = options.runs_per_turn, options.turns
    workers.in_turns("warming up", "inference", turns=1, runs=0, warm_up=WARM_UP, batch=1)
    # The first run of a turn is not counted: the caches are full of another model.
    inference = dict(workers.in_turns("inference", "inference", turns=turns, runs=runs, warm_up=1, batch=1))
    idle = inference.pop(_HARNESS.id, None)
    if idle is not None:
        workers.remove(_HARNESS.id)
    decisions = workers.in_turns("file to decision", "decisions", turns=turns, runs=runs, warm_up=1)
    rates = {batch: _images_per_second(workers, inference, batch) for batch in options.batches}
    # Includes rows that failed after the inference was measured.
    speeds = {
        row: Speed(
            inference_ms=summary(seconds),
            file_to_decision_ms=summary(decisions[row]) if row in decisions else None,
            images_per_second={str(batch): found[row] for batch, found in rates.items() if row in found},
        )
        for row, seconds in inference.items()
    }
    return speeds, summary([second * 1000 for second in idle]) if idle else None


def _images_per_second(workers: _Workers, single: Seconds, batch: int) -> dict[str, float]:
    """Compute the throughput by row id for a batch size, given the seconds of single images."""
    if batch == 1:
        seconds = single
    else:
        label = f"batches of {batch}"
        runs = {
            row: min(_MOST_RUNS, max(1, round(_TURN_SECONDS / (batch * median(single[row])))))
            for row in workers.workers
        }
        workers.in_turns(label, "inference", turns=1, runs=0, warm_up=1, batch=batch)
        seconds = workers.in_turns(label, "inference", turns=_TURNS, runs=runs, warm_up=0, batch=batch)
    return {row: batch * len(values) / sum(values) for row, values in seconds.items()}
