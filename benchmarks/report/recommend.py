"""Recommendation of a row for given limits of latency and size."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

from benchmarks.records.measured_row import MeasuredRow
from benchmarks.records.result import BenchmarkResult
from benchmarks.report.pareto import coordinates
from benchmarks.report.rows import auroc, candidates, measured, name_of, of_model
from train.evaluation.formatting import counted, interval, megabytes, milliseconds
from train.evaluation.metrics import Estimate


@dataclass(frozen=True, slots=True)
class DeviceLimits:
    """Limits of a device (exclusive).

    Attributes:
        milliseconds: Median latency of one inference on one thread, in milliseconds.
        megabytes: Size of the file, in MB (10^6 bytes).
    """

    milliseconds: float
    megabytes: float


@dataclass(frozen=True, slots=True)
class Advice:
    """A recommendation.

    Attributes:
        question: Condition of the recommendation, such as ``For under 10 ms and 10 MB``.
        row: Id of the recommended row, or ``None``.
        answer: Name of the recommended row, or a note that there is none.
        figures: AUROC, latency and size of the row, or empty.
        reason: Reason for the choice among similar rows, or empty.
    """

    question: str
    row: str | None
    answer: str
    figures: str = ""
    reason: str = ""

    def __str__(self) -> str:
        figures = f" ({self.figures})" if self.figures else ""
        return f"{self.question}: {self.answer}{figures}.{f' {self.reason}' if self.reason else ''}"


LIMITS = (DeviceLimits(5, 5), DeviceLimits(10, 10), DeviceLimits(25, 25), DeviceLimits(100, 100))


def recommend(result: BenchmarkResult, limits: Sequence[DeviceLimits] = LIMITS) -> list[Advice]:
    """Recommend a row for each device's limits, then list the most accurate, the smallest and the fastest row.

    Only the rows of `benchmarks.report.rows.candidates` are considered. Consecutive limits with the same
    recommendation are combined.

    Args:
        result: Result of the benchmark.
        limits: Limits of devices, in ascending order.
    """
    rows = candidates(result)
    if not rows:
        return [Advice("For a device", None, "nothing: no exported file was measured and accepted by the gate")]
    return [*_within(rows, limits), *_extremes(rows)]


def choose(rows: Sequence[MeasuredRow]) -> MeasuredRow:
    """Choose the best of the rows that all fit the limits.

    Of the row with the highest AUROC and those `indistinguishable` from it, this is the one with the smallest
    bytes x milliseconds, so that half the size counts as much as half the time.
    """
    best = min(rows, key=lambda row: (-_area(row).value, _cost(row), row.id))
    return min([best, *indistinguishable(best, rows)], key=lambda row: (_cost(row), row.id))


def indistinguishable(row: MeasuredRow, rows: Sequence[MeasuredRow]) -> list[MeasuredRow]:
    """Select the other rows whose AUROC is statistically indistinguishable from that of `row`.

    The AUROC of each must lie within the interval of the other. This is stricter than overlapping intervals, which
    would accept a clearly worse model on a small test set. Rows with a significant loss of AUROC compared with
    their source (the interval of the paired change lies below zero) are excluded.
    """
    return [
        other
        for other in rows
        if other is not row and not _lost(other) and _holds(row, other) and _holds(other, row)
    ]


def representative(result: BenchmarkResult, model: str) -> MeasuredRow | None:
    """Return the recommended row of a model, else the first row with an AUROC, else ``None``."""
    if rows := of_model(candidates(result), model):
        return choose(rows)
    return next((row for row in of_model(measured(result), model) if auroc(row).defined), None)


def best(result: BenchmarkResult) -> MeasuredRow | None:
    """Return the recommended row without limits of latency and size, or ``None``."""
    rows = candidates(result)
    return choose(rows) if rows else None


def _within(rows: Sequence[MeasuredRow], limits: Sequence[DeviceLimits]) -> list[Advice]:
    advice: list[Advice] = []
    for device in limits:
        words = f"{device.milliseconds:g} ms and {device.megabytes:g} MB"
        affordable = [
            row for row in rows if row.bytes < device.megabytes * 1e6 and coordinates(row)[1] < device.milliseconds
        ]
        given = _answer(f"For under {words}", affordable)
        if advice and given.row == advice[-1].row:
            before = advice.pop().question.partition(", and still for ")[0]
            given = replace(given, question=f"{before}, and still for under {words}")
        advice.append(given)
    return advice


def _answer(question: str, rows: Sequence[MeasuredRow]) -> Advice:
    if not rows:
        return Advice(question, None, "none of the accepted files")
    row = choose(rows)
    return _advice(question, row, _why(row, rows))


def _why(row: MeasuredRow, rows: Sequence[MeasuredRow]) -> str:
    close = indistinguishable(row, rows)
    if not close:
        return ""
    return (
        f"{counted(len(close), 'other file')} within these limits cannot be told from it by AUROC (each lies "
        "within the other's interval), so the choice is by size and speed."
    )


def _extremes(rows: Sequence[MeasuredRow]) -> list[Advice]:
    accurate = min(rows, key=lambda row: (-_area(row).value, _cost(row)))
    smallest = min(rows, key=lambda row: (row.bytes, coordinates(row)[1]))
    fastest = min(rows, key=lambda row: (coordinates(row)[1], row.bytes))
    close = len(indistinguishable(accurate, rows))
    doubt = f"{counted(close, 'other file')} cannot be told from it by AUROC." if close else ""
    if smallest is fastest:
        return [_advice("Most accurate", accurate, doubt), _advice("Smallest and fastest", smallest)]
    return [
        _advice("Most accurate", accurate, doubt),
        _advice("Smallest", smallest),
        _advice("Fastest", fastest),
    ]


def _advice(question: str, row: MeasuredRow, reason: str = "") -> Advice:
    size, median, _ = coordinates(row)
    gate = "" if row.gate else ", not judged by the export gate"
    figures = f"AUROC {interval(auroc(row))}, {milliseconds(median)} ms, {megabytes(size)} MB{gate}"
    return Advice(question, row.id, name_of(row), figures, reason)


def _area(row: MeasuredRow) -> Estimate:
    estimate = auroc(row)
    if not estimate.defined:
        raise ValueError(f"{row.id} has no AUROC")
    return estimate


def _holds(row: MeasuredRow, other: MeasuredRow) -> bool:
    return _area(row).low <= _area(other).value <= _area(row).high


def _lost(row: MeasuredRow) -> bool:
    # An undefined change is NaN, which is not below zero.
    return row.against_source is not None and row.against_source.auroc_change.high < 0


def _cost(row: MeasuredRow) -> float:
    size, median, _ = coordinates(row)
    return size * median
