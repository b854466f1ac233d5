"""A trained model on one split: figures with intervals, the report per class, and the pictures."""

import csv
import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from sklearn.metrics import brier_score_loss, classification_report, log_loss

from fracture_edge.errors import FractureEdgeError
from fracture_edge.files import atomic_path, atomic_write_text
from fracture_edge.preprocess import Preprocessing
from train.artifacts import read_record
from train.data.batches import fingerprint, load_pixels
from train.data.dataset import ImageTable
from train.data.division import scan
from train.data.shortcuts import trivial_scores
from train.evaluation.calibration import Calibration, Floats
from train.evaluation.metrics import auroc, confusion, evaluate
from train.evaluation.plots import draw_confusion, draw_curves, draw_reliability

EVALUATION_SCHEMA = 1
CLASSES = ("not fractured", "fractured")


@dataclass(frozen=True, slots=True)
class Predictions:
    """P(fractured) of the images of a split, [N].

    Attributes:
        raw: As the network was trained.
        calibrated: As it answers.
    """

    raw: Floats
    calibrated: Floats


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
    from train.trainer.loop import predict

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


def groups_of(part: ImageTable) -> list[str]:
    """What belongs together; an image without a group stands for itself."""
    return [item.group or item.path for item in part]


def auroc_without_hardware(part: ImageTable, scores: npt.NDArray[np.floating[Any]]) -> dict[str, float] | None:
    """AUROC of the images known to show no metal; ``None`` where a class is missing among them."""
    rows = [row for row, item in enumerate(part) if item.metadata.get("hardware") == "0"]
    labels, groups = part.labels, groups_of(part)
    if {labels[row] for row in rows} != {0, 1}:
        return None
    return asdict(auroc([labels[row] for row in rows], scores[rows], [groups[row] for row in rows]))


def trivial_baseline(table: ImageTable, split: str) -> dict[str, float] | None:
    """AUROC of size, brightness, contrast, black and white alone: what a model must beat.

    ``None`` where there is nothing to learn it from.
    """
    if set(table.where("train").labels) != {0, 1}:
        return None
    # Nothing else is looked at: the test images stay unseen while a model is trained.
    seen = replace(table, items=tuple(item for item in table if item.split in ("train", split)))
    part = table.where(split)
    return asdict(auroc(part.labels, trivial_scores(seen, scan(seen), split), groups_of(part)))


def write_predictions(part: ImageTable, predictions: Predictions, path: Path) -> None:
    """Write path, label, group and calibrated P(fractured) of every image."""
    write_rows(
        path,
        ("path", "label", "group", "probability"),
        [
            (item.path, item.label, item.group, f"{probability:.6f}")
            for item, probability in zip(part, predictions.calibrated, strict=True)
        ],
    )


def write_rows(path: Path, header: Sequence[str], rows: Sequence[Sequence[Any]]) -> None:
    """Write a CSV file in one step."""
    with atomic_path(path) as temporary, temporary.open("w", newline="", encoding="utf-8") as stream:
        writer = csv.writer(stream, lineterminator="\n")
        writer.writerow(header)
        writer.writerows(rows)
