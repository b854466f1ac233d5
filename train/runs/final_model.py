"""Training of the model to ship (`train --folds N --final`): settled by cross-validation, trained on all images.

The folds choose what validation images choose in an ordinary run: number of epochs, calibration, threshold, bands.
The model that ships then loses no image to validation. As in scikit-learn's ``CalibratedClassifierCV`` with
``ensemble=False``, one calibration is fitted to the out-of-fold scores of all folds together and applied to the
final model, on the assumption that it scores new images as the models of the folds do.
"""

import json
import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from pathlib import Path

import numpy as np

from fracture_edge._version import __version__
from fracture_edge.console import say
from fracture_edge.errors import FractureEdgeError
from fracture_edge.files import refuse_overwrite
from train.artifacts import OUT_OF_FOLD, TRAINING_FILE, OperatingPoint, OutOfFoldMetrics, TrainingRecord
from train.data.batches import fingerprint
from train.data.dataset import ImageTable
from train.data.pixel_store import PixelStore
from train.data.splits import read_table_with_splits, write_split_file
from train.device import Device, prepare
from train.evaluation.calibration import UNCALIBRATED, fit_calibration
from train.evaluation.classes import require_classes
from train.evaluation.evaluate import evaluate_out_of_fold
from train.evaluation.folded import read_folded
from train.evaluation.formatting import interval
from train.evaluation.operating_points import fit_operating_points
from train.evaluation.predictions import Predictions, write_rows
from train.evaluation.record import FOLDS_FILE, FOLDS_SCHEMA, CrossValidationRecord
from train.evaluation.suitability import fit_limits
from train.json_records import from_plain, read_versioned, write_record
from train.lock import exclusive_lock
from train.recipes.recipe import Recipe
from train.recipes.tables import of_this_version
from train.runs.cross_validation import cross_validate
from train.runs.further_outputs import save_further_outputs
from train.runs.options import RunOptions, tensorboard
from train.runs.plots import plot_training
from train.runs.run_folder import check_target, open_folder, publish, unfinished
from train.runs.train_model import run_settings
from train.runs.training_record import default_policy, out_of_fold_metrics, training_record
from train.trainer.train_once import Outcome, Settled, train_once


@dataclass(frozen=True, slots=True)
class Choices:
    """What the out-of-fold predictions choose.

    Attributes:
        settled: Epochs of each phase and calibration of the final model.
        part: Images of the predictions.
        folds: Fold of each image, [N].
        predictions: Out-of-fold predictions before and after that calibration.
        points: Operating points by name; empty for recipes without calibration.
        metrics: Metrics of the calibrated predictions at the default operating point.
    """

    settled: Settled
    part: ImageTable
    folds: list[int]
    predictions: Predictions
    points: dict[str, OperatingPoint]
    metrics: OutOfFoldMetrics


def train_final(recipe: Recipe, options: RunOptions, *, folds: int) -> Path:
    """Cross-validate a recipe, settle everything by the out-of-fold predictions, and train on all images.

    Args:
        recipe: Recipe to train.
        options: Options of the run. With `RunOptions.resume` an interrupted run goes on, finished folds are not
            trained again, and those of a finished cross-validation with the same settings are taken.
        folds: Number of folds, at least 3.

    Returns:
        Path of the model's folder; ``MODEL-folds`` lies beside it.

    Raises:
        FractureEdgeError: Data, splits, weights or folders are invalid.
    """
    target, seed = options.out / recipe.architecture, options.seed
    folded = options.out / f"{recipe.architecture}-folds"
    _check(target, folded, options)
    with exclusive_lock(target):
        device = prepare(options.precision, distribute=options.distribute)
        table = read_table_with_splits(options.data, options.splits, seed=seed)
        parts = table.where("train"), table.where("val")
        require_classes(*parts, recipe.classes)
        # In the order of the table, as `train.data.splits.cross_validation_table` has them: the same folds.
        pool = replace(table, items=tuple(item for item in table if item.split in ("train", "val")))
        unused = len(table.where("test"))
        say(f"{len(pool)} images of training and validation; the {unused} test images are not used")
        if options.resume and folded.is_dir() and not unfinished(folded).is_dir():
            say(f"the folds of {folded} are taken")
        else:
            resume = options.resume and unfinished(folded).is_dir()
            cross_validate(recipe, replace(options, resume=resume), folds=folds, pool=pool)
        record = _read_folds(folded)
        weights = recipe.weights if options.weights is None else options.weights
        _require_same(
            record, folded, recipe, options, folds=folds, data=fingerprint(pool), weights=weights, device=device
        )
        choices = settle(recipe, record, folded, pool)
        epochs = choices.settled.epochs
        data = fingerprint(table)
        settings = run_settings(
            recipe,
            seed=seed,
            weights=weights,
            precision=device.precision,
            data=data,
            folds=folds,
            epochs=list(epochs),
        )
        resume = options.resume and unfinished(target).is_dir()
        with open_folder(target, settings, resume=resume) as folder:
            planned = " + ".join(map(str, epochs))
            say(f"final model: {len(pool)} images, {planned} epochs (the median of the folds)")
            store = PixelStore(pool, recipe.preprocessing)
            outcome = train_once(
                recipe,
                store,
                pool,
                None,
                folder=folder,
                weights=weights,
                seed=seed,
                callbacks=tensorboard(options, recipe.architecture),
                settled=choices.settled,
            )
            outcome.model.save(folder / "model.keras")
            # The network has seen the images of both parts, the distribution of its features only those of one.
            save_further_outputs(outcome, recipe, *parts, store, folder, seed=seed)
            write_split_file(table, folder / "splits.csv")
            write_record(
                folder / TRAINING_FILE,
                _record(recipe, options, outcome, choices, table=table, data_fingerprint=data, device=device),
            )
            _write_predictions(choices, folder / f"predictions-{OUT_OF_FOLD}.csv")
            plot_training(folder, table, store, outcome.history, recipe, seed=seed)
            result = evaluate_out_of_fold(folder, table, choices.part, choices.predictions)
        publish(target)
    say(
        f"wrote {target}: out-of-fold AUROC {interval(result.metrics['auroc'])}, "
        f"threshold {result.threshold:.3f} on P(fractured)"
    )
    return target


def _check(target: Path, folded: Path, options: RunOptions) -> None:
    """Check before hours of training that nothing would be overwritten, and that there is something to resume.

    Raises:
        FractureEdgeError: A finished folder exists, an unfinished run would be lost, or there is none to resume.
    """
    if options.resume:
        if not (folded.is_dir() or any(unfinished(path).is_dir() for path in (folded, target))):
            raise FractureEdgeError(f"{folded}: no folds to resume; leave --resume out to start")
        if not options.force and not unfinished(target).is_dir():
            refuse_overwrite(target)
        return
    check_target(target, resume=False, force=options.force)
    if folded.exists() and not options.force:
        raise FractureEdgeError(f"{folded} exists already: --resume takes its folds, --force trains them again")
    check_target(folded, resume=False, force=options.force)


def _read_folds(folder: Path) -> CrossValidationRecord:
    path = folder / FOLDS_FILE
    return from_plain(CrossValidationRecord, read_versioned(path, FOLDS_SCHEMA), str(path))


def _require_same(
    record: CrossValidationRecord,
    folded: Path,
    recipe: Recipe,
    options: RunOptions,
    *,
    folds: int,
    data: str,
    weights: str,
    device: Device,
) -> None:
    """Refuse folds that were trained with other settings than those of the final model."""
    pairs = {
        "recipe": (of_this_version(record.recipe), json.loads(json.dumps(recipe.to_dict()))),
        "seed": (record.seed, options.seed),
        "number of folds": (len(record.folds), folds),
        "data": (record.data_fingerprint, data),
        "precision": (record.precision, device.precision),
    }
    if record.weights:
        pairs["start"] = (record.weights, Path(weights).name)
    for name, (theirs, ours) in pairs.items():
        if theirs != ours:
            raise FractureEdgeError(
                f"{folded}: its folds were trained with another {name}; --force without --resume trains them again"
            )
    if any(len(fold.kept) != len(recipe.phases) for fold in record.folds):
        raise FractureEdgeError(
            f"{folded}: was made by an earlier version and does not say which epochs were kept; --force without "
            "--resume trains the folds again"
        )


def settle(recipe: Recipe, record: CrossValidationRecord, folded: Path, pool: ImageTable) -> Choices:
    """Choose epochs, calibration and operating points by out-of-fold predictions.

    Each phase has the median number of epochs that the folds kept. One calibration is fitted to the uncalibrated
    log-odds of all folds together; the operating points are fitted to the probabilities that it gives.

    Args:
        recipe: Recipe of the folds.
        record: Record of the cross-validation.
        folded: Its folder.
        pool: Images of the folds.
    """
    found = read_folded(folded / "predictions.csv", "raw")
    calibration = fit_calibration(found.labels, found.probabilities) if recipe.calibrate else UNCALIBRATED
    calibrated = calibration(found.probabilities) if recipe.calibrate else found.probabilities
    points = (
        fit_operating_points(found.labels, calibrated, found.groups, folds=found.folds) if recipe.calibrate else {}
    )
    kept = [fold.kept for fold in record.folds]
    known = {item.path: item for item in pool}
    return Choices(
        settled=Settled(median_epochs(kept), calibration),
        part=replace(pool, items=tuple(known[path] for path in found.paths)),
        folds=found.folds,
        predictions=Predictions(found.probabilities, calibrated),
        points=points,
        metrics=out_of_fold_metrics(
            found.labels, calibrated, default_policy(points), folds=len(kept), kept_epochs=kept
        ),
    )


def median_epochs(kept: Sequence[Sequence[int]]) -> tuple[int, ...]:
    """Compute the median of the kept epochs of each phase, halves rounded up.

    Args:
        kept: Kept epochs by fold and phase, [folds][phases].
    """
    return tuple(math.floor(float(np.median(epochs)) + 0.5) for epochs in zip(*kept, strict=True))


def _record(
    recipe: Recipe,
    options: RunOptions,
    outcome: Outcome,
    choices: Choices,
    *,
    table: ImageTable,
    data_fingerprint: str,
    device: Device,
) -> TrainingRecord:
    history = outcome.history
    # What was trained on counts as training images, whatever its split.
    items = tuple(replace(item, split="train") if item.split == "val" else item for item in table)
    trained = replace(table, items=items)
    return training_record(
        recipe=recipe,
        recipe_name=options.recipe_name,
        seed=options.seed,
        initial_weights=outcome.initial_weights,
        table=trained,
        data_fingerprint=data_fingerprint,
        parameters=outcome.model.count_params(),
        kept_epoch=history.kept,
        epochs=len(history.rows),
        seconds=outcome.seconds,
        calibration=outcome.calibration,
        points=choices.points,
        out_of_fold=choices.metrics,
        device=device,
        suitability=asdict(fit_limits(trained.where("train"), recipe.preprocessing)),
        version=__version__,
        created=datetime.now(UTC).isoformat(timespec="seconds"),
    )


def _write_predictions(choices: Choices, path: Path) -> None:
    """Write the calibrated out-of-fold predictions, with the fold of each image."""
    rows = zip(choices.part, choices.folds, choices.predictions.calibrated, strict=True)
    write_rows(
        path,
        ("path", "label", "group", "fold", "probability"),
        [(item.path, item.label, item.group, fold, f"{value:.6f}") for item, fold, value in rows],
    )
