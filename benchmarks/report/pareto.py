"""Which rows no other row beats in size, speed and AUROC together."""

from collections.abc import Sequence

from benchmarks.records.measured_row import MeasuredRow
from benchmarks.records.result import BenchmarkResult
from benchmarks.report.rows import auroc, candidates, p50

Point = tuple[float, ...]


def front(points: Sequence[Point]) -> list[int]:
    """The points that no other point dominates, smaller being better in every coordinate.

    One point dominates another when it is nowhere greater and somewhere smaller (Pareto). Equal points do not
    dominate each other.

    Args:
        points: All of the same length.

    Returns:
        Their positions in `points`, ascending.
    """
    return [k for k, point in enumerate(points) if not any(_dominates(other, point) for other in points)]


def _dominates(one: Point, other: Point) -> bool:
    return one != other and all(a <= b for a, b in zip(one, other, strict=True))


def front_rows(result: BenchmarkResult) -> list[MeasuredRow]:
    """The front of the rows that may be recommended: bytes, median on one thread, AUROC.

    Returns:
        The fastest first.
    """
    rows = candidates(result)
    chosen = [rows[k] for k in front([coordinates(row) for row in rows])]
    return sorted(chosen, key=lambda row: (p50(row), row.id))


def coordinates(row: MeasuredRow) -> Point:
    """Bytes, milliseconds, and AUROC with its sign turned.

    Raises:
        ValueError: The row lacks one of them.
    """
    area, median = auroc(row), p50(row)
    if not area.defined or median is None:
        raise ValueError(f"{row.id} has no AUROC or no latency")
    return row.bytes, median, -area.value
