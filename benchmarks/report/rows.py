"""What the rows of a run have in common: which were measured, which can be recommended, their medians."""

from collections.abc import Sequence

from benchmarks.records.measured_row import MeasuredRow, Quality, Speed
from benchmarks.records.result import BenchmarkResult
from benchmarks.speed.latency import Percentiles
from train.evaluation.metrics import UNDEFINED, Estimate

#: A Keras file needs TensorFlow, and OpenVINO is measured as an outside reference: neither is for a device.
DEPLOYABLE = ("onnxruntime", "litert")


def name_of(row: MeasuredRow) -> str:
    """Name a row in a sentence: ``edge, onnx int8``."""
    return f"{row.model}, {row.format}"


def measured(result: BenchmarkResult) -> list[MeasuredRow]:
    """Select the rows with figures of quality."""
    return [row for row in result.rows if row.error is None and row.quality is not None]


def quality_of(row: MeasuredRow) -> Quality:
    """Get the figures of a row that is `measured`.

    Raises:
        ValueError: It has none.
    """
    if row.quality is None:
        raise ValueError(f"{row.id} was not measured")
    return row.quality


def speed_of(row: MeasuredRow, threads: int = 1) -> Speed | None:
    """Get the speed on so many threads, or ``None`` where it was not measured."""
    return (row.speed or {}).get(str(threads))


def latency(row: MeasuredRow, threads: int = 1) -> Percentiles | None:
    """Get the time of inference, or ``None`` where it was not measured."""
    speed = speed_of(row, threads)
    return speed.inference_ms if speed else None


def p50(row: MeasuredRow) -> float | None:
    """Get the median of inference on one thread in milliseconds."""
    percentiles = latency(row)
    return percentiles.p50 if percentiles else None


def auroc(row: MeasuredRow) -> Estimate:
    """Get the AUROC; not defined for a row that failed either."""
    return row.quality.metrics["auroc"] if row.quality else UNDEFINED


def candidates(result: BenchmarkResult) -> list[MeasuredRow]:
    """Select rows that may be recommended: for a device, with AUROC and latency, and not rejected by the gate."""
    return [
        row
        for row in measured(result)
        if row.runtime in DEPLOYABLE and row.gate != "rejected" and auroc(row).defined and p50(row) is not None
    ]


def of_model(rows: Sequence[MeasuredRow], model: str) -> list[MeasuredRow]:
    """Select those of one model."""
    return [row for row in rows if row.model == model]
