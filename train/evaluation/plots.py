"""Plots of a model's predictions on one split: confusion matrix, ROC and PR curves, reliability diagram."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
from sklearn.metrics import (
    average_precision_score,
    confusion_matrix,
    precision_recall_curve,
    roc_auc_score,
    roc_curve,
)

from train.evaluation.calibration import Floats
from train.evaluation.metrics import reliability
from train.figure import COLOURS, saved_figure

if TYPE_CHECKING:
    from train.evaluation.predictions import Predictions


def plot_confusion(labels: Sequence[int], predicted: npt.NDArray[np.int_], path: Path, *, title: str) -> None:
    """Plot the confusion matrix: counts, and shares of each true class."""
    counts = confusion_matrix(labels, predicted, labels=[0, 1])
    shares = counts / counts.sum(axis=1, keepdims=True)
    names = ["not fractured", "fractured"]
    with saved_figure(path, width=5.4, height=4.4, title=title) as figure:
        axes = figure.subplots()
        axes.imshow(shares, cmap="Blues", vmin=0, vmax=1)
        axes.set(xticks=[0, 1], yticks=[0, 1], xticklabels=names, yticklabels=names)
        axes.set(xlabel="predicted", ylabel="true")
        for row in range(2):
            for column in range(2):
                share = shares[row, column]
                axes.text(
                    column,
                    row,
                    f"{counts[row, column]}\n{share:.1%}",
                    ha="center",
                    va="center",
                    color="white" if share > 0.5 else "black",
                )


def plot_roc_pr(labels: Sequence[int], probabilities: Floats, threshold: float, path: Path, *, title: str) -> None:
    """Plot ROC and precision-recall curve, with the operating point at `threshold`."""
    truth, predicted = np.asarray(labels) == 1, probabilities >= threshold
    sensitivity, false_alarms = float(predicted[truth].mean()), float(predicted[~truth].mean())
    point = {"marker": "o", "color": "black", "linestyle": "none", "label": f"threshold {threshold:.3f}"}
    with saved_figure(path, width=9, height=4.4, title=title) as figure:
        roc, pr = figure.subplots(1, 2)
        false_positive, true_positive, _ = roc_curve(labels, probabilities, drop_intermediate=False)
        roc.plot(false_positive, true_positive, color=COLOURS[1])
        roc.plot([0, 1], [0, 1], color="grey", linestyle=":", label="chance")
        roc.plot([false_alarms], [sensitivity], **point)
        roc.set(xlabel="1 - specificity", ylabel="sensitivity", xlim=(-0.02, 1.02), ylim=(-0.02, 1.02))
        roc.set_title(f"ROC, area {roc_auc_score(labels, probabilities):.3f}", fontsize="medium")
        precision, recall, _ = precision_recall_curve(labels, probabilities)
        pr.plot(recall, precision, color=COLOURS[1])
        pr.axhline(float(truth.mean()), color="grey", linestyle=":", label="chance: share of fractured")
        if predicted.any():
            pr.plot([sensitivity], [float(truth[predicted].mean())], **point)
        pr.set(xlabel="recall (sensitivity)", ylabel="precision", xlim=(-0.02, 1.02), ylim=(-0.02, 1.02))
        pr.set_title(f"average precision {average_precision_score(labels, probabilities):.3f}", fontsize="medium")
        for axes in (roc, pr):
            axes.set_aspect("equal")
            axes.grid(alpha=0.3)
            axes.legend(loc="lower right" if axes is roc else "best", fontsize="small")


def plot_reliability(labels: Sequence[int], predictions: "Predictions", path: Path, *, title: str) -> None:
    """Plot reliability diagrams before and after calibration: share of fractured images against P(fractured)."""
    panels = {"before calibration": predictions.raw, "after calibration": predictions.calibrated}
    if np.array_equal(predictions.raw, predictions.calibrated):
        panels = {"not calibrated": predictions.raw}
    with saved_figure(path, width=4.5 * len(panels), height=4.6, title=title) as figure:
        grid = figure.subplots(1, len(panels), sharex=True, sharey=True, squeeze=False)[0]
        for axes, (name, scores) in zip(grid, panels.items(), strict=True):
            mean, share, low, high = reliability(labels, scores)
            axes.plot([0, 1], [0, 1], color="grey", linestyle=":")
            axes.errorbar(mean, share, yerr=[share - low, high - share], fmt="o-", color=COLOURS[1], capsize=3)
            heights = np.full(len(scores), 0.3 / len(scores))
            axes.hist(scores, bins=np.linspace(0, 1, 21), weights=heights, color=COLOURS[0], alpha=0.35)
            axes.set_title(name, fontsize="medium")
            axes.set(xlabel="predicted P(fractured)", xlim=(0, 1), ylim=(0, 1))
            axes.set_aspect("equal")
            axes.grid(alpha=0.3)
        grid[0].set_ylabel("share of fractured images (95 % interval)")
        figure.supxlabel("bars: histogram of the predicted probabilities", fontsize="small")
