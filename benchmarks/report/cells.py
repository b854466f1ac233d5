"""Tables and cells that can be rendered as Markdown or HTML."""

from dataclasses import dataclass

from benchmarks.speed.latency import Percentiles
from train.evaluation.formatting import NONE, bounds, markdown_cell, milliseconds
from train.evaluation.metrics import Estimate


@dataclass(frozen=True, slots=True)
class Cell:
    """Contents of a table cell.

    Attributes:
        text: Main text.
        detail: Additional text in a smaller font, such as an interval.
        key: Sort key; ``None`` to sort by the text.
    """

    text: str
    detail: str = ""
    key: float | None = None

    def __str__(self) -> str:
        return f"{self.text} {self.detail}".rstrip()


@dataclass(frozen=True, slots=True)
class Line:
    """Row of a table.

    Attributes:
        cells: Cells, one for each column.
        mark: ``failed``, ``rejected`` or empty.
    """

    cells: tuple[Cell, ...]
    mark: str = ""


@dataclass(frozen=True, slots=True)
class Table:
    """Table with a header.

    Attributes:
        columns: Names of the columns.
        lines: Rows of the table.
        names: Number of columns on the left that name the row.
    """

    columns: tuple[str, ...]
    lines: tuple[Line, ...]
    names: int = 1

    def markdown(self) -> str:
        """Render the table as GitHub-flavoured Markdown."""
        rows = [" | ".join(markdown_cell(cell) for cell in line.cells) for line in self.lines]
        header = " | ".join(self.columns)
        return "".join(f"| {row} |\n" for row in [header, " | ".join(["---"] * len(self.columns)), *rows])


def estimate(found: Estimate) -> Cell:
    """Format a metric with its interval."""
    return Cell(f"{found.value:.3f}", bounds(found), found.value) if found.defined else Cell(NONE)


def change(found: Estimate) -> Cell:
    """Format a difference with its interval, all with signs."""
    if not found.defined:
        return Cell(NONE)
    return Cell(f"{found.value:+.3f}", f"[{found.low:+.3f}, {found.high:+.3f}]", found.value)


def number(value: float, text: str) -> Cell:
    """Create a cell that shows `text` and is sorted by `value`."""
    return Cell(text, key=value)


def percentiles(values: Percentiles | None, *, p99: bool = False) -> Cell:
    """Format p50 and p90, such as ``4.1 / 5.0``, and p99 if requested."""
    if not values:
        return Cell(NONE)
    shown = (values.p50, values.p90, values.p99) if p99 else (values.p50, values.p90)
    return Cell(" / ".join(map(milliseconds, shown)), key=values.p50)


def median(values: Percentiles | None) -> Cell:
    """Format the p50 alone."""
    return Cell(milliseconds(values.p50), key=values.p50) if values else Cell(NONE)
