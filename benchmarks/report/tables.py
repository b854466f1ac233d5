"""Tables of a report."""

from collections.abc import Iterable

from benchmarks.records.measured_row import MeasuredRow, PairedChange
from benchmarks.records.result import BenchmarkResult, TrainingSummary
from benchmarks.report.cells import Cell, Line, Table, change, estimate, median, number, percentiles
from benchmarks.report.rows import measured, p50, quality_of, speed_of
from benchmarks.report.runtimes import compare_runtimes
from train.evaluation.formatting import NONE, megabytes, milliseconds, probability
from train.evaluation.metrics import UNDEFINED

_SUMMARY = {
    "AUROC": "auroc",
    "accuracy": "accuracy",
    "precision": "precision",
    "recall": "recall",
    "specificity": "specificity",
    "F1": "f1",
    "sensitivity at specificity 0.90": "sensitivity_at_specificity_90",
    "ECE": "ece",
}
_INFERENCE = "p50 / p90 ms, 1 thread"
_COSTS = ("file to decision p50 ms", "first answer p50 ms", "peak memory MB", "gate")


def summary(result: BenchmarkResult) -> Table:
    """Tabulate the main metrics of all rows, failed ones included."""
    lines = [_summary_line(row) for row in result.rows]
    if result.trivial_baseline.defined:
        names = (Cell("no model"), Cell("size and brightness"), Cell(""), Cell(""))
        empty = [Cell("")] * (len(_SUMMARY) - 1 + len(_COSTS))
        lines.append(Line((*names, estimate(result.trivial_baseline), *empty)))
    return Table(("model", "format", "MB", _INFERENCE, *_SUMMARY, *_COSTS), tuple(lines), names=2)


def _summary_line(row: MeasuredRow) -> Line:
    names = (*names_of(row), number(row.bytes, megabytes(row.bytes)))
    if row.quality is None:
        blank = [Cell(NONE)] * (len(_SUMMARY) + len(_COSTS) - 2)
        return Line((*names, Cell(NONE), Cell("failed"), *blank, Cell("failed")), "failed")
    quality = [estimate(row.quality.metrics[name]) for name in _SUMMARY.values()]
    one = speed_of(row)
    first, memory = row.first_answer_ms, row.peak_memory_mb
    costs = (
        median(one.file_to_decision_ms if one else None),
        median(first),
        Cell(NONE) if memory is None else Cell(f"{memory:.0f}", key=memory),
        Cell(row.gate or NONE),
    )
    return Line((*names, percentiles(one.inference_ms if one else None), *quality, *costs), mark_of(row))


def short_summary(result: BenchmarkResult) -> Table:
    """Tabulate the main metrics without intervals, short enough for a README."""
    metrics = {"AUROC": "auroc", "accuracy": "accuracy", "precision": "precision", "recall": "recall", "F1": "f1"}
    lines = []
    for row in result.rows:
        of_row = row.quality.metrics if row.quality else {}
        values = [
            Cell(f"{found.value:.3f}" if (found := of_row.get(name, UNDEFINED)).defined else NONE)
            for name in metrics.values()
        ]
        if row.quality is None:
            values[0] = Cell("failed")
        cells = (*names_of(row), Cell(megabytes(row.bytes)), *values, Cell(milliseconds(p50(row))))
        lines.append(Line(cells, mark_of(row)))
    return Table(("model", "format", "MB", *metrics, "ms"), tuple(lines), names=2)


def further_metrics(result: BenchmarkResult) -> Table:
    """Tabulate further metrics: balanced accuracy, ranking, calibration, and the effect of the uncertain band."""
    metrics = {
        "balanced accuracy": "balanced_accuracy",
        "average precision": "average_precision",
        "Brier": "brier",
    }
    decided = ("accuracy", "recall", "specificity", "precision")
    columns = (*metrics, "uncertain", *(f"{name} of the decided" for name in decided))
    lines = []
    for row in measured(result):
        quality = quality_of(row)
        uncertain = quality.uncertain
        share = Cell(f"{uncertain.share:.1%}", key=uncertain.share)
        values = [estimate(quality.metrics[name]) for name in metrics.values()]
        rest = [estimate(uncertain.metrics_on_decided[name]) for name in decided]
        lines.append(Line((*names_of(row), *values, share, *rest), mark_of(row)))
    return Table(("model", "format", *columns), tuple(lines), names=2)


def speed(result: BenchmarkResult) -> Table:
    """Tabulate latency by number of threads, and throughput by batch size."""
    batches = [str(batch) for batch in result.settings.batches]
    lines = []
    for row in measured(result):
        for threads in result.settings.threads:
            measurement = speed_of(row, threads)
            if not measurement:
                continue
            images = [
                Cell(NONE)
                if (value := measurement.images_per_second.get(batch)) is None
                else number(value, f"{value:.0f}")
                for batch in batches
            ]
            inference = percentiles(measurement.inference_ms, p99=True)
            decision = percentiles(measurement.file_to_decision_ms)
            cells = (*names_of(row), number(threads, str(threads)), inference, decision, *images)
            lines.append(Line(cells, mark_of(row)))
    columns = ("inference p50 / p90 / p99 ms", "file to decision p50 / p90 ms")
    images_columns = [f"images/s, batch {batch}" for batch in batches]
    return Table(("model", "format", "threads", *columns, *images_columns), tuple(lines), names=2)


def against_source(result: BenchmarkResult) -> Table:
    """Tabulate the paired comparison of every format with its Keras source."""
    columns = (
        "same decision",
        "mean / largest difference of P",
        "AUROC, change",
        "sensitivity, change",
        "specificity, change",
        "only source / only this right",
        "McNemar p",
    )
    lines = tuple(
        Line((*names_of(row), *paired_cells(row.against_source)), mark_of(row))
        for row in measured(result)
        if row.against_source
    )
    return Table(("model", "format", *columns), lines, names=2)


def paired_cells(paired: PairedChange) -> tuple[Cell, ...]:
    """Return the seven cells of a paired comparison."""
    test = paired.mcnemar
    changes = (paired.auroc_change, paired.sensitivity_change, paired.specificity_change)
    return (
        number(paired.agreement, f"{paired.agreement:.3f}"),
        number(paired.mean_difference, f"{paired.mean_difference:.1e} / {paired.largest_difference:.1e}"),
        *(change(each) for each in changes),
        Cell(f"{test.only_source_right} / {test.only_this_right}"),
        number(test.p, probability(test.p)),
    )


def runtimes(result: BenchmarkResult) -> Table:
    """Tabulate the latency of each model's int8 weights in all runtimes, on one thread."""
    lines = []
    for each in compare_runtimes(result):
        medians = [
            Cell(milliseconds(value) + (" (rejected)" if runtime in each.rejected else ""), key=value)
            for runtime, value in each.medians.items()
        ]
        lines.append(Line((Cell(each.model), Cell(each.variant), *medians, Cell(each.verdict))))
    columns = ("model", "weights", "ONNX Runtime ms", "LiteRT ms", "OpenVINO ms", "which wins")
    return Table(columns, tuple(lines), names=2)


def subgroups(row: MeasuredRow) -> Table:
    """Tabulate the metrics of one row by body part, view and hardware."""
    lines = tuple(
        Line(
            (
                Cell(group.by.replace("_", " ")),
                Cell(group.value or "not known"),
                number(group.images, str(group.images)),
                number(group.fractured, str(group.fractured)),
                *map(estimate, (group.auroc, group.recall, group.specificity)),
            )
        )
        for group in quality_of(row).subgroups
    )
    return Table(("by", "value", "images", "fractured", "AUROC", "recall", "specificity"), lines)


def models(result: BenchmarkResult) -> Table:
    """Tabulate the architecture and training of each model."""
    lines = []
    for name, model in result.models.items():
        parameters, trained = model.parameters, model.training
        lines.append(
            Line(
                (
                    Cell(name),
                    Cell(model.architecture),
                    Cell(" x ".join(map(str, model.input))),
                    Cell(NONE) if parameters is None else number(parameters, f"{parameters / 1e6:.2f}"),
                    number(model.threshold, f"{model.threshold:.3f}"),
                    Cell(f"{model.uncertain_low:.3f} to {model.uncertain_high:.3f}"),
                    Cell(describe_training(trained) if trained else "not known here"),
                    Cell("" if model.splits_of_training else "other data or splits: may have seen images"),
                )
            )
        )
    columns = (
        "model",
        "architecture",
        "input",
        "million weights",
        "threshold",
        "uncertain",
        "training",
        "caution",
    )
    return Table(columns, tuple(lines))


def describe_training(trained: TrainingSummary) -> str:
    """Describe recipe, initial weights, epochs, images and device of a training in one line."""
    # A model file alone does not contain precision and device.
    on = [f"{known}, " for known in (trained.precision, trained.device) if known is not None]
    return (
        f"recipe {trained.recipe}, from {trained.initial_weights}, {trained.epochs} epochs (kept: "
        f"{trained.best_epoch}), {trained.images} images, {''.join(on)}seed {trained.seed}"
    )


def failures(rows: Iterable[MeasuredRow]) -> list[tuple[str, str]]:
    """List id and error message of rows that failed or whose speed measurement failed or is incomplete."""
    found = []
    for row in rows:
        if row.error:
            found.append((row.id, row.error))
        elif row.speed_error:
            much = "not all" if row.speed else "not"
            found.append((row.id, f"speed {much} measured: {row.speed_error}"))
    return found


def names_of(row: MeasuredRow) -> tuple[Cell, Cell]:
    """Return the cells of model and format."""
    return Cell(row.model), Cell(row.format)


def mark_of(row: MeasuredRow) -> str:
    """Return the mark of a row: ``failed``, ``rejected`` or empty."""
    return "failed" if row.error else "rejected" if row.gate == "rejected" else ""
