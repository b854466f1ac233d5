"""Cells and tables, before they become Markdown or HTML."""

from dataclasses import dataclass

from benchmarks.speed.latency import Percentiles
from train.evaluation.formatting import NONE, bounds, markdown_cell, milliseconds
from train.evaluation.metrics import Estimate


@dataclass(frozen=True, slots=True)
class Cell:
    """What stands in a cell.

    Attributes:
        text: Figure or word.
        detail: Text that stands smaller beside it, such as an interval.
        key: Number that the column is sorted by, where there is one.
    """

    text: str
    detail: str = ""
    key: float | None = None

    def __str__(self) -> str:
        return f"{self.text} {self.detail}".rstrip()


@dataclass(frozen=True, slots=True)
class Line:
    """One row of a table; `mark` is ``failed``, ``rejected`` or empty."""

    cells: tuple[Cell, ...]
    mark: str = ""


@dataclass(frozen=True, slots=True)
class Table:
    """Names and cells of a table.

    Attributes:
        columns: Names of the columns.
        lines: Lines with as many cells.
        names: Number of columns from the left that name the line.
    """

    columns: tuple[str, ...]
    lines: tuple[Line, ...]
    names: int = 1

    def markdown(self) -> str:
        """Write the table in GitHub's Markdown."""
        rows = [" | ".join(markdown_cell(cell) for cell in line.cells) for line in self.lines]
        header = " | ".join(self.columns)
        return "".join(f"| {row} |\n" for row in [header, " | ".join(["---"] * len(self.columns)), *rows])


def estimate(found: Estimate) -> Cell:
    """Show a figure with its interval."""
    return Cell(f"{found.value:.3f}", bounds(found), found.value) if found.defined else Cell(NONE)


def change(found: Estimate) -> Cell:
    """Show a difference with its interval, all signed."""
    if not found.defined:
        return Cell(NONE)
    return Cell(f"{found.value:+.3f}", f"[{found.low:+.3f}, {found.high:+.3f}]", found.value)


def number(value: float, text: str) -> Cell:
    """Show a number as `text`, sorted by its value."""
    return Cell(text, key=value)


def percentiles(values: Percentiles | None, *, p99: bool = False) -> Cell:
    """Show p50 and p90, such as ``4.1 / 5.0``, and p99 where it is asked for."""
    if not values:
        return Cell(NONE)
    shown = (values.p50, values.p90, values.p99) if p99 else (values.p50, values.p90)
    return Cell(" / ".join(map(milliseconds, shown)), key=values.p50)


def median(values: Percentiles | None) -> Cell:
    """Show the p50 alone."""
    return Cell(milliseconds(values.p50), key=values.p50) if values else Cell(NONE)
