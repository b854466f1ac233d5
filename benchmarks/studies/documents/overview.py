"""The table of the README: the embedded model beside the reference's networks, in five rows."""

from types import MappingProxyType

from benchmarks.records.environment import Environment
from benchmarks.records.measured_row import MeasuredRow, Quality
from benchmarks.report import prose
from benchmarks.studies.documents.results import (
    EMBEDDED_NETWORK,
    EMBEDDED_ROW,
    EMBEDDED_RUN,
    REFERENCE_RUN,
    RESULTS,
    RUN,
    quality_of,
    read_run,
    read_stored,
    row_of,
)
from benchmarks.studies.edge_model.cross_validated import read_networks
from benchmarks.studies.robustness.elsewhere import Elsewhere
from train.evaluation.formatting import interval, markdown_table, megabytes, milliseconds

#: int8 file of each network of the reference that is shown, by the run that measured it.
_REFERENCE = MappingProxyType(
    {
        "vgg16/onnx int8": RUN,
        "resnet50/onnx int8": REFERENCE_RUN,
        "custom_cnn/onnx int8 factorised64": REFERENCE_RUN,
    }
)


def overview() -> str:
    """Tabulate AUROC, sensitivity and specificity with their intervals, size and latency of five rows."""
    run = read_run(EMBEDDED_RUN)
    rows = [("**edge**, int8, in the package", *_cells(row_of(run, EMBEDDED_ROW), quality_of(run, EMBEDDED_ROW)))]
    for identifier, name in _REFERENCE.items():
        its_run = read_run(name)
        row = row_of(its_run, identifier)
        rows.append((f"{row.model}, {row.format}", *_cells(row, quality_of(its_run, identifier))))
    rows.append(("size and brightness alone", "", interval(run.trivial_baseline), "", "", ""))
    header = ("model", "MB", "AUROC", "sensitivity", "specificity", "ms")
    return (
        f"{markdown_table(header, rows)}\n{prose.describe_data(run)} "
        f"Milliseconds: median of one inference on one thread, {_processor(run.environment)}.\n\n{_elsewhere()}"
    )


def _elsewhere() -> str:
    """Say in a sentence what is left of the AUROC on other folds and on another data set."""
    network = next(each for each in read_networks(RESULTS / "folds.json") if each.name == EMBEDDED_NETWORK)
    other = read_stored(Elsewhere, "elsewhere.json")
    cross_validated = interval(network.pooled["auroc"])
    return (
        f"Cross-validated, the recipe of **edge** has an AUROC of {cross_validated}; on {other.xrays} X-rays of\n"
        f"another data set the model has {interval(other.auroc)}.\n"
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
