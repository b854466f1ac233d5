"""Pareto front of the rows by size, speed and AUROC."""

from collections.abc import Sequence

from benchmarks.records.measured_row import MeasuredRow
from benchmarks.records.result import BenchmarkResult
from benchmarks.report.rows import auroc, candidates, p50

Point = tuple[float, ...]


def front(points: Sequence[Point]) -> list[int]:
    """Find the Pareto front: the points that no other point dominates, where smaller is better.

    A point dominates another if it is not greater in any coordinate and smaller in at least one. Equal points do
    not dominate each other.

    Args:
        points: Points, all with the same number of coordinates.

    Returns:
        Indices of the front in `points`, ascending.
    """
    return [k for k, point in enumerate(points) if not any(_dominates(other, point) for other in points)]


def _dominates(one: Point, other: Point) -> bool:
    return one != other and all(a <= b for a, b in zip(one, other, strict=True))


def front_rows(result: BenchmarkResult) -> list[MeasuredRow]:
    """Find the Pareto front, by `coordinates`, of the rows that may be recommended.

    Returns:
        Rows on the front, the fastest first.
    """
    rows = candidates(result)
    chosen = [rows[k] for k in front([coordinates(row) for row in rows])]
    return sorted(chosen, key=lambda row: (p50(row), row.id))


def coordinates(row: MeasuredRow) -> Point:
    """Return size in bytes, median latency on one thread in milliseconds, and negative AUROC.

    Raises:
        ValueError: The row has no AUROC or no latency.
    """
    area, median = auroc(row), p50(row)
    if not area.defined or median is None:
        raise ValueError(f"{row.id} has no AUROC or no latency")
    return row.bytes, median, -area.value
