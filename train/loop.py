"""The training loop: phases, schedules, the moving average of the weights, early stopping, best weights."""

from pathlib import Path
from typing import Any

import keras
import numpy as np
import numpy.typing as npt

from fracture_edge.errors import FractureEdgeError
from train.architectures import after_grey_levels
from train.augment import RandomAffine, RandomGreyLevels
from train.callbacks import History, Progress
from train.loading import Batches
from train.localisation import CellLoss
from train.recipe import Phase, Recipe

#: Best weights so far, in the folder of a run that is not finished.
CHECKPOINT = "best.weights.h5"


def fit(
    model: keras.Model,
    recipe: Recipe,
    training: Batches,
    validation: Batches,
    *,
    folder: Path,
    seed: int,
) -> History:
    """Train `model` in place through all phases of `recipe`; it ends with the best validation weights.

    Args:
        model: As built by `train.architectures`; its weights are changed.
        recipe: What to do.
        training: Shuffled batches.
        validation: Batches in order.
        folder: Where ``history.csv`` and the checkpoint go.
        seed: Seed of the augmentation.

    Returns:
        The history of all epochs.
    """
    history = History(folder / "history.csv")
    checkpoint = folder / CHECKPOINT
    trainer = with_augmentation(model, recipe, seed, masks=training.has_masks)
    total = sum(phase.epochs for phase in recipe.phases)
    for number, phase in enumerate(recipe.phases):
        history.phase = number
        set_trainable(model, phase.trainable)
        compile_phase(trainer, recipe, phase, steps=len(training))
        mode = "max" if recipe.monitor == "val_auroc" else "min"
        callbacks: list[keras.callbacks.Callback] = [history, Progress(history, total)]
        if recipe.ema_momentum:
            # Before the checkpoint: it puts the averaged weights in place, which are the ones to keep.
            callbacks.append(keras.callbacks.SwapEMAWeights(swap_on_epoch=True))
        callbacks += [
            keras.callbacks.ModelCheckpoint(
                checkpoint, monitor=recipe.monitor, mode=mode, save_best_only=True, save_weights_only=True
            ),
            keras.callbacks.EarlyStopping(recipe.monitor, patience=recipe.patience, mode=mode),
        ]
        # A phase that gives no number at all must not pass on the weights of the one before.
        checkpoint.unlink(missing_ok=True)
        trainer.fit(training, validation_data=validation, epochs=phase.epochs, callbacks=callbacks, verbose=0)
        if not checkpoint.is_file():
            raise FractureEdgeError(
                f"training diverged: {recipe.monitor} was no number in any epoch; a smaller learning rate may help"
            )
        trainer.load_weights(checkpoint)
    set_trainable(model, "all")
    return history


def with_augmentation(model: keras.Model, recipe: Recipe, seed: int, *, masks: bool = False) -> keras.Model:
    """`model` with augmentation between its bytes and its network; all weights are shared.

    Args:
        model: As built by `train.architectures`.
        recipe: Names the augmentation and the weight of the localisation loss.
        seed: Seed of the augmentation.
        masks: Whether a mask of the fractures comes as a second channel, see `train.localisation`.
    """
    height, width = model.input_shape[1:3]
    image = keras.Input((height, width, 2 if masks else 1), dtype="uint8", name="image")
    # The mask goes through the same affine transform as its image.
    moved = RandomAffine(recipe.augmentation, seed)(keras.layers.Rescaling(1.0)(image))
    levels = RandomGreyLevels(recipe.augmentation, seed + 1)(moved[..., :1])
    if masks:
        body = after_grey_levels(model, [model.output, model.get_layer("cells").output])
        probability, cells = body(levels)
        output = CellLoss(recipe.localisation)(probability, cells, moved[..., 1:])
    else:
        output = after_grey_levels(model)(levels)
    return keras.Model(image, output, name=f"{model.name}_trainer")


def set_trainable(model: keras.Model, what: str) -> None:
    """Make all layers trainable, or only those behind the last convolution (``head``)."""
    convolutions = [
        index
        for index, layer in enumerate(model.layers)
        if isinstance(layer, (keras.layers.Conv2D, keras.layers.DepthwiseConv2D)) and layer.name != "cells"
    ]
    first = 0 if what == "all" or not convolutions else _after_norm(model, convolutions[-1])
    for index, layer in enumerate(model.layers):
        layer.trainable = index >= first


def _after_norm(model: keras.Model, convolution: int) -> int:
    """Index of the first layer that is not the normalisation or activation of a convolution."""
    index = convolution + 1
    while isinstance(model.layers[index], (keras.layers.BatchNormalization, keras.layers.ReLU)):
        index += 1
    return index


def compile_phase(trainer: keras.Model, recipe: Recipe, phase: Phase, *, steps: int) -> None:
    """Compile with a fresh optimizer for one phase of `steps` steps an epoch."""
    rate = learning_rate(phase, steps)
    average: dict[str, Any] = {}
    if recipe.ema_momentum:
        average = {"use_ema": True, "ema_momentum": recipe.ema_momentum}
    if recipe.optimizer == "adamw":
        optimizer = keras.optimizers.AdamW(rate, weight_decay=recipe.weight_decay, **average)
        optimizer.exclude_from_weight_decay(var_names=["bias", "gamma", "beta"])
    else:
        optimizer = keras.optimizers.Adam(rate, **average)
    trainer.compile(
        optimizer,
        keras.losses.BinaryCrossentropy(label_smoothing=recipe.label_smoothing),
        metrics=[
            keras.metrics.BinaryAccuracy(name="accuracy"),
            keras.metrics.AUC(num_thresholds=2000, name="auroc"),
        ],
    )


def learning_rate(phase: Phase, steps: int) -> Any:
    """The learning rate of a phase: a number, or a schedule over `steps` steps an epoch."""
    warmup = phase.warmup_epochs * steps
    if phase.schedule == "cosine":
        return keras.optimizers.schedules.CosineDecay(
            phase.learning_rate * (0.01 if warmup else 1.0),
            max(1, phase.epochs * steps - warmup),
            alpha=0.01,
            warmup_target=phase.learning_rate if warmup else None,
            warmup_steps=warmup,
        )
    if warmup:
        return keras.optimizers.schedules.PolynomialDecay(phase.learning_rate * 0.01, warmup, phase.learning_rate)
    return phase.learning_rate


def predict(model: keras.Model, pixels: npt.NDArray[np.uint8], batch_size: int = 64) -> npt.NDArray[np.float64]:
    """P(fractured) for uint8 [N, H, W, 1]: float64 [N]."""
    return np.asarray(model.predict(pixels, batch_size=batch_size, verbose=0), np.float64)[:, 0]
