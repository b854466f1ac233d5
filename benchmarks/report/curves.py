"""Plots of a run made from its per-image predictions: ROC curves and reliability diagrams."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from sklearn.metrics import roc_curve

from benchmarks.records.measured_row import MeasuredRow
from benchmarks.report.predictions import Predictions
from benchmarks.report.rows import auroc, name_of
from benchmarks.report.runtimes import NAMES
from benchmarks.report.svg import GRID, INK, MUTED, SERIES, inline
from train.evaluation.formatting import interval
from train.evaluation.metrics import reliability

_SIZE = (4.2, 4.2)
_RUNTIME = {"keras": INK, "onnxruntime": SERIES[0], "litert": SERIES[1], "openvino": SERIES[2]}
_PRECISION = {"float32": "-", "float16": "--"}
_ROC_LABELS = {"xlabel": "1 - specificity", "ylabel": "sensitivity"}


def plot_roc_of_models(
    name: str, rows: Sequence[MeasuredRow], predictions: Predictions, colours: dict[str, str]
) -> str:
    """Plot the ROC curves of one row of each model.

    Args:
        name: Prefix of the ids, see `benchmarks.report.svg.inline`.
        rows: Rows, one of each model.
        predictions: Predictions of the run.
        colours: Colours by model.
    """

    def plot(figure: Any) -> None:
        axes = _unit_square(figure, **_ROC_LABELS)
        for number, row in enumerate(rows):
            line = _roc(axes, predictions, row, colours[row.model], "-", name_of(row))
            line.set_gid(f"roc-{number}")
        axes.legend(loc="lower right")

    return inline(name, "ROC curves, one file of each model", _SIZE, plot, _tips(rows))


def plot_roc_of_formats(name: str, rows: Sequence[MeasuredRow], predictions: Predictions, threshold: float) -> str:
    """Plot the ROC curves of all formats of one model, and the threshold on the first curve.

    The colour shows the runtime; the line is solid for float32, dashed for float16, dotted for int8 and dynamic.

    Args:
        name: Prefix of the ids, see `benchmarks.report.svg.inline`.
        rows: Rows of one model.
        predictions: Predictions of the run.
        threshold: Decision threshold of the model.
    """

    def plot(figure: Any) -> None:
        axes = _unit_square(figure, **_ROC_LABELS)
        for number, row in enumerate(rows):
            style = _PRECISION.get(row.precision, ":")
            line = _roc(axes, predictions, row, _RUNTIME[row.runtime], style, "")
            line.set_gid(f"roc-{number}")
        # Solid lines in the legend, whatever the first row's style: the style shows the precision.
        for runtime in dict.fromkeys(row.runtime for row in rows):
            axes.plot([], [], color=_RUNTIME[runtime], label=NAMES[runtime])
        predicted = predictions.columns[rows[0].id] >= threshold
        truth = predictions.labels == 1
        point = (predicted[~truth].mean(), predicted[truth].mean())
        axes.plot(*point, "o", color=INK, markersize=6, label=f"threshold {threshold:.3f}", zorder=4)
        axes.legend(loc="lower right")

    title = f"ROC curves of all formats of {rows[0].model}"
    return inline(name, title, _SIZE, plot, _tips(rows))


def plot_reliability(name: str, row: MeasuredRow, predictions: Predictions, colour: str) -> str:
    """Plot the share of fractured images against the predicted probability, in bins with equal numbers of images.

    Args:
        name: Prefix of the ids, see `benchmarks.report.svg.inline`.
        row: Row with predictions.
        predictions: Predictions of the run.
        colour: Colour of the curve.
    """
    scores = predictions.columns[row.id]

    def plot(figure: Any) -> None:
        axes = _unit_square(figure, xlabel="P(fractured) given", ylabel="share of fractured images")
        mean, share, low, high = reliability(predictions.labels, scores)
        heights = np.full(len(scores), 0.3 / len(scores))
        axes.hist(scores, bins=np.linspace(0, 1, 21), weights=heights, color=MUTED, alpha=0.25, label="how often")
        # For a share of 0 or 1 rounding can make the difference slightly negative.
        errors = np.maximum([share - low, high - share], 0)
        axes.errorbar(mean, share, yerr=errors, fmt="o-", color=colour, capsize=3, label="share, 95 % interval")
        axes.legend(loc="upper left")

    return inline(name, f"Reliability of {name_of(row)}", _SIZE, plot)


def _unit_square(figure: Any, **labels: str) -> Any:
    axes = figure.subplots()
    axes.plot([0, 1], [0, 1], color=GRID, linestyle="-", linewidth=1)
    ticks = np.linspace(0, 1, 6)
    axes.set(xlim=(-0.02, 1.02), ylim=(-0.02, 1.02), xticks=ticks, yticks=ticks, aspect="equal", **labels)
    return axes


def _roc(axes: Any, predictions: Predictions, row: MeasuredRow, colour: str, style: str, label: str) -> Any:
    false_positive, sensitivity, _ = roc_curve(predictions.labels, predictions.columns[row.id])
    (line,) = axes.plot(false_positive, sensitivity, color=colour, linestyle=style, label=label or "_")
    return line


def _tips(rows: Sequence[MeasuredRow]) -> dict[str, str]:
    return {f"roc-{number}": f"{name_of(row)}: AUROC {interval(auroc(row))}" for number, row in enumerate(rows)}
