"""How a report writes its figures."""

import re
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from train.evaluation.metrics import Estimate

#: Stands where a figure is not known or not defined.
NONE = "–"
#: What Markdown would take for a tag or an entity; a "< 0.001" is none.
_HTML = re.compile(r"<(?=[a-zA-Z/!?])|&(?=#?\w+;)")


def interval(estimate: "Estimate | Mapping[str, float] | None") -> str:
    """Format an estimate: ``0.912 [0.880, 0.940]``."""
    if estimate is None:
        return NONE
    value = estimate["value"] if isinstance(estimate, Mapping) else estimate.value
    return f"{value:.3f} {bounds(estimate)}"


def bounds(estimate: "Estimate | Mapping[str, float]") -> str:
    """Format an interval: ``[0.880, 0.940]``."""
    if isinstance(estimate, Mapping):
        return f"[{estimate['low']:.3f}, {estimate['high']:.3f}]"
    return f"[{estimate.low:.3f}, {estimate.high:.3f}]"


def times(ratio: dict[str, float]) -> str:
    """``1.24 [1.22, 1.26] times``."""
    return f"{ratio['value']:.2f} [{ratio['low']:.2f}, {ratio['high']:.2f}] times"


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


def name_of(row: dict[str, Any]) -> str:
    """``edge, onnx int8``."""
    return f"{row['model']}, {row['format']}"


def counted(count: int, singular: str) -> str:
    """``1 row``, ``2 rows``."""
    return f"{count} {singular}" if count == 1 else f"{count} {singular}s"


def markdown_cell(text: object) -> str:
    """`text` on one line, so that no name or message can end a cell or start HTML."""
    line = re.sub(r"([\\|`*])", r"\\\1", " ".join(str(text).split()))
    return _HTML.sub(lambda found: "&lt;" if found[0] == "<" else "&amp;", line)
