"""The record of a training run: ``training.json``."""

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import keras
import numpy as np
from sklearn.metrics import balanced_accuracy_score, log_loss, roc_auc_score

from fracture_edge._version import installed
from fracture_edge.files import atomic_write_text
from train.data.dataset import SPLITS, ImageTable
from train.device import Device
from train.evaluation.calibration import Calibration, Floats
from train.evaluation.operating_points import AIMS, DEFAULT, choose_threshold, draw_band, fit_operating_points
from train.recipes.recipe import Recipe

RECORD_SCHEMA = 1
_PACKAGES = ("keras", "tensorflow", "jax", "torch", "numpy", "pillow", "scikit-learn")


def training_record(
    *,
    recipe: Recipe,
    recipe_name: str,
    seed: int,
    initial_weights: str,
    table: ImageTable,
    data_fingerprint: str,
    parameters: int,
    kept_epoch: int,
    rows: Sequence[dict[str, Any]],
    seconds: float,
    teachers_auroc: float | None,
    calibration: Calibration,
    labels: Sequence[int],
    probabilities: Floats,
    device: Device,
    suitability: Mapping[str, float],
    version: str,
    created: str,
) -> dict[str, Any]:
    """Put together ``training.json``: everything the later stages and a reader need to know.

    Args:
        recipe: As it was trained, with what was overridden.
        recipe_name: Where it came from.
        seed: Of the run.
        initial_weights: In words.
        table: All images with their splits.
        data_fingerprint: See `train.data.batches.fingerprint`.
        parameters: Of the network.
        kept_epoch: Whose weights were kept, counted from 1.
        rows: The history.
        seconds: That the run took, its teachers included.
        teachers_auroc: Of the teachers on training images that they have not seen; ``None`` without teachers.
        calibration: Folded into the model.
        labels: Of the validation images.
        probabilities: Calibrated P(fractured) of the validation images.
        device: What it was trained on.
        suitability: Fields of `fracture_edge.suitability.Limits`, fitted to the training images.
        version: Of fracture-edge.
        created: When it was done.
    """
    counts = Counter((item.split, item.label) for item in table)
    return {
        "schema_version": RECORD_SCHEMA,
        "model": recipe.architecture,
        "positive_class": "fractured",
        "parameters": parameters,
        "temperature": calibration.temperature,
        "intercept": calibration.intercept,
        **operating_point(labels, probabilities, chosen=recipe.calibrate),
        "suitability": dict(suitability),
        "operating_points": fit_operating_points(labels, probabilities) if recipe.calibrate else {},
        "validation": validation_figures(labels, probabilities, chosen=recipe.calibrate),
        "recipe_name": recipe_name,
        "recipe": recipe.to_dict(),
        "seed": seed,
        "initial_weights": initial_weights,
        "data": {
            "root": str(table.root.resolve()),
            "layout": table.layout,
            "fingerprint": data_fingerprint,
            "images": {
                split: {"fractured": counts[split, 1], "not_fractured": counts[split, 0]} for split in SPLITS
            },
        },
        "epochs": len(rows),
        "best_epoch": kept_epoch,
        "seconds": round(seconds),
        "teachers_auroc": teachers_auroc,
        "device": device.name,
        "precision": device.precision,
        "backend": keras.backend.backend(),
        "versions": {"fracture-edge": version, **installed(*_PACKAGES)},
        "created": created,
    }


def operating_point(labels: Sequence[int], probabilities: Floats, *, chosen: bool) -> dict[str, float]:
    """Threshold and uncertain band: chosen on these validation images, or 0.5 without a band."""
    if not chosen:
        return {"threshold": 0.5, "uncertain_low": 0.5, "uncertain_high": 0.5}
    point = draw_band(labels, probabilities, choose_threshold(labels, probabilities), AIMS[DEFAULT])
    return {name: getattr(point, name) for name in ("threshold", "uncertain_low", "uncertain_high")}


def validation_figures(labels: Sequence[int], probabilities: Floats, *, chosen: bool) -> dict[str, float]:
    """How the validation images fare, the very ones that epoch and threshold were chosen on."""
    point = operating_point(labels, probabilities, chosen=chosen)
    uncertain = (probabilities >= point["uncertain_low"]) & (probabilities < point["uncertain_high"])
    return {
        "images": len(labels),
        "fractured": sum(labels),
        "auroc": float(roc_auc_score(labels, probabilities)),
        "balanced_accuracy": float(balanced_accuracy_score(labels, probabilities >= point["threshold"])),
        "log_loss": float(log_loss(labels, probabilities)),
        "uncertain_share": float(np.mean(uncertain)),
    }


def write_record(record: dict[str, Any], path: Path) -> None:
    """Write a record as JSON in one step."""
    atomic_write_text(path, json.dumps(record, indent=2) + "\n")
