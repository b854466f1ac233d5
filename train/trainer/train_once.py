"""Train one network once: head, epochs, calibration."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import keras
import numpy as np
import numpy.typing as npt

from fracture_edge.console import say
from fracture_edge.errors import FractureEdgeError
from train.architectures import build
from train.data.batches import Batches, batch_multiple, class_weights
from train.data.dataset import ImageTable
from train.data.localisation import fracture_masks
from train.data.mixing import Mixing
from train.data.pixel_store import PixelStore
from train.device import devices_sharing
from train.evaluation.calibration import UNCALIBRATED, Calibration, fit_calibration
from train.evaluation.predict import predict
from train.evaluation.predictions import Predictions
from train.recipes.recipe import Recipe
from train.trainer import loop
from train.trainer.callbacks import History, State
from train.trainer.distillation import TeacherPredictions, cross_fit
from train.trainer.linear_probe import fit_head, views_of
from train.weights import initialise
from train.weights.embedded import refit_batch_norms


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
    teaching: TeacherPredictions | None

    @property
    def seconds(self) -> float:
        """That all epochs took, and the teachers before them."""
        taught = self.teaching.seconds if self.teaching else 0.0
        return round(taught + sum(row["seconds"] for row in self.history.rows), 1)


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
        return predict(taught.model, store.of(held)), taught.seconds

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
        refit_batch_norms(model, pixels, seed=seed)
    if recipe.probe and anew:
        say(f"fitting the head to the features of {len(pixels)} images")
        views = views_of(pixels, mirrored=recipe.augmentation.flip_horizontal)
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
        predictions=teaching.predictions if teaching else None,
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
    raw = predict(model, val_pixels)
    calibration = fit_calibration(val_part.labels, raw) if recipe.calibrate else UNCALIBRATED
    calibration.fold_into(model.get_layer("probability"))
    predictions = Predictions(raw, predict(model, val_pixels))
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
