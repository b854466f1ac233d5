"""How a report writes its figures."""

import math
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Protocol

#: Stands where a figure is not known or not defined.
NONE = "–"
#: What Markdown would take for a tag or an entity; a "< 0.001" is none.
_HTML = re.compile(r"<(?=[a-zA-Z/!?])|&(?=#?\w+;)")


class Bounded(Protocol):
    """A figure with its interval, such as `train.evaluation.metrics.Estimate`; NaN where it is not defined."""

    @property
    def value(self) -> float:
        """The figure."""

    @property
    def low(self) -> float:
        """Lower end of the interval."""

    @property
    def high(self) -> float:
        """Upper end of the interval."""


def interval(estimate: Bounded | Mapping[str, float] | None) -> str:
    """``0.912 [0.880, 0.940]``, of a figure or of what JSON holds of one."""
    value, low, high = _bounded(estimate)
    return NONE if math.isnan(value) else f"{value:.3f} [{low:.3f}, {high:.3f}]"


def bounds(estimate: Bounded) -> str:
    """``[0.880, 0.940]``."""
    return f"[{estimate.low:.3f}, {estimate.high:.3f}]"


def times(ratio: Bounded | Mapping[str, float]) -> str:
    """``1.24 [1.22, 1.26] times``."""
    value, low, high = _bounded(ratio)
    return f"{value:.2f} [{low:.2f}, {high:.2f}] times"


def _bounded(estimate: Bounded | Mapping[str, float] | None) -> tuple[float, float, float]:
    if estimate is None:
        return math.nan, math.nan, math.nan
    if isinstance(estimate, Mapping):
        return estimate["value"], estimate["low"], estimate["high"]
    return estimate.value, estimate.low, estimate.high


def megabytes(size: float) -> str:
    """`size` in bytes as units of 10**6: ``3.82``."""
    return f"{size / 1e6:.2f}" if size < 1e7 else f"{size / 1e6:.1f}"


def milliseconds(value: float | None) -> str:
    """``4.1``, from 100 on ``135``."""
    if value is None:
        return NONE
    return f"{value:.1f}" if value < 100 else f"{value:.0f}"


def probability(p: float) -> str:
    """A p value: ``0.012``, or ``< 0.001``."""
    return "< 0.001" if p < 0.001 else f"{p:.3f}"


def counted(count: int, singular: str) -> str:
    """``1 row``, ``2 rows``."""
    return f"{count} {singular}" if count == 1 else f"{count} {singular}s"


def markdown_cell(text: object) -> str:
    """`text` on one line, so that no name or message can end a cell or start HTML."""
    line = re.sub(r"([\\|`*])", r"\\\1", " ".join(str(text).split()))
    return _HTML.sub(lambda found: "&lt;" if found[0] == "<" else "&amp;", line)


def markdown_table(header: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    """Format a Markdown table, its last line ended.

    Args:
        header: Names of the columns.
        rows: Cells of each row, as Markdown; of free text `markdown_cell` makes some.
    """
    lines = (header, ["---"] * len(header), *rows)
    return "".join("|" + "".join(f" {cell} |" if cell != "" else " |" for cell in line) + "\n" for line in lines)
