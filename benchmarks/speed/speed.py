"""How fast the rows of a model are: every row in a process of its own, all of them taking turns.

Only one process computes at a time, the others are stopped. A row whose worker fails leaves with its error, and
the others go on.
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

#: Images that every worker holds; they are its input in turn.
MOST_IMAGES = 50
#: Throughput of batches: so many turns of about so many seconds, but a run at least and `_MOST_RUNS` at most.
_TURNS, _TURN_SECONDS, _MOST_RUNS = 3, 1.0, 100
_HARNESS = BenchmarkRow(
    model="harness", format=IDLE, runtime=IDLE, precision="", path=None, file="", bytes=0, sha256=""
)
Seconds = Mapping[str, Sequence[float]]


@dataclass(frozen=True, slots=True, kw_only=True)
class SpeedOptions:
    """How to measure.

    Attributes:
        threads: Numbers of threads, one after the other; each worker is pinned to as many cores.
        runs: Timed inferences, and timed ways from file to decision, of each row, at least.
        rounds: In so many turns.
        batches: Images at once, for the throughput.
        first_answers: Fresh processes of each row, with the greatest number of threads.
        timeout_s: Of anything a worker is asked: loading, a turn, a first answer.
    """

    threads: tuple[int, ...] = (1,)
    runs: int = 200
    rounds: int = 20
    batches: tuple[int, ...] = (1, 8, 32)
    first_answers: int = 5
    timeout_s: float = 600

    @property
    def runs_a_turn(self) -> int:
        """Runs of a row before the next one has its turn."""
        return -(-self.runs // self.rounds)

    @property
    def turns(self) -> int:
        """Rounds that are needed for all runs: fewer than `rounds` when there are fewer runs."""
        return -(-self.runs // self.runs_a_turn)

    @property
    def settings(self) -> Settings:
        """What the result says of them."""
        return Settings(
            runs=self.runs_a_turn * self.turns,
            rounds=self.turns,
            threads=self.threads,
            batches=self.batches,
            first_answers=self.first_answers,
        )


@dataclass(frozen=True, slots=True)
class RowSpeed:
    """How fast one row is. A row that failed keeps what it had finished.

    Attributes:
        speed: Figures by number of threads as text; ``None`` when nothing was measured.
        first_answer_ms: Time of a fresh process to its first answer; ``None`` when not measured.
        peak_memory_mb: Memory of such a process in units of 10^6 bytes, likewise.
        speed_error: Reason why it failed, if it did.
    """

    speed: Mapping[str, Speed] | None = None
    first_answer_ms: Percentiles | None = None
    peak_memory_mb: float | None = None
    speed_error: str | None = None


@dataclass(frozen=True, slots=True)
class Speeds:
    """What was measured.

    Attributes:
        rows: Figures by row id.
        harness: Overhead of timing, measured the same way and in turn with the rows; ``None`` when that failed.
    """

    rows: Mapping[str, RowSpeed]
    harness: Harness | None


def measure_speed(
    rows: Sequence[BenchmarkRow],
    images: Sequence[Path],
    options: SpeedOptions | None = None,
    say: Callable[[str], None] = console.say,
) -> Speeds:
    """Measure the rows of one model against each other.

    Memory must hold all of them at once, each in its process.

    Args:
        rows: At least one; all take part in every round, in this order.
        images: Picture files that can be read, at least one; the first `MOST_IMAGES` are used.
        options: How; the defaults when ``None``.
        say: Is told what goes on.

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
        with _Field([*alive, _HARNESS], used, threads, chosen.timeout_s, errors) as field:
            measured, idle = _measure(field, chosen)
        overhead = overhead or idle
        for row, figures in measured.items():
            speeds[row][str(threads)] = figures
    say(f"{rows[0].model}: fresh processes")
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
        {row: _row_speed(speed, starts.get(row), errors.get(row)) for row, speed in speeds.items()},
        Harness(overhead) if overhead else None,
    )


def _row_speed(speed: Mapping[str, Speed], start: FirstAnswer | None, error: str | None) -> RowSpeed:
    if start is None:
        return RowSpeed(speed, speed_error=error)
    return RowSpeed(speed, start.milliseconds, start.peak_memory_mb, error)


class _Field:
    """The workers of all rows at one number of threads; a row that fails leaves, and `errors` says why."""

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
        """Have every row do a command, `turns` times one after the other: seconds of all runs by row.

        Args:
            label: Of the bar on a terminal.
            command: Of `benchmarks.runtimes.worker`.
            turns: Rounds through all rows.
            runs: Timed runs in a turn, of all rows or by row.
            warm_up: Runs before these that do not count.
            **arguments: Of the command.
        """
        seconds: dict[str, list[float]] = {row: [] for row in self.workers}
        # disable=None: a bar only where there is a terminal.
        for _ in tqdm(range(turns), label, leave=False, disable=None):
            for row, worker in tuple(self.workers.items()):
                count = runs if isinstance(runs, int) else runs[row]
                try:
                    seconds[row] += worker.ask(command, runs=count, warm_up=warm_up, **arguments)["seconds"]
                except WorkerError as error:
                    self._errors[row] = str(error)
                    self.leave(row)
        return {row: seconds[row] for row in self.workers}

    def leave(self, row: str) -> None:
        """End one row's worker."""
        self.workers.pop(row).close()

    def close(self) -> None:
        """End all workers."""
        for row in tuple(self.workers):
            self.leave(row)

    def __enter__(self) -> "_Field":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def _measure(field: _Field, options: SpeedOptions) -> tuple[dict[str, Speed], Percentiles | None]:
    """Measure all rows at one number of threads, and the harness itself in microseconds."""
    runs, turns = options.runs_a_turn, options.turns
    field.in_turns("warming up", "inference", turns=1, runs=0, warm_up=WARM_UP, batch=1)
    # The first run of a turn finds the caches full of another model.
    inference = dict(field.in_turns("inference", "inference", turns=turns, runs=runs, warm_up=1, batch=1))
    idle = inference.pop(_HARNESS.id, None)
    if idle is not None:
        field.leave(_HARNESS.id)
    whole = field.in_turns("file to decision", "decisions", turns=turns, runs=runs, warm_up=1)
    rates = {batch: _images_per_second(field, inference, batch) for batch in options.batches}
    # Of all rows that inferred, also of those that left afterwards.
    figures = {
        row: Speed(
            inference_ms=summary(seconds),
            file_to_decision_ms=summary(whole[row]) if row in whole else None,
            images_per_second={str(batch): found[row] for batch, found in rates.items() if row in found},
        )
        for row, seconds in inference.items()
    }
    return figures, summary([second * 1000 for second in idle]) if idle else None


def _images_per_second(field: _Field, single: Seconds, batch: int) -> dict[str, float]:
    """Throughput by row, `batch` images at once; `single` are the seconds of one image at a time."""
    if batch == 1:
        seconds = single
    else:
        label = f"batches of {batch}"
        runs = {
            row: min(_MOST_RUNS, max(1, round(_TURN_SECONDS / (batch * median(single[row])))))
            for row in field.workers
        }
        field.in_turns(label, "inference", turns=1, runs=0, warm_up=1, batch=batch)
        seconds = field.in_turns(label, "inference", turns=_TURNS, runs=runs, warm_up=0, batch=batch)
    return {row: batch * len(values) / sum(values) for row, values in seconds.items()}
