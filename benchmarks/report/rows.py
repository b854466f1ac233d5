"""What the rows of a run have in common: which were measured, which can be recommended, their medians."""

from collections.abc import Sequence
from typing import Any

from fracture_edge.errors import FractureEdgeError

RESULT_SCHEMA = 2
#: A Keras file needs TensorFlow, and OpenVINO is measured as an outside reference: neither is for a device.
DEPLOYABLE = ("onnxruntime", "litert")

Row = dict[str, Any]


def check_schema(result: dict[str, Any]) -> None:
    """Refuse what this report cannot read.

    Raises:
        FractureEdgeError: `result` is of another schema.
    """
    if (version := result.get("schema_version")) != RESULT_SCHEMA:
        raise FractureEdgeError(
            f"a benchmark result of schema {version}, not {RESULT_SCHEMA}; run `fracture-edge benchmark` again"
        )


def measured(result: dict[str, Any]) -> list[Row]:
    """Rows with figures of quality."""
    return [row for row in result["rows"] if row["error"] is None and row["quality"] is not None]


def latency(row: Row, threads: int = 1) -> dict[str, float] | None:
    """Percentiles of inference in milliseconds, or ``None`` where they were not measured."""
    speed: dict[str, Any] = (row["speed"] or {}).get(str(threads)) or {}
    return speed.get("inference_ms")


def p50(row: Row) -> float | None:
    """Median of inference on one thread in milliseconds."""
    percentiles = latency(row)
    return percentiles["p50"] if percentiles else None


def auroc(row: Row) -> dict[str, float] | None:
    """AUROC with its interval."""
    estimate: dict[str, float] | None = row["quality"]["metrics"]["auroc"]
    return estimate


def candidates(result: dict[str, Any]) -> list[Row]:
    """Rows that may be recommended: for a device, with AUROC and latency, and not rejected by the gate."""
    return [
        row
        for row in measured(result)
        if row["runtime"] in DEPLOYABLE and row["gate"] != "rejected" and auroc(row) and p50(row) is not None
    ]


def of_model(rows: Sequence[Row], model: str) -> list[Row]:
    """Those of one model."""
    return [row for row in rows if row["model"] == model]
