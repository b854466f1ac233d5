"""`fracture-edge train`: from a data folder and splits to ``artifacts/<model>/`` with all evidence."""

import csv
import os
import shutil
import sys
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import keras
import numpy as np
import numpy.typing as npt
from sklearn.metrics import balanced_accuracy_score, log_loss, roc_auc_score

from fracture_edge._version import __version__
from fracture_edge.errors import FractureEdgeError
from fracture_edge.files import atomic_path, refuse_overwrite
from train import loop
from train.architectures import build
from train.calibrate import Calibration, choose_band, choose_threshold, fit_calibration
from train.callbacks import History
from train.dataset import DataError, ImageTable, read_splits, write_splits
from train.evidence import draw_curves, training_record, write_record
from train.loading import Batches, class_weights, fingerprint, load_pixels
from train.localisation import fracture_masks
from train.recipe import Recipe
from train.weights import initialise


def train_model(
    recipe: Recipe,
    *,
    data: Path,
    splits: Path,
    out: Path,
    weights: str = "none",
    recipe_name: str = "corrected",
    seed: int = 0,
    force: bool = False,
) -> Path:
    """Train one model and write its folder in one step, when everything is done.

    Args:
        recipe: What to train and how.
        data: The data folder.
        splits: The split file, see `train.dataset.read_splits`.
        out: Folder of all artefacts; the model gets a folder of its own in it.
        weights: Initial weights, see `train.weights.initialise`.
        recipe_name: Goes into the record.
        seed: Seed of initialisation, order and augmentation.
        force: Whether an existing folder may be replaced.

    Returns:
        The model's folder.

    Raises:
        FractureEdgeError: Anything wrong with data, splits, weights or folder.
    """
    target = out / recipe.architecture
    if not force:
        refuse_overwrite(target)
    table = read_splits(data, splits)
    _require_splits(table, splits)
    keras.utils.set_random_seed(seed)
    size = recipe.preprocessing
    model = build(recipe.architecture, size.height, size.width, **recipe.options)
    initial = initialise(model, weights)
    started = time.monotonic()
    train_part, val_part = table.where("train"), table.where("val")
    _say(f"{recipe.architecture}: {model.count_params():,} parameters, initial weights {initial}")
    _say(f"{len(train_part)} training, {len(val_part)} validation images at {size.height}x{size.width}")
    balance = class_weights(train_part.labels) if recipe.class_balance == "weights" else None
    wants_masks = recipe.localisation > 0 and any(layer.name == "cells" for layer in model.layers)
    masks = fracture_masks(train_part, size) if wants_masks else None
    # Validation images get an empty mask channel: the loss ignores it, the network's input has it.
    val_masks = None if masks is None else np.zeros((len(val_part), *masks.shape[1:]), np.uint8)
    training = Batches(
        load_pixels(train_part, size, label="reading train"),
        train_part.labels,
        batch_size=recipe.batch_size,
        masks=masks,
        weights=balance,
        seed=seed,
    )
    val_pixels = load_pixels(val_part, size, label="reading val")
    validation = Batches(
        val_pixels, val_part.labels, batch_size=2 * recipe.batch_size, masks=val_masks, weights=balance
    )
    # The process's number keeps two runs of one model apart; what this process left before is a failure's rest.
    working = out / f".{recipe.architecture}.{os.getpid()}.unfinished"
    shutil.rmtree(working, ignore_errors=True)
    working.mkdir(parents=True)
    history = loop.fit(model, recipe, training, validation, folder=working, seed=seed)

    raw = loop.predict(model, val_pixels)
    calibration = fit_calibration(val_part.labels, raw)
    calibration.fold_into(model.get_layer("probability"))
    probabilities = loop.predict(model, val_pixels)
    record = training_record(
        recipe=recipe,
        recipe_name=recipe_name,
        seed=seed,
        initial_weights=initial,
        table=table,
        data_fingerprint=fingerprint(table),
        parameters=model.count_params(),
        best=history.best(recipe.monitor),
        epochs=len(history.rows),
        seconds=time.monotonic() - started,
        validation=_judge(val_part, probabilities, calibration),
        version=__version__,
        created=datetime.now(UTC).isoformat(timespec="seconds"),
    )
    _write_all(working, model, table, history, val_part, probabilities, record)
    (working / loop.CHECKPOINT).unlink(missing_ok=True)
    _publish(working, target)
    _say(f"wrote {target}: validation AUROC {record['validation']['auroc']:.4f}, "
         f"threshold {record['threshold']:.4f}")  # fmt: skip
    return target


def _require_splits(table: ImageTable, splits: Path) -> None:
    for split in ("train", "val"):
        if set(table.where(split).labels) != {0, 1}:
            raise DataError(f"{splits}: the {split} split lacks a class")


def _judge(part: ImageTable, probabilities: npt.NDArray[np.float64], calibration: Calibration) -> dict[str, Any]:
    threshold = choose_threshold(part.labels, probabilities)
    low, high = choose_band(part.labels, probabilities, threshold)
    decided = (probabilities >= threshold).astype(int)
    return {
        "temperature": calibration.temperature,
        "intercept": calibration.intercept,
        "threshold": threshold,
        "uncertain_low": low,
        "uncertain_high": high,
        "images": len(part),
        "fractured": sum(part.labels),
        "auroc": float(roc_auc_score(part.labels, probabilities)),
        "balanced_accuracy": float(balanced_accuracy_score(part.labels, decided)),
        "log_loss": float(log_loss(part.labels, probabilities)),
        "uncertain_share": float(np.mean((probabilities >= low) & (probabilities < high))),
    }


def _write_all(
    folder: Path,
    model: keras.Model,
    table: ImageTable,
    history: History,
    val_part: ImageTable,
    probabilities: npt.NDArray[np.float64],
    record: dict[str, Any],
) -> None:
    model.save(folder / "model.keras")
    draw_curves(history.rows, folder / "curves.png", title=model.name)
    with atomic_path(folder / "splits.csv") as path, path.open("w", newline="", encoding="utf-8") as stream:
        write_splits(table, csv.writer(stream))
    name = folder / "predictions-val.csv"
    with atomic_path(name) as path, path.open("w", newline="", encoding="utf-8") as stream:
        writer = csv.writer(stream)
        writer.writerow(("path", "label", "probability"))
        for item, probability in zip(val_part, probabilities, strict=True):
            writer.writerow((item.path, item.label, f"{probability:.6f}"))
    write_record(record, folder / "training.json")


def _publish(working: Path, target: Path) -> None:
    """Put the finished folder in place; an old one goes only when the new one is whole."""
    old = target.with_name(f".{target.name}.old")
    shutil.rmtree(old, ignore_errors=True)
    try:
        if target.exists():
            target.rename(old)
        working.rename(target)
    except OSError as error:
        if old.exists() and not target.exists():
            old.rename(target)
        raise FractureEdgeError(f"{target}: {error.strerror}; the result is in {working}") from error
    shutil.rmtree(old, ignore_errors=True)


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)
