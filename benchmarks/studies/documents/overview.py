"""The table of the README: the embedded model beside the reference's networks, in five rows."""

from benchmarks.records.environment import Environment
from benchmarks.records.measured_row import MeasuredRow, Quality
from benchmarks.report import prose
from benchmarks.studies.documents.results import EMBEDDED_ROW, REFERENCE_RUN, RUN, quality_of, read_run, row_of
from train.evaluation.formatting import interval, markdown_table, megabytes, milliseconds

#: Smallest accepted file of each network of the reference, and the run that measured it.
_REFERENCE = (
    ("vgg16/onnx int8", RUN),
    ("resnet50/onnx int8", REFERENCE_RUN),
    ("custom_cnn/onnx int8 factorised64", REFERENCE_RUN),
)


def overview() -> str:
    """Tabulate AUROC, sensitivity and specificity with their intervals, size and latency of five rows."""
    run, older = read_run(REFERENCE_RUN), read_run(RUN)
    rows = [("**edge**, int8, in the package", *_cells(row_of(run, EMBEDDED_ROW), quality_of(run, EMBEDDED_ROW)))]
    for identifier, name in _REFERENCE:
        source = read_run(name)
        row = row_of(source, identifier)
        rows.append((f"{row.model}, {row.format}", *_cells(row, quality_of(source, identifier))))
    rows.append(("size and brightness alone", "", interval(run.trivial_baseline), "", "", ""))
    header = ("model", "MB", "AUROC", "sensitivity", "specificity", "ms")
    return (
        f"{markdown_table(header, rows)}\n{prose.describe_data(run)} "
        f"Milliseconds: median of one inference on one thread, {_processor(run.environment)}; "
        f"of vgg16 on another, {_processor(older.environment)}: not comparable.\n"
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
