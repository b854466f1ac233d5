"""`fracture-edge train`: from a data folder and splits to ``artifacts/<model>/`` with all evidence."""

import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import keras
import numpy as np
import numpy.typing as npt

from fracture_edge._version import __version__
from fracture_edge.errors import FractureEdgeError
from fracture_edge.preprocess import Preprocessing
from train.architectures import build
from train.data.batches import Batches, batch_multiple, class_weights, fingerprint, load_pixels
from train.data.dataset import ImageTable
from train.data.division import divided_table, write_split_file
from train.data.localisation import fracture_masks
from train.data.mixing import Mixing
from train.device import Device, devices_sharing, prepare
from train.evaluation.calibration import UNCALIBRATED, Calibration, fit_calibration
from train.evaluation.evaluate import Predictions, judge, write_predictions
from train.evaluation.suitability import fit_limits
from train.evaluation.typicality import FILE, measure_typicality
from train.lock import alone
from train.recipes.recipe import Recipe
from train.runs.options import RunOptions
from train.runs.plots import draw_training
from train.runs.run_folder import check_target, open_folder, publish
from train.runs.training_record import training_record, write_record
from train.trainer import loop
from train.trainer.callbacks import History, State
from train.trainer.distillation import Teaching, cross_fit
from train.trainer.linear_probe import fit_head, views_of
from train.weights import initialise
from train.weights.embedded import refit_norms


@dataclass(frozen=True, slots=True)
class Outcome:
    """A trained network and what validation says of it.

    Attributes:
        model: Calibrated; in float32, whatever it was trained in.
        history: Of all epochs.
        initial_weights: What training started from, in words.
        calibration: Already folded into the model.
        validation: P(fractured) of the validation images, before and after calibration.
        teaching: What its teachers said, where it had any.
    """

    model: keras.Model
    history: History
    initial_weights: str
    calibration: Calibration
    validation: Predictions
    teaching: Teaching | None

    @property
    def seconds(self) -> float:
        """That all epochs took, and the teachers before them."""
        taught = self.teaching.seconds if self.teaching else 0.0
        return round(taught + sum(row["seconds"] for row in self.history.rows), 1)


class PixelStore:
    """The images of a table, decoded once: uint8 in memory."""

    def __init__(self, table: ImageTable, preprocessing: Preprocessing) -> None:
        """Decode all images of `table`; see `train.data.batches.load_pixels`."""
        self.preprocessing = preprocessing
        self._pixels = load_pixels(table, preprocessing)
        self._row = {item.path: row for row, item in enumerate(table)}

    def of(self, part: ImageTable) -> npt.NDArray[np.uint8]:
        """The pixels of a part of the table, uint8 [N, height, width, 1]."""
        return self._pixels[[self._row[item.path] for item in part]]


def train_model(recipe: Recipe, options: RunOptions) -> Path:
    """Train one model and write its folder in one step, when everything is done.

    Args:
        recipe: What to train and how.
        options: Where to read and write, and how to run.

    Returns:
        The model's folder.

    Raises:
        FractureEdgeError: Anything wrong with data, splits, weights or folder.
    """
    target, seed = options.out / recipe.architecture, options.seed
    weights = recipe.weights if options.weights is None else options.weights
    check_target(target, resume=options.resume, force=options.force)
    with alone(target):
        device = prepare(options.precision, distribute=options.distribute)
        table = divided_table(options.data, options.splits, seed=seed)
        data = fingerprint(table)
        settings = run_settings(recipe, seed=seed, weights=weights, precision=device.precision, data=data)
        with open_folder(target, settings, resume=options.resume) as folder:
            train_part, val_part = table.where("train"), table.where("val")
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
            measure_typicality(
                outcome.model, recipe.architecture, store.of(train_part), store.of(val_part), seed=seed
            ).save(folder / FILE)
            write_split_file(table, folder / "splits.csv")
            write_record(
                _record(recipe, options, outcome, table=table, data_fingerprint=data, device=device),
                folder / "training.json",
            )
            write_predictions(val_part, outcome.validation, folder / "predictions-val.csv")
            draw_training(folder, table, store, outcome.history, recipe, seed=seed)
            result = judge(folder, "val", table, outcome.validation)
        publish(target)
    auroc = result["metrics"]["auroc"]
    say(
        f"wrote {target}: validation AUROC {auroc['value']:.3f} [{auroc['low']:.3f}, {auroc['high']:.3f}], "
        f"threshold {result['threshold']:.3f} on P(fractured)"
    )
    return target


def run_settings(recipe: Recipe, **others: Any) -> dict[str, Any]:
    """Everything that decides a run: what a resumed one must have in common with the one cut off."""
    return {**others, "recipe": recipe.to_dict()}


def tensorboard(options: RunOptions, name: str) -> list[keras.callbacks.Callback]:
    """The callback that writes TensorBoard's logs, where they are asked for.

    Raises:
        FractureEdgeError: The package is missing.
    """
    if options.tensorboard is None:
        return []
    if find_spec("tensorboard") is None:
        raise FractureEdgeError("--tensorboard needs tensorboard: pip install 'fracture-edge[tensorboard]'")
    return [keras.callbacks.TensorBoard(options.tensorboard / name)]


def train_once(
    recipe: Recipe,
    store: PixelStore,
    train_part: ImageTable,
    val_part: ImageTable,
    *,
    folder: Path,
    weights: str,
    seed: int,
    callbacks: Sequence[keras.callbacks.Callback] = (),
) -> Outcome:
    """Train, keep the right weights, and settle the calibration on validation images.

    Args:
        recipe: What to train and how.
        store: Holds the images of both parts.
        train_part: Images to learn from.
        val_part: Images to choose by.
        folder: For history, checkpoint and the state of the run; and for its teachers.
        weights: Initial weights, see `train.weights.initialise`.
        seed: Seed of initialisation, order and augmentation.
        callbacks: Further ones for `train.trainer.loop.fit`.
    """

    def teacher(
        its: Recipe, rest: ImageTable, held: ImageTable, place: Path
    ) -> tuple[npt.NDArray[np.float64], float]:
        say(f"{place.name} of {recipe.distillation.folds}: {len(rest)} training images, answers for {len(held)}")
        taught = train_once(its, store, rest, val_part, folder=place, weights=weights, seed=seed)
        return loop.predict(taught.model, store.of(held)), taught.seconds

    teaching = None
    if recipe.distillation.share:
        teaching = cross_fit(recipe, train_part, folder=folder, seed=seed, train=teacher)
        say(f"teachers: AUROC {teaching.auroc:.3f} on training images that they had not seen")
    clear_session()
    keras.utils.set_random_seed(seed)
    sharing = devices_sharing()
    if recipe.batch_size % sharing:
        raise FractureEdgeError(
            f"--distribute: batch_size {recipe.batch_size} is no multiple of {sharing} devices"
        )
    size = recipe.preprocessing
    model = build(recipe.architecture, size.height, size.width, **recipe.options)
    initial = initialise(model, weights)
    pixels = store.of(train_part)
    # The state of a run that was cut off brings all of this along.
    anew = State.read(folder) is None
    if weights == "embedded" and anew:
        refit_norms(model, pixels, seed=seed)
    if recipe.probe and anew:
        say(f"fitting the head to the features of {len(pixels)} images")
        views = views_of(pixels, recipe.augmentation, recipe.probe_draws, seed=seed)
        fit_head(model, views, train_part.labels, balanced=recipe.class_balance == "weights")
    say(f"{recipe.architecture}: {model.count_params():,} parameters, initial weights: {initial}")
    balance = class_weights(train_part.labels) if recipe.class_balance == "weights" else None
    wants_masks = recipe.localisation > 0 and any(layer.name == "cells" for layer in model.layers)
    masks = fracture_masks(train_part, size) if wants_masks else None
    # Validation images get an empty mask channel: the loss ignores it, the network's input has it.
    val_masks = None if masks is None else np.zeros((len(val_part), *masks.shape[1:]), np.uint8)
    training = Batches(
        pixels,
        train_part.labels,
        batch_size=recipe.batch_size,
        masks=masks,
        answers=teaching.answers if teaching else None,
        share=recipe.distillation.share,
        weights=balance,
        seed=seed,
        mixing=Mixing.of(recipe.augmentation, seed),
        multiple=batch_multiple(recipe.batch_size, len(pixels), sharing),
    )
    val_pixels = store.of(val_part)
    validation = Batches(
        val_pixels,
        val_part.labels,
        batch_size=2 * recipe.batch_size,
        masks=val_masks,
        weights=balance,
        multiple=sharing,
    )
    history = loop.fit(model, recipe, training, validation, folder=folder, seed=seed, callbacks=callbacks)
    model = _in_float32(model, recipe)
    raw = loop.predict(model, val_pixels)
    calibration = fit_calibration(val_part.labels, raw) if recipe.calibrate else UNCALIBRATED
    calibration.fold_into(model.get_layer("probability"))
    predictions = Predictions(raw, loop.predict(model, val_pixels))
    return Outcome(model, history, initial, calibration, predictions, teaching)


def clear_session() -> None:
    """Forget earlier models, but not the precision and the distribution that were chosen for all of them."""
    policy, distribution = keras.config.dtype_policy(), keras.distribution.distribution()
    keras.utils.clear_session()
    keras.config.set_dtype_policy(policy)
    keras.distribution.set_distribution(distribution)


def _in_float32(model: keras.Model, recipe: Recipe) -> keras.Model:
    """The same network computing in float32, as it will be exported."""
    policy = keras.config.dtype_policy()
    if policy.name == "float32":
        return model
    size = recipe.preprocessing
    try:
        keras.config.set_dtype_policy("float32")
        plain = build(recipe.architecture, size.height, size.width, **recipe.options)
    finally:
        keras.config.set_dtype_policy(policy)
    plain.set_weights(model.get_weights())
    return plain


def join_tables(first: ImageTable, second: ImageTable) -> ImageTable:
    """The images of both."""
    return replace(first, items=(*first.items, *second.items))


def _record(
    recipe: Recipe,
    options: RunOptions,
    outcome: Outcome,
    *,
    table: ImageTable,
    data_fingerprint: str,
    device: Device,
) -> dict[str, Any]:
    history = outcome.history
    return training_record(
        recipe=recipe,
        recipe_name=options.recipe_name,
        seed=options.seed,
        initial_weights=outcome.initial_weights,
        table=table,
        data_fingerprint=data_fingerprint,
        parameters=outcome.model.count_params(),
        kept_epoch=history.kept,
        rows=history.rows,
        seconds=outcome.seconds,
        teachers_auroc=outcome.teaching.auroc if outcome.teaching else None,
        calibration=outcome.calibration,
        labels=table.where("val").labels,
        probabilities=outcome.validation.calibrated,
        device=device,
        suitability=asdict(fit_limits(table.where("train"), recipe.preprocessing)),
        version=__version__,
        created=datetime.now(UTC).isoformat(timespec="seconds"),
    )


def say(text: str) -> None:
    """One line for the person who waits, on stderr."""
    print(text, file=sys.stderr, flush=True)
