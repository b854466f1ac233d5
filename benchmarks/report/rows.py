"""Access to the rows of a run: selection, metrics and medians."""

from collections.abc import Sequence

from benchmarks.records.measured_row import MeasuredRow, Quality, Speed
from benchmarks.records.result import BenchmarkResult
from benchmarks.speed.latency import Percentiles
from train.evaluation.metrics import UNDEFINED, Estimate

#: Runtimes for devices. Keras needs TensorFlow, and OpenVINO is measured as an independent reference only.
DEPLOYABLE = ("onnxruntime", "litert")


def name_of(row: MeasuredRow) -> str:
    """Return the name of a row for use in a sentence, such as ``edge, onnx int8``."""
    return f"{row.model}, {row.format}"


def measured(result: BenchmarkResult) -> list[MeasuredRow]:
    """Select the rows with metrics."""
    return [row for row in result.rows if row.error is None and row.quality is not None]


def quality_of(row: MeasuredRow) -> Quality:
    """Return the metrics of a row.

    Raises:
        ValueError: The row has none, because it failed.
    """
    if row.quality is None:
        raise ValueError(f"{row.id} was not measured")
    return row.quality


def speed_of(row: MeasuredRow, threads: int = 1) -> Speed | None:
    """Return the speed for a number of threads, or ``None`` if not measured."""
    return (row.speed or {}).get(str(threads))


def latency(row: MeasuredRow, threads: int = 1) -> Percentiles | None:
    """Return the latency of one inference for a number of threads, or ``None`` if not measured."""
    speed = speed_of(row, threads)
    return speed.inference_ms if speed else None


def p50(row: MeasuredRow) -> float | None:
    """Return the median latency on one thread in milliseconds, or ``None`` if not measured."""
    percentiles = latency(row)
    return percentiles.p50 if percentiles else None


def auroc(row: MeasuredRow) -> Estimate:
    """Return the AUROC; undefined for a failed row."""
    return row.quality.metrics["auroc"] if row.quality else UNDEFINED


def candidates(result: BenchmarkResult) -> list[MeasuredRow]:
    """Select the rows that may be recommended: device runtime, AUROC and latency measured, not rejected."""
    return [
        row
        for row in measured(result)
        if row.runtime in DEPLOYABLE and row.gate != "rejected" and auroc(row).defined and p50(row) is not None
    ]


def of_model(rows: Sequence[MeasuredRow], model: str) -> list[MeasuredRow]:
    """Select the rows of one model."""
    return [row for row in rows if row.model == model]
