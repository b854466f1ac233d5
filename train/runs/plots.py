"""Plots of a training run (curves, classes, samples) and of a cross-validation (metrics)."""

import itertools
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from train.data.augment import augmented_copies
from train.data.dataset import SPLITS, ImageTable
from train.evaluation.record import CrossValidationRecord
from train.figure import COLOURS, saved_figure
from train.recipes.recipe import Recipe
from train.trainer.callbacks import EpochRow, History

if TYPE_CHECKING:
    from train.data.pixel_store import PixelStore

#: Number of sample images of each class, and of augmented copies of each image.
SAMPLES, COPIES = 4, 5
_CURVES = {"loss": "loss", "accuracy": "accuracy", "auroc": "AUROC"}


def plot_training(
    folder: Path, table: ImageTable, store: "PixelStore", history: History, recipe: Recipe, *, seed: int
) -> None:
    """Plot ``curves.png``, ``classes.png`` and ``samples.png`` into `folder`."""
    plot_history(history.rows, folder / "curves.png", title=f"{recipe.architecture}: training")
    plot_classes(table, folder / "classes.png")
    plot_samples(table.where("train"), store, recipe, folder / "samples.png", seed=seed)


def plot_history(rows: Sequence[EpochRow], path: Path, *, title: str) -> None:
    """Plot loss, accuracy and AUROC of training and validation, if there is one, over the epochs of all phases.

    The training loss is measured with augmentation and dropout, so it may lie above the validation loss. Accuracy
    is that of the sigmoid at 0.5, before threshold and calibration are chosen.
    """
    epochs = [row["epoch"] for row in rows]
    starts = [row["epoch"] for before, row in itertools.pairwise(rows) if row["phase"] != before["phase"]]
    with saved_figure(path, width=12, height=3.8, title=title) as figure:
        for axes, (name, label) in zip(figure.subplots(1, len(_CURVES)), _CURVES.items(), strict=True):
            axes.plot(epochs, [row[name] for row in rows], ".-", color=COLOURS[0], label="training")
            if all(f"val_{name}" in row for row in rows):
                found = [row[f"val_{name}"] for row in rows]
                axes.plot(epochs, found, ".-", color=COLOURS[1], label="validation")
            for number, start in enumerate(starts, start=2):
                axes.axvline(start - 0.5, color="grey", linestyle=":", label=f"phase {number} begins")
            axes.set(xlabel="epoch", ylabel=label)
            axes.grid(alpha=0.3)
            axes.xaxis.get_major_locator().set_params(integer=True)
        figure.axes[0].legend(fontsize="small")


def plot_classes(table: ImageTable, path: Path) -> None:
    """Plot the number of images of each class in every split."""
    with saved_figure(path, width=5.5, height=3.8, title="images of each class") as figure:
        axes = figure.subplots()
        for label, (name, colour) in enumerate(zip(("not fractured", "fractured"), COLOURS, strict=True)):
            counts = [table.where(split).labels.count(label) for split in SPLITS]
            bars = axes.bar(np.arange(len(SPLITS)) + 0.4 * label - 0.2, counts, 0.38, color=colour, label=name)
            axes.bar_label(bars, fontsize="small")
        axes.set(xticks=range(len(SPLITS)), xticklabels=SPLITS, ylabel="images")
        axes.margins(y=0.12)
        axes.legend()


def plot_samples(part: ImageTable, store: "PixelStore", recipe: Recipe, path: Path, *, seed: int) -> None:
    """Plot training images of both classes as preprocessed for the network, and augmented."""
    random = np.random.default_rng(seed)
    chosen = []
    for label in (1, 0):
        rows = [row for row, value in enumerate(part.labels) if value == label]
        chosen += sorted(random.permutation(rows)[:SAMPLES].tolist())
    items = tuple(part.items[row] for row in chosen)
    pixels = store.of(ImageTable(part.root, part.layout, items))
    columns = [pixels, *augmented_copies(pixels, recipe.augmentation, COPIES, seed=seed)]
    title = "samples: preprocessed (left), and augmented for training"
    with saved_figure(path, width=1.5 * len(columns) + 1, height=1.5 * len(items) + 0.6, title=title) as figure:
        grid = figure.subplots(len(items), len(columns), squeeze=False)
        for row, item in enumerate(items):
            for column, images in enumerate(columns):
                axes = grid[row, column]
                axes.imshow(images[row, ..., 0], cmap="gray", vmin=0, vmax=255)
                axes.set(xticks=[], yticks=[])
            grid[row, 0].set_ylabel("fractured" if item.label else "not fractured", fontsize="small")


def plot_folds(result: CrossValidationRecord, path: Path) -> None:
    """Plot AUROC, recall and specificity of every fold and pooled, with their intervals."""
    names = [*(str(entry.fold) for entry in result.folds), "pooled"]
    title = f"{result.model}: {len(result.folds)} folds, fractured is the positive class (95 % intervals)"
    with saved_figure(path, width=10, height=3.8, title=title) as figure:
        for axes, metric in zip(
            figure.subplots(1, 3, sharey=True), ("auroc", "recall", "specificity"), strict=True
        ):
            estimates = [entry.metrics[metric] for entry in (*result.folds, result.pooled)]
            values = np.array([estimate.value for estimate in estimates])
            reach = np.array([[e.value - e.low for e in estimates], [e.high - e.value for e in estimates]])
            colours = [COLOURS[0]] * len(result.folds) + [COLOURS[1]]
            axes.bar(names, values, yerr=reach, color=colours, capsize=3)
            axes.set(title=metric, ylim=(0, 1), xlabel="fold")
            axes.grid(alpha=0.3, axis="y")
