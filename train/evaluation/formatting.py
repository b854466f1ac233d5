"""Formatting of numbers and tables in reports."""

import math
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Protocol

#: Placeholder for an unknown or undefined value.
NONE = "–"
#: Characters that Markdown would read as the start of an HTML tag or entity; "< 0.001" is not one.
_HTML = re.compile(r"<(?=[a-zA-Z/!?])|&(?=#?\w+;)")


class Bounded(Protocol):
    """Value with an interval, such as `train.evaluation.metrics.Estimate`; NaN where it is undefined."""

    @property
    def value(self) -> float:
        """Value of the metric."""

    @property
    def low(self) -> float:
        """Lower end of the interval."""

    @property
    def high(self) -> float:
        """Upper end of the interval."""


def interval(estimate: Bounded | Mapping[str, float] | None) -> str:
    """Format an estimate, or its JSON form, with its interval: ``0.912 [0.880, 0.940]``."""
    value, low, high = _bounded(estimate)
    return NONE if math.isnan(value) else f"{value:.3f} [{low:.3f}, {high:.3f}]"


def bounds(estimate: Bounded) -> str:
    """Format the interval alone: ``[0.880, 0.940]``."""
    return f"[{estimate.low:.3f}, {estimate.high:.3f}]"


def times(ratio: Bounded | Mapping[str, float]) -> str:
    """Format a ratio with its interval: ``1.24 [1.22, 1.26] times``."""
    value, low, high = _bounded(ratio)
    return f"{value:.2f} [{low:.2f}, {high:.2f}] times"


def _bounded(estimate: Bounded | Mapping[str, float] | None) -> tuple[float, float, float]:
    if estimate is None:
        return math.nan, math.nan, math.nan
    if isinstance(estimate, Mapping):
        return estimate["value"], estimate["low"], estimate["high"]
    return estimate.value, estimate.low, estimate.high


def megabytes(size: float) -> str:
    """Format a size in bytes as megabytes (10^6 bytes): ``3.82``."""
    return f"{size / 1e6:.2f}" if size < 1e7 else f"{size / 1e6:.1f}"


def milliseconds(value: float | None) -> str:
    """Format milliseconds: ``4.1``, and ``135`` from 100 on."""
    if value is None:
        return NONE
    return f"{value:.1f}" if value < 100 else f"{value:.0f}"


def probability(p: float) -> str:
    """Format a p value: ``0.012``, or ``< 0.001``."""
    return "< 0.001" if p < 0.001 else f"{p:.3f}"


def counted(count: int, singular: str) -> str:
    """Format a count with its noun: ``1 row``, ``2 rows``."""
    return f"{count} {singular}" if count == 1 else f"{count} {singular}s"


def markdown_cell(text: object) -> str:
    """Escape `text` for a cell of a Markdown table: one line, without cell separators or HTML."""
    line = re.sub(r"([\\|`*])", r"\\\1", " ".join(str(text).split()))
    return _HTML.sub(lambda found: "&lt;" if found[0] == "<" else "&amp;", line)


def markdown_table(header: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    """Format a Markdown table that ends with a newline.

    Args:
        header: Names of the columns.
        rows: Cells of each row, as Markdown; escape free text with `markdown_cell`.
    """
    lines = (header, ["---"] * len(header), *rows)
    return "".join("|" + "".join(f" {cell} |" if cell != "" else " |" for cell in line) + "\n" for line in lines)
