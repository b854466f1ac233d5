"""Grouped, stratified cross-validation (`fracture-edge train --folds`), in one resumable folder."""

import json
from collections.abc import Mapping, Sequence, Set
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any

import numpy as np

from fracture_edge.console import say
from fracture_edge.files import atomic_write_text
from fracture_edge.modelfile import POSITIVE_CLASS
from train.data.batches import fingerprint
from train.data.dataset import DataError, ImageTable
from train.data.pixel_store import PixelStore
from train.data.splits import cross_validation_table, fold_numbers, folds_apart
from train.device import Device, prepare
from train.evaluation.calibration import UNCALIBRATED, fit_calibration
from train.evaluation.classes import fractured_classes
from train.evaluation.evaluate import metrics_of
from train.evaluation.formatting import interval
from train.evaluation.predict import predict
from train.evaluation.predictions import Predictions, write_rows
from train.evaluation.record import (
    FOLDS_FILE,
    FOLDS_SCHEMA,
    CrossValidationRecord,
    FoldMetrics,
    PooledMetrics,
    SplitMetrics,
)
from train.json_records import write_record
from train.lock import exclusive_lock
from train.recipes.recipe import Recipe
from train.runs.options import RunOptions, tensorboard
from train.runs.plots import plot_folds
from train.runs.run_folder import check_target, open_folder, publish
from train.runs.train_model import run_settings
from train.runs.training_record import operating_point
from train.trainer.callbacks import FOLD_FILE, clear_state, kept_epochs
from train.trainer.train_once import Settled, train_once

_HEADER = ("path", "label", "group", "fold", "threshold", "raw", "probability")
#: Network of a round in its folder, where networks are kept.
FOLD_MODEL = "model.keras"
#: Fields of a finished round in its ``fold.json``, beside the predictions.
_KEPT = ("threshold", "epochs", "seconds", "initial_weights", "kept")


@dataclass(frozen=True, slots=True)
class Fold:
    """One round: a test fold and the predictions for it.

    Attributes:
        number: Number of the fold, counted from 1.
        part: Test images.
        predictions: Predictions for the test images.
        threshold: Threshold on P(fractured), chosen on the round's validation images, or without any by the
            predictions of the other rounds.
        epochs: Number of epochs trained.
        seconds: Duration of the training.
        initial_weights: Initial weights, in words.
        kept: Epoch that each phase kept, counted from 1 within the phase; empty if an earlier version trained it.
    """

    number: int
    part: ImageTable
    predictions: Predictions
    threshold: float
    epochs: int
    seconds: float
    initial_weights: str
    kept: list[int]


def cross_validate(recipe: Recipe, options: RunOptions, *, folds: int, pool: ImageTable | None = None) -> Path:
    """Cross-validate a recipe.

    Round k tests on fold k, chooses epoch, calibration and threshold on fold k + 1, and trains on the rest. If the
    recipe leaves no epoch to choose, round k trains on all other folds, and calibration and threshold are chosen
    by the predictions for these. An interrupted run is continued with `RunOptions.resume`. The models are kept if
    `RunOptions.keep_models`.

    Args:
        recipe: Recipe to train.
        options: Options of the run. The test images of a split file are not used.
        folds: Number of folds, at least 3.
        pool: Images to use; those of `train.data.splits.cross_validation_table` when ``None``.

    Returns:
        Path of ``artifacts/<model>-folds``, with ``folds.json``, ``predictions.csv`` and ``folds.png``.

    Raises:
        FractureEdgeError: Data, splits, weights or folder are invalid, or there are too few images for the folds.
    """
    target = options.out / f"{recipe.architecture}-folds"
    weights = recipe.weights if options.weights is None else options.weights
    check_target(target, resume=options.resume, force=options.force)
    with exclusive_lock(target):
        device = prepare(options.precision, distribute=options.distribute)
        if pool is None:
            pool = cross_validation_table(options.data, options.splits)
        numbers = fold_numbers(pool, folds, seed=options.seed)
        for fold in range(folds):
            if set(_part(pool, numbers, {fold}).labels) != {0, 1}:
                raise DataError(
                    f"{options.data}: too few groups for {folds} folds, fold {fold + 1} would lack a class"
                )
        # A fold may lack a rare class: all images tell what the classes are.
        fractured = fractured_classes(pool, recipe.classes) if recipe.softmax == "in_place" else ()
        settings = run_settings(
            recipe,
            seed=options.seed,
            weights=weights,
            precision=device.precision,
            folds=folds,
            data=fingerprint(pool),
        )
        with open_folder(target, settings, resume=options.resume) as folder:
            say(f"{len(pool)} images in {folds} folds; {device.name}, {device.precision}")
            store = PixelStore(pool, recipe.preprocessing)
            rounds = [
                _round(
                    recipe,
                    options,
                    store,
                    pool,
                    numbers,
                    number,
                    folder=folder,
                    weights=weights,
                    fractured=fractured,
                )
                for number in range(1, folds + 1)
            ]
            if not recipe.chooses_epochs:
                rounds = [_calibrated_by_others(recipe, rounds, fold) for fold in rounds]
            result = _result(recipe, options, rounds, settings, device)
            _write(folder, rounds, result)
        publish(target)
    say(f"wrote {target}: pooled AUROC {interval(result.pooled.metrics['auroc'])}")
    return target


def _round(
    recipe: Recipe,
    options: RunOptions,
    store: PixelStore,
    pool: ImageTable,
    numbers: Sequence[int],
    number: int,
    *,
    folder: Path,
    weights: str,
    fractured: Sequence[bool],
) -> Fold:
    """Train and test one round, or read the result of an earlier process."""
    folds = max(numbers) + 1
    apart = folds_apart(number - 1, folds, chooses_epochs=recipe.chooses_epochs)
    test_part = _part(pool, numbers, {number - 1})
    place = folder / f"fold-{number}"
    done = place / FOLD_FILE
    if done.is_file():
        left = json.loads(done.read_text(encoding="utf-8"))
        predictions = Predictions(np.array(left["raw"]), np.array(left["calibrated"]))
        kept = {"kept": []} | {name: left[name] for name in _KEPT if name in left}
        return Fold(number=number, part=test_part, predictions=predictions, **kept)
    place.mkdir(exist_ok=True)
    choosing = apart - {number - 1}
    val_part = _part(pool, numbers, choosing) if choosing else None
    train_part = _part(pool, numbers, set(range(folds)) - apart)
    validating = f"{len(val_part)} validation, " if val_part else ""
    say(f"fold {number} of {folds}: {len(train_part)} training, {validating}{len(test_part)} test")
    outcome = train_once(
        recipe,
        store,
        train_part,
        val_part,
        folder=place,
        weights=weights,
        seed=options.seed,
        callbacks=tensorboard(options, f"{recipe.architecture}-fold-{number}"),
        settled=None if val_part else Settled(tuple(phase.epochs for phase in recipe.phases), UNCALIBRATED),
        fractured=fractured,
    )
    if options.keep_models:
        outcome.model.save(place / FOLD_MODEL)
    calibrated = predict(outcome.model, store.of(test_part))
    raw, threshold = calibrated, 0.5
    if val_part:
        raw = outcome.calibration.inverse(calibrated)
        threshold = operating_point(
            val_part.labels, outcome.validation.calibrated, chosen=recipe.calibrate
        ).threshold
    fold = Fold(
        number,
        test_part,
        Predictions(raw, calibrated),
        threshold,
        len(outcome.history.rows),
        outcome.seconds,
        outcome.initial_weights,
        kept_epochs(outcome.history.rows, recipe),
    )
    left = {
        "raw": fold.predictions.raw.tolist(),
        "calibrated": calibrated.tolist(),
        **{name: getattr(fold, name) for name in _KEPT},
    }
    atomic_write_text(done, json.dumps(left))
    clear_state(place)
    return fold


def _calibrated_by_others(recipe: Recipe, rounds: Sequence[Fold], fold: Fold) -> Fold:
    """Calibrate a round without validation images, and choose its threshold, by the predictions of the others."""
    others = [other for other in rounds if other.number != fold.number]
    labels = [label for other in others for label in other.part.labels]
    raw = np.concatenate([other.predictions.raw for other in others])
    calibration = fit_calibration(labels, raw) if recipe.calibrate else UNCALIBRATED
    threshold = operating_point(labels, calibration(raw), chosen=recipe.calibrate).threshold
    predictions = Predictions(fold.predictions.raw, calibration(fold.predictions.raw))
    return replace(fold, predictions=predictions, threshold=threshold)


def _part(pool: ImageTable, numbers: Sequence[int], wanted: Set[int]) -> ImageTable:
    items = tuple(item for item, number in zip(pool, numbers, strict=True) if number in wanted)
    return replace(pool, items=items)


def _result(
    recipe: Recipe, options: RunOptions, rounds: Sequence[Fold], settings: Mapping[str, Any], device: Device
) -> CrossValidationRecord:
    items = tuple(item for fold in rounds for item in fold.part)
    pooled = Predictions(
        np.concatenate([fold.predictions.raw for fold in rounds]),
        np.concatenate([fold.predictions.calibrated for fold in rounds]),
    )
    thresholds = np.concatenate([np.full(len(fold.part), fold.threshold) for fold in rounds])
    everything = replace(rounds[0].part, items=items)
    return CrossValidationRecord(
        schema_version=FOLDS_SCHEMA,
        model=recipe.architecture,
        positive_class=POSITIVE_CLASS,
        recipe_name=options.recipe_name,
        recipe=recipe.to_dict(),
        initial_weights=rounds[0].initial_weights,
        seed=options.seed,
        device=device.name,
        precision=device.precision,
        data_fingerprint=settings["data"],
        weights=Path(settings["weights"]).name,
        folds=[
            FoldMetrics(
                fold=fold.number,
                images=len(fold.part),
                fractured=sum(fold.part.labels),
                threshold=fold.threshold,
                epochs=fold.epochs,
                seconds=fold.seconds,
                kept=fold.kept,
                **_fields(metrics_of(fold.part, fold.predictions, fold.threshold)),
            )
            for fold in rounds
        ],
        pooled=PooledMetrics(
            images=len(items),
            fractured=sum(everything.labels),
            **_fields(metrics_of(everything, pooled, thresholds)),
        ),
    )


def _fields(metrics: SplitMetrics) -> Mapping[str, Any]:
    return {entry.name: getattr(metrics, entry.name) for entry in fields(metrics)}


def _write(folder: Path, rounds: Sequence[Fold], result: CrossValidationRecord) -> None:
    rows = [
        (item.path, item.label, item.group, fold.number, f"{fold.threshold:.6f}", f"{raw:.6f}", f"{given:.6f}")
        for fold in rounds
        for item, raw, given in zip(
            fold.part, fold.predictions.raw, fold.predictions.calibrated, strict=True
        )
    ]  # fmt: skip
    write_rows(folder / "predictions.csv", _HEADER, rows)
    write_record(folder / FOLDS_FILE, result)
    plot_folds(result, folder / "folds.png")
