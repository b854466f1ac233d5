"""The table of the README: the embedded model beside the reference's networks, in five rows."""

from benchmarks.records.environment import Environment
from benchmarks.records.measured_row import MeasuredRow, Quality
from benchmarks.report import prose
from benchmarks.studies.documents.results import (
    EMBEDDED_ELSEWHERE,
    EMBEDDED_ROW,
    RUN,
    quality_of,
    read_run,
    row_of,
)
from train.evaluation.formatting import interval, markdown_table, megabytes, milliseconds

#: Smallest accepted file of each network of the reference.
_REFERENCE = ("vgg16/onnx int8", "resnet50/onnx float16", "custom_cnn/onnx int8 factorised64")


def overview() -> str:
    """Tabulate AUROC, sensitivity and specificity with their intervals, size and latency of five rows."""
    embedded, others = read_run(EMBEDDED_ELSEWHERE), read_run(RUN)
    shipped = _cells(row_of(embedded, EMBEDDED_ROW), quality_of(embedded, EMBEDDED_ROW))
    rows = [("**edge**, int8, in the package", *shipped)]
    for identifier in _REFERENCE:
        row = row_of(others, identifier)
        rows.append((f"{row.model}, {row.format}", *_cells(row, quality_of(others, identifier))))
    rows.append(("size and brightness alone", "", interval(others.trivial_baseline), "", "", ""))
    header = ("model", "MB", "AUROC", "sensitivity", "specificity", "ms")
    return (
        f"{markdown_table(header, rows)}\n{prose.describe_data(others)} "
        f"Milliseconds: median of one inference on one thread, {_processor(others.environment)}; "
        f"of **edge** on another, {_processor(embedded.environment)}: not comparable.\n"
    )


def _processor(environment: Environment) -> str:
    return f"{environment.cpu} ({', '.join(environment.cpu_flags)})"


def _cells(row: MeasuredRow, quality: Quality) -> tuple[str, ...]:
    found = quality.metrics
    median = row.speed["1"].inference_ms.p50 if row.speed else None
    return (
        megabytes(row.bytes),
        *(interval(found[name]) for name in ("auroc", "recall", "specificity")),
        milliseconds(median),
    )
