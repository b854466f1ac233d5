"""A trained model on one split: figures with intervals, the report per class, and the pictures."""

import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from sklearn.metrics import brier_score_loss, classification_report, log_loss

from fracture_edge.errors import FractureEdgeError
from fracture_edge.files import atomic_write_text
from fracture_edge.preprocess import Preprocessing
from train.artifacts import read_record
from train.data.batches import fingerprint, load_pixels
from train.data.dataset import ImageTable
from train.evaluation.baseline import trivial_baseline
from train.evaluation.calibration import Calibration, Floats
from train.evaluation.metrics import auroc, confusion, evaluate
from train.evaluation.plots import draw_confusion, draw_curves, draw_reliability
from train.evaluation.predictions import Predictions, groups_of, write_predictions

EVALUATION_SCHEMA = 1
CLASSES = ("not fractured", "fractured")


def evaluate_model(folder: Path, split: str, *, data: Path | None = None) -> dict[str, Any]:
    """Judge a trained model on one of its splits, and leave figures and pictures beside it.

    Args:
        folder: ``artifacts/<model>``.
        split: ``val`` or ``test``.
        data: The data folder, where it is not the one of the training run any more.

    Returns:
        What ``evaluation-SPLIT.json`` holds.

    Raises:
        FractureEdgeError: No trained model here, or the split lacks a class.
    """
    import keras

    from train.data.dataset import read_splits
    from train.evaluation.predict import predict

    record = read_record(folder)
    table = read_splits(data or Path(record["data"]["root"]), folder / "splits.csv")
    part = table.where(split)
    if set(part.labels) != {0, 1}:
        raise FractureEdgeError(f"{folder / 'splits.csv'}: the {split} split lacks a class")
    model = keras.saving.load_model(folder / "model.keras", compile=False)
    preprocessing = Preprocessing.from_dict(record["recipe"]["preprocessing"])
    calibrated = predict(model, load_pixels(part, preprocessing, label=f"reading {split}"))
    raw = Calibration(record["temperature"], record["intercept"]).undone(calibrated)
    predictions = Predictions(raw, calibrated)
    write_predictions(part, predictions, folder / f"predictions-{split}.csv")
    return judge(folder, split, table, predictions)


def judge(folder: Path, split: str, table: ImageTable, predictions: Predictions) -> dict[str, Any]:
    """Write ``evaluation-SPLIT.json``, ``SPLIT-report.txt`` and the pictures of one split.

    Args:
        folder: Holds ``training.json``, whose threshold is used.
        split: The split that `predictions` are of.
        table: All images with their splits.
        predictions: Of the images of `split`, in the table's order.

    Returns:
        What ``evaluation-SPLIT.json`` holds.
    """
    record = read_record(folder)
    part = table.where(split)
    threshold = record["threshold"]
    called = (predictions.calibrated >= threshold).astype(int)
    result = {
        "schema_version": EVALUATION_SCHEMA,
        "model": record["model"],
        "positive_class": "fractured",
        "split": split,
        "threshold": threshold,
        "data": {
            "layout": table.layout,
            "images": len(part),
            "fractured": sum(part.labels),
            "groups": len(set(groups_of(part))),
            "fingerprint": fingerprint(table),
        },
        "training": {
            name: record[name]
            for name in (
                "recipe_name", "initial_weights", "seed", "parameters", "epochs", "best_epoch", "seconds",
                "device", "precision", "backend", "versions",
            )
        } | {"images": record["data"]["images"]["train"]},
        **figures(part, predictions, threshold),
        "trivial_baseline": trivial_baseline(table, split),
    }  # fmt: skip
    report = classification_report(part.labels, called, target_names=CLASSES, digits=3, zero_division=0)
    title = f"{record['model']} on {split}: {len(part)} images, {sum(part.labels)} fractured (the positive class)"
    atomic_write_text(
        folder / f"{split}-report.txt", f"{title}\nthreshold {threshold:.4f} on P(fractured)\n\n{report}"
    )
    atomic_write_text(folder / f"evaluation-{split}.json", json.dumps(result, indent=2) + "\n")
    draw_confusion(part.labels, called, folder / f"{split}-confusion.png", title=title)
    draw_curves(part.labels, predictions.calibrated, threshold, folder / f"{split}-roc-pr.png", title=title)
    draw_reliability(part.labels, predictions, folder / f"{split}-reliability.png", title=title)
    return result


def figures(part: ImageTable, predictions: Predictions, threshold: float | Floats) -> dict[str, Any]:
    """Metrics with 95 % intervals (`train.evaluation.metrics.evaluate`), and what calibration changed."""
    labels, groups = part.labels, groups_of(part)
    return {
        "metrics": {
            name: asdict(estimate)
            for name, estimate in evaluate(labels, predictions.calibrated, groups, threshold).items()
        },
        "confusion": confusion(labels, predictions.calibrated, threshold),
        "auroc_without_hardware": auroc_without_hardware(part, predictions.calibrated),
        "calibration": {
            name: {
                "brier": float(brier_score_loss(labels, scores)),
                "log_loss": float(log_loss(labels, np.clip(scores, 1e-7, 1 - 1e-7))),
            }
            for name, scores in (("before", predictions.raw), ("after", predictions.calibrated))
        },
    }


def auroc_without_hardware(part: ImageTable, scores: npt.NDArray[np.floating[Any]]) -> dict[str, float] | None:
    """AUROC of the images known to show no metal; ``None`` where a class is missing among them."""
    rows = [row for row, item in enumerate(part) if item.metadata.get("hardware") == "0"]
    labels, groups = part.labels, groups_of(part)
    if {labels[row] for row in rows} != {0, 1}:
        return None
    return asdict(auroc([labels[row] for row in rows], scores[rows], [groups[row] for row in rows]))
