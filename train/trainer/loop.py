"""Training loop: phases, schedules, moving average of the weights, early stopping, best weights."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import keras

from fracture_edge.errors import FractureEdgeError
from train.architectures import after_grey_levels, set_trainable
from train.data.augment import RandomAffine, RandomGreyLevels
from train.data.batches import Batches
from train.data.soft_targets import SoftAccuracy, SoftAuroc
from train.recipes.recipe import Phase, Recipe
from train.trainer.batch_norm import RefitBatchNorms, fused_batch_norms
from train.trainer.callbacks import (
    Commit,
    History,
    Progress,
    SaveState,
    Seeds,
    State,
    kept_file,
    stalled,
    state_file,
)
from train.trainer.cell_loss import CellLoss
from train.trainer.class_softmax import ClassLoss


def fit(
    model: keras.Model,
    recipe: Recipe,
    training: Batches,
    validation: Batches | None,
    *,
    folder: Path,
    seed: int,
    callbacks: Sequence[keras.callbacks.Callback] = (),
    epochs: Sequence[int] | None = None,
) -> History:
    """Train `model` in place through all phases of `recipe` and load the weights that the recipe keeps.

    If `folder` has the state of an interrupted run, that run is continued after its last complete epoch.

    Args:
        model: Network built by `train.architectures`, or with classes, see `train.trainer.class_softmax`; its
            weights are changed.
        recipe: Recipe to train.
        training: Shuffled batches of training images.
        validation: Batches of validation images, in order; ``None`` for a recipe that keeps the last epoch and
            does not stop early.
        folder: Folder for ``history.csv``, the checkpoint and the state of the run.
        seed: Random seed of the augmentation.
        callbacks: Further callbacks, called before an epoch is committed.
        epochs: Number of epochs after which each phase ends; those of the recipe if ``None``. Schedules of the
            learning rate are those of the recipe's epochs in either case.

    Returns:
        The history of all epochs.

    Raises:
        FractureEdgeError: The validation loss (training loss without validation) was NaN or infinite in all epochs
            of a phase.
    """
    state = State.read(folder)
    history = History(folder / "history.csv", state)
    trainer = with_augmentation(model, recipe, seed, masks=training.has_masks)
    last = [phase.epochs for phase in recipe.phases] if epochs is None else list(epochs)
    with fused_batch_norms(model):
        for number, phase in enumerate(recipe.phases):
            if state and number < state.phase:
                continue
            set_trainable(model, phase.trainable, phase.last_layers, frozen_norms=recipe.frozen_norms)
            compile_phase(trainer, recipe, phase, steps=len(training))
            if state and number == state.phase:
                trainer.optimizer.build(trainer.trainable_variables)
                trainer.load_weights(folder / state_file(len(state.rows)))
            else:
                # A phase that diverges must not pass on the weights of the one before.
                history.phase, history.kept = number, 0
            done = history.of_phase()
            if len(done) < last[number] and not (done and stalled(done, recipe)):
                # Averaged weights are swapped in after the state is saved, which needs both sets of weights, and
                # before the commit, which keeps the averaged ones.
                average = [keras.callbacks.SwapEMAWeights(swap_on_epoch=True)] if recipe.ema_momentum else []
                trainer.fit(
                    training,
                    validation_data=validation,
                    initial_epoch=len(done),
                    epochs=last[number],
                    # Batches shuffle themselves, by their own seed.
                    shuffle=False,
                    callbacks=[
                        Seeds(history, training, seed),
                        history,
                        Progress(history, sum(last)),
                        SaveState(history, folder),
                        *average,
                        *([RefitBatchNorms(model, training)] if recipe.refit_norms else []),
                        *callbacks,
                        Commit(history, recipe, model, folder),
                    ],
                    verbose=0,
                )
            if not history.kept:
                raise FractureEdgeError(
                    "training diverged: the validation loss was NaN or infinite in every epoch; a smaller "
                    "learning rate may help"
                )
            model.load_weights(folder / kept_file(history.kept))
    set_trainable(model, "all")
    return history


def with_augmentation(model: keras.Model, recipe: Recipe, seed: int, *, masks: bool = False) -> keras.Model:
    """Build a model with augmentation between the input and the network; all weights are shared with `model`.

    Args:
        model: Network built by `train.architectures`.
        recipe: Recipe with the augmentation and the weight of the localisation loss.
        seed: Random seed of the augmentation.
        masks: Whether the images have a mask of the fractures as second channel, see `train.data.localisation`.
    """
    height, width = model.input_shape[1:3]
    image = keras.Input((height, width, 2 if masks else 1), dtype="uint8", name="image")
    # The mask goes through the same affine transform as its image.
    # Geometry and grey levels in float32, whatever the precision of the network.
    grey = keras.layers.Rescaling(1.0, dtype="float32")(image)
    moved = RandomAffine(recipe.augmentation, seed, dtype="float32")(grey)
    levels = RandomGreyLevels(recipe.augmentation, seed + 1, dtype="float32")(moved[..., :1])
    if masks:
        body = after_grey_levels(model, [model.output, model.get_layer("cells").output])
        answer, cells = body(levels)
        output = CellLoss(recipe.localisation, dtype="float32")(answer, cells, moved[..., 1:])
    else:
        output = after_grey_levels(model)(levels)
    return keras.Model(image, output, name=f"{model.name}_trainer")


def compile_phase(trainer: keras.Model, recipe: Recipe, phase: Phase, *, steps: int) -> None:
    """Compile with a new optimizer for one phase of `steps` steps per epoch."""
    rate = learning_rate(phase, steps)
    average: dict[str, Any] = {}
    if recipe.ema_momentum:
        average = {"use_ema": True, "ema_momentum": recipe.ema_momentum}
    if recipe.optimizer == "adamw":
        optimizer = keras.optimizers.AdamW(rate, weight_decay=recipe.weight_decay, **average)
        optimizer.exclude_from_weight_decay(var_names=["bias", "gamma", "beta"])
    else:
        optimizer = keras.optimizers.Adam(rate, **average)
    loss = ClassLoss if recipe.softmax == "in_place" else keras.losses.BinaryCrossentropy
    trainer.compile(
        optimizer,
        loss(label_smoothing=recipe.label_smoothing),
        metrics=[
            SoftAccuracy(name="accuracy"),
            SoftAuroc(num_thresholds=2000, name="auroc"),
        ],
    )


def learning_rate(phase: Phase, steps: int) -> Any:
    """Return the learning rate of a phase: a number, or a schedule over `steps` steps per epoch."""
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
