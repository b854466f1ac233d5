"""Cells and tables, before they become Markdown or HTML."""

from dataclasses import dataclass

from train.evaluation.formatting import NONE, bounds, markdown_cell, milliseconds


@dataclass(frozen=True, slots=True)
class Cell:
    """What stands in a cell.

    Attributes:
        text: The figure or word.
        detail: What stands smaller beside it, such as an interval.
        key: What the column is sorted by, where that is a number.
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
    """Column names and lines with as many cells; `names` is how many columns from the left name the line."""

    columns: tuple[str, ...]
    lines: tuple[Line, ...]
    names: int = 1

    def markdown(self) -> str:
        """The table in GitHub's Markdown."""
        rows = [" | ".join(markdown_cell(cell) for cell in line.cells) for line in self.lines]
        header = " | ".join(self.columns)
        return "".join(f"| {row} |\n" for row in [header, " | ".join(["---"] * len(self.columns)), *rows])


def estimate(value: dict[str, float] | None) -> Cell:
    """A figure with its interval."""
    return Cell(f"{value['value']:.3f}", bounds(value), value["value"]) if value else Cell(NONE)


def change(value: dict[str, float] | None) -> Cell:
    """A difference with its interval, all signed."""
    if not value:
        return Cell(NONE)
    return Cell(f"{value['value']:+.3f}", f"[{value['low']:+.3f}, {value['high']:+.3f}]", value["value"])


def number(value: float, text: str) -> Cell:
    """A number as `text`, sorted by its value."""
    return Cell(text, key=value)


def percentiles(values: dict[str, float] | None, *names: str) -> Cell:
    """``4.1 / 5.0``."""
    if not values:
        return Cell(NONE)
    return Cell(" / ".join(milliseconds(values[name]) for name in names or ("p50", "p90")), key=values["p50"])


def median(values: dict[str, float] | None) -> Cell:
    """The p50 alone."""
    return Cell(milliseconds(values["p50"]), key=values["p50"]) if values else Cell(NONE)
