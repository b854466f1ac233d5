"""Training of one network: initial weights, head, epochs, calibration."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import keras
import numpy as np

from fracture_edge.console import say
from fracture_edge.errors import FractureEdgeError
from train.architectures import build
from train.data.batches import Batches, batch_multiple, class_weights
from train.data.dataset import ImageTable, join_tables
from train.data.localisation import fracture_masks
from train.data.mixing import Mixing
from train.data.pixel_store import PixelStore
from train.data.scanners import ScannerVariation
from train.device import devices_sharing
from train.evaluation.attributes import Head
from train.evaluation.calibration import UNCALIBRATED, Calibration, fit_calibration
from train.evaluation.classes import class_truth, fractured_classes
from train.evaluation.predict import predict
from train.evaluation.predictions import Predictions
from train.recipes.recipe import Recipe
from train.trainer import loop
from train.trainer.callbacks import History, State
from train.trainer.class_softmax import head_of, with_classes
from train.trainer.linear_probe import fit_head, views_of
from train.weights import initialise
from train.weights.embedded import refit_batch_norms


@dataclass(frozen=True, slots=True)
class Settled:
    """What a training without validation images needs to know.

    Attributes:
        epochs: Number of epochs of each phase; the weights after the last one are kept.
        calibration: Calibration to fold into the model.
    """

    epochs: tuple[int, ...]
    calibration: Calibration


@dataclass(frozen=True, slots=True)
class Outcome:
    """Trained network with its history and validation predictions.

    Attributes:
        model: Calibrated network, in float32 whatever the precision of the training.
        history: History of all epochs.
        initial_weights: Initial weights, in words.
        calibration: Calibration, already folded into the model.
        validation: Predictions for the validation images, before and after calibration; empty without any.
        classes: Head of the classes that were trained in place of the binary answer; ``None`` without any.
    """

    model: keras.Model
    history: History
    initial_weights: str
    calibration: Calibration
    validation: Predictions
    classes: Head | None = None

    @property
    def seconds(self) -> float:
        """Duration of all epochs."""
        return round(sum(row["seconds"] for row in self.history.rows), 1)


def train_once(
    recipe: Recipe,
    store: PixelStore,
    train_part: ImageTable,
    val_part: ImageTable | None,
    *,
    folder: Path,
    weights: str,
    seed: int,
    callbacks: Sequence[keras.callbacks.Callback] = (),
    settled: Settled | None = None,
    fractured: Sequence[bool] = (),
) -> Outcome:
    """Train a network, keep the recipe's choice of weights, and fit the calibration on validation images.

    Without validation images everything that they would choose is given as `settled`.

    Args:
        recipe: Recipe to train.
        store: Decoded images of both parts.
        train_part: Training images.
        val_part: Validation images; ``None`` for none, which needs `settled`.
        folder: Folder for history, checkpoint and state of the run.
        weights: Initial weights, see `train.weights.initialise`.
        seed: Random seed of initialisation, order and augmentation.
        callbacks: Further callbacks for `train.trainer.loop.fit`.
        settled: Epochs and calibration that were chosen before.
        fractured: Whether each class that is trained in place of the binary answer is one of fractures; decided by
            the images of both parts if empty.

    Raises:
        FractureEdgeError: Weights, classes or batch size do not fit, or the training diverged.
    """
    together, broken = _classes_in_place(recipe, train_part, val_part, fractured)
    if settled:
        recipe = replace(recipe, keep="last", patience=0)

    clear_session()
    keras.utils.set_random_seed(seed)
    sharing = devices_sharing()
    if recipe.batch_size % sharing:
        raise FractureEdgeError(
            f"--distribute: batch_size {recipe.batch_size} is not a multiple of {sharing} devices"
        )
    size = recipe.preprocessing
    model = build(recipe.architecture, size.height, size.width, **recipe.options)
    initial = initialise(model, weights)
    pixels = store.of(train_part)
    # The state of an interrupted run includes all of this.
    new_run = State.read(folder) is None
    if weights == "embedded" and new_run:
        refit_batch_norms(model, pixels, seed=seed)
    if recipe.probe and new_run:
        say(f"fitting the head to the features of {len(pixels)} images")
        views = views_of(pixels, mirrored=recipe.augmentation.flip_horizontal)
        fit_head(model, views, train_part.labels, balanced=recipe.class_balance == "weights")
    say(f"{recipe.architecture}: {model.count_params():,} parameters, initial weights: {initial}")
    balance = class_weights(train_part.labels) if recipe.class_balance == "weights" else None
    wants_masks = recipe.localisation > 0 and any(layer.name == "cells" for layer in model.layers)
    masks = fracture_masks(train_part, size) if wants_masks else None
    # Validation images get an empty mask channel: the loss ignores it, the network's input has it.
    val_masks = None if masks is None or not val_part else np.zeros((len(val_part), *masks.shape[1:]), np.uint8)
    training = Batches(
        pixels,
        train_part.labels,
        batch_size=recipe.batch_size,
        masks=masks,
        classes=class_truth(train_part, together) if together else None,
        weights=balance,
        seed=seed,
        scanners=ScannerVariation(recipe.augmentation.scanner, seed) if recipe.augmentation.scanner else None,
        mixing=Mixing.of(recipe.augmentation, seed),
        multiple=batch_multiple(recipe.batch_size, len(pixels), sharing),
    )
    val_pixels = store.of(val_part) if val_part else None
    validation = None
    if val_part and val_pixels is not None:
        validation = Batches(
            val_pixels,
            val_part.labels,
            batch_size=2 * recipe.batch_size,
            masks=val_masks,
            classes=class_truth(val_part, together) if together else None,
            weights=balance,
            multiple=sharing,
        )
    whole = with_classes(model, broken) if together else model
    history = loop.fit(
        whole,
        recipe,
        training,
        validation,
        folder=folder,
        seed=seed,
        callbacks=callbacks,
        epochs=settled.epochs if settled else None,
    )
    classes = head_of(whole, together, broken) if together else None
    model = _in_float32(model, recipe)
    if val_part is None or val_pixels is None:
        calibration = settled.calibration if settled else UNCALIBRATED
        calibration.fold_into(model.get_layer("probability"))
        unseen = Predictions(np.empty(0), np.empty(0))
        return Outcome(model, history, initial, calibration, unseen, classes)
    raw = predict(model, val_pixels)
    calibration = fit_calibration(val_part.labels, raw) if recipe.calibrate else UNCALIBRATED
    calibration.fold_into(model.get_layer("probability"))
    predictions = Predictions(raw, predict(model, val_pixels))
    return Outcome(model, history, initial, calibration, predictions, classes)


def _classes_in_place(
    recipe: Recipe, train_part: ImageTable, val_part: ImageTable | None, fractured: Sequence[bool]
) -> tuple[tuple[str, ...], tuple[bool, ...]]:
    """Return the classes that are trained in place of the binary answer, and whether each is one of fractures."""
    if recipe.softmax != "in_place" or not recipe.classes:
        return (), ()
    part = join_tables(train_part, val_part) if val_part else train_part
    return recipe.classes, tuple(fractured) or fractured_classes(part, recipe.classes)


def clear_session() -> None:
    """Clear Keras's global state, but keep its dtype policy and distribution."""
    policy, distribution = keras.config.dtype_policy(), keras.distribution.distribution()
    keras.utils.clear_session()
    keras.config.set_dtype_policy(policy)
    keras.distribution.set_distribution(distribution)


def _in_float32(model: keras.Model, recipe: Recipe) -> keras.Model:
    """Rebuild the network in float32, as it will be exported."""
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
