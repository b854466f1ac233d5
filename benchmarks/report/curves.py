"""Figures of a run that come from the per-image probabilities: ROC and reliability."""

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


def roc_of_models(
    name: str, rows: Sequence[MeasuredRow], predictions: Predictions, colours: dict[str, str]
) -> str:
    """ROC curves of one row of each model, in the models' colours."""

    def draw(figure: Any) -> None:
        axes = _unit_square(figure, **_ROC_LABELS)
        for number, row in enumerate(rows):
            line = _roc(axes, predictions, row, colours[row.model], "-", name_of(row))
            line.set_gid(f"roc-{number}")
        axes.legend(loc="lower right")

    return inline(name, "ROC curves, one file of each model", _SIZE, draw, _tips(rows))


def roc_of_formats(name: str, rows: Sequence[MeasuredRow], predictions: Predictions, threshold: float) -> str:
    """ROC curves of all formats of one model, and where its threshold lies on the first.

    Colour tells the runtime; float32 is drawn solid, float16 dashed, int8 and dynamic dotted.
    """

    def draw(figure: Any) -> None:
        axes = _unit_square(figure, **_ROC_LABELS)
        for number, row in enumerate(rows):
            style = _PRECISION.get(row.precision, ":")
            line = _roc(axes, predictions, row, _RUNTIME[row.runtime], style, "")
            line.set_gid(f"roc-{number}")
        # Solid, whatever the first row of a runtime is drawn like: the style tells the precision.
        for runtime in dict.fromkeys(row.runtime for row in rows):
            axes.plot([], [], color=_RUNTIME[runtime], label=NAMES[runtime])
        called = predictions.columns[rows[0].id] >= threshold
        truth = predictions.labels == 1
        point = (called[~truth].mean(), called[truth].mean())
        axes.plot(*point, "o", color=INK, markersize=6, label=f"threshold {threshold:.3f}", zorder=4)
        axes.legend(loc="lower right")

    title = f"ROC curves of all formats of {rows[0].model}"
    return inline(name, title, _SIZE, draw, _tips(rows))


def reliability_of(name: str, row: MeasuredRow, predictions: Predictions, colour: str) -> str:
    """Share of fractured images against the probability given, in bins of equally many images."""
    scores = predictions.columns[row.id]

    def draw(figure: Any) -> None:
        axes = _unit_square(figure, xlabel="P(fractured) given", ylabel="share of fractured images")
        mean, share, low, high = reliability(predictions.labels, scores)
        heights = np.full(len(scores), 0.3 / len(scores))
        axes.hist(scores, bins=np.linspace(0, 1, 21), weights=heights, color=MUTED, alpha=0.25, label="how often")
        # At a share of 0 or 1 the difference may come out a hair below zero.
        errors = np.maximum([share - low, high - share], 0)
        axes.errorbar(mean, share, yerr=errors, fmt="o-", color=colour, capsize=3, label="share, 95 % interval")
        axes.legend(loc="upper left")

    return inline(name, f"Reliability of {name_of(row)}", _SIZE, draw)


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
