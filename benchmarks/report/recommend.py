"""A recommendation in plain language: which row for which limits of time and size."""

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
    """What a device allows.

    Attributes:
        milliseconds: Median of one inference on one thread.
        megabytes: Size of the file, in units of 10^6 bytes.
    """

    milliseconds: float
    megabytes: float


@dataclass(frozen=True, slots=True)
class Advice:
    """One recommendation.

    Attributes:
        question: Words such as ``For under 10 ms and 10 MB``.
        row: Id of the row that answers it, if any does.
        answer: Name of the row, or that there is none.
        figures: AUROC, latency and size of the row, or empty.
        reason: Reason why it is this one of several, or empty.
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
    """Name a row for each device's limits, then the most accurate, the smallest and the fastest.

    Only rows that may be recommended count: accepted (or never judged) by the gate, measured, for a device.
    Limits in turn with the same answer are named together.
    """
    rows = candidates(result)
    if not rows:
        return [Advice("For a device", None, "nothing: no exported file was measured and accepted by the gate")]
    return [*_within(rows, limits), *_extremes(rows)]


def choose(rows: Sequence[MeasuredRow]) -> MeasuredRow:
    """The row to take when all of `rows` are affordable.

    The most accurate one, unless `rivals` of it cost less: among them and itself, the one with the least
    bytes x milliseconds, so that half the size weighs as much as half the time.
    """
    best = min(rows, key=lambda row: (-_area(row).value, _cost(row), row.id))
    return min([best, *rivals(best, rows)], key=lambda row: (_cost(row), row.id))


def rivals(row: MeasuredRow, rows: Sequence[MeasuredRow]) -> list[MeasuredRow]:
    """Those whose AUROC cannot be told from that of `row`: each value lies within the interval of the other.

    Stricter than intervals that only overlap, which would let a clearly worse model through on a small test set.
    A file that lost AUROC against its own source, zero outside the interval of the paired change, is none.
    """
    return [
        other
        for other in rows
        if other is not row and not _lost(other) and _holds(row, other) and _holds(other, row)
    ]


def representative(result: BenchmarkResult, model: str) -> MeasuredRow | None:
    """The row that stands for a model: the one to take of those that may be recommended, else any measured."""
    if rows := of_model(candidates(result), model):
        return choose(rows)
    return next((row for row in of_model(measured(result), model) if auroc(row).defined), None)


def best(result: BenchmarkResult) -> MeasuredRow | None:
    """The row to take when there are no limits."""
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
    close = rivals(row, rows)
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
    close = len(rivals(accurate, rows))
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
    # A change that is not defined is NaN, and not below zero.
    return row.against_source is not None and row.against_source.auroc_change.high < 0


def _cost(row: MeasuredRow) -> float:
    size, median, _ = coordinates(row)
    return size * median
