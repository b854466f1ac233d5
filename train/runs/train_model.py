"""Training of one model (`fracture-edge train`): from a data folder and splits to ``artifacts/<model>``."""

from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from fracture_edge._version import __version__
from fracture_edge.console import say
from train.artifacts import TRAINING_FILE, TrainingRecord
from train.data.batches import fingerprint
from train.data.dataset import ImageTable, join_tables
from train.data.pixel_store import PixelStore
from train.data.splits import read_table_with_splits, write_split_file
from train.device import Device, prepare
from train.evaluation.classes import require_classes
from train.evaluation.evaluate import evaluate_predictions
from train.evaluation.formatting import interval
from train.evaluation.operating_points import fit_operating_points
from train.evaluation.predictions import groups_of, write_predictions
from train.evaluation.suitability import fit_limits
from train.json_records import write_record
from train.lock import exclusive_lock
from train.recipes.recipe import Recipe
from train.runs.further_outputs import save_further_outputs
from train.runs.options import RunOptions, tensorboard
from train.runs.plots import plot_training
from train.runs.run_folder import check_target, open_folder, publish
from train.runs.training_record import default_policy, training_record, validation_metrics
from train.trainer.train_once import Outcome, train_once


def train_model(recipe: Recipe, options: RunOptions) -> Path:
    """Train one model, evaluate it on validation, and put its folder in place when everything in it is complete.

    Args:
        recipe: Recipe to train.
        options: Options of the run.

    Returns:
        Path of the model's folder.

    Raises:
        FractureEdgeError: Data, splits, weights or folder are invalid.
    """
    target, seed = options.out / recipe.architecture, options.seed
    weights = recipe.weights if options.weights is None else options.weights
    check_target(target, resume=options.resume, force=options.force)
    with exclusive_lock(target):
        device = prepare(options.precision, distribute=options.distribute)
        table = read_table_with_splits(options.data, options.splits, seed=seed)
        data = fingerprint(table)
        settings = run_settings(recipe, seed=seed, weights=weights, precision=device.precision, data=data)
        with open_folder(target, settings, resume=options.resume) as folder:
            train_part, val_part = table.where("train"), table.where("val")
            require_classes(train_part, val_part, recipe.classes)
            say(
                f"{len(train_part)} training, {len(val_part)} validation images; {device.name}, {device.precision}"
            )
            store = PixelStore(join_tables(train_part, val_part), recipe.preprocessing)
            outcome = train_once(
                recipe,
                store,
                train_part,
                val_part,
                folder=folder,
                weights=weights,
                seed=seed,
                callbacks=tensorboard(options, recipe.architecture),
            )
            outcome.model.save(folder / "model.keras")
            save_further_outputs(outcome, recipe, train_part, val_part, store, folder, seed=seed)
            write_split_file(table, folder / "splits.csv")
            write_record(
                folder / TRAINING_FILE,
                _record(recipe, options, outcome, table=table, data_fingerprint=data, device=device),
            )
            write_predictions(val_part, outcome.validation, folder / "predictions-val.csv")
            plot_training(folder, table, store, outcome.history, recipe, seed=seed)
            result = evaluate_predictions(folder, "val", table, outcome.validation)
        publish(target)
    say(
        f"wrote {target}: validation AUROC {interval(result.metrics['auroc'])}, "
        f"threshold {result.threshold:.3f} on P(fractured)"
    )
    return target


def run_settings(recipe: Recipe, **others: Any) -> dict[str, Any]:
    """Collect the settings that determine a run, which must be the same when it is resumed."""
    return {**others, "recipe": recipe.to_dict()}


def _record(
    recipe: Recipe,
    options: RunOptions,
    outcome: Outcome,
    *,
    table: ImageTable,
    data_fingerprint: str,
    device: Device,
) -> TrainingRecord:
    history, part = outcome.history, table.where("val")
    labels, probabilities = part.labels, outcome.validation.calibrated
    points = fit_operating_points(labels, probabilities, groups_of(part)) if recipe.calibrate else {}
    return training_record(
        recipe=recipe,
        recipe_name=options.recipe_name,
        seed=options.seed,
        initial_weights=outcome.initial_weights,
        table=table,
        data_fingerprint=data_fingerprint,
        parameters=outcome.model.count_params(),
        kept_epoch=history.kept,
        epochs=len(history.rows),
        seconds=outcome.seconds,
        calibration=outcome.calibration,
        points=points,
        validation=validation_metrics(labels, probabilities, default_policy(points)),
        device=device,
        suitability=asdict(fit_limits(table.where("train"), recipe.preprocessing)),
        version=__version__,
        created=datetime.now(UTC).isoformat(timespec="seconds"),
    )
