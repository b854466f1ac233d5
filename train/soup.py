"""Model soup: one network with the averaged weights of several runs.

Networks that were fine-tuned from the same weights often lie in one valley of the loss, where the average of their
weights does better than each of them and costs no more to run than one (Wortsman et al., "Model soups: averaging
weights of multiple fine-tuned models improves accuracy without increasing inference time", ICML 2022; the uniform
soup). The runs are one after another in one history: `train.loop` counts their phases and epochs through.
"""

from pathlib import Path

import keras
import numpy as np

from train.callbacks import History, best_of, rows_of
from train.loading import Batches
from train.norms import RefitNorms
from train.recipe import Recipe

_START = "start.weights.h5"


def keep_start(model: keras.Model, recipe: Recipe, folder: Path) -> None:
    """Keep the weights that every member is to begin with."""
    if recipe.members > 1:
        model.save_weights(folder / _START)


def begin_member(model: keras.Model, recipe: Recipe, number: int, folder: Path) -> None:
    """Give `model` the initial weights, where phase `number` is a member's first.

    Phases are counted from 0 through all members.
    """
    if number and number % len(recipe.phases) == 0:
        model.load_weights(folder / _START)


def keep_member(model: keras.Model, recipe: Recipe, number: int, folder: Path) -> None:
    """Keep the weights of `model` as a member's, where phase `number` was its last one."""
    member, phase = divmod(number, len(recipe.phases))
    if recipe.members > 1 and phase == len(recipe.phases) - 1:
        model.save_weights(folder / _member_file(member))


def average_members(model: keras.Model, recipe: Recipe, training: Batches, folder: Path) -> None:
    """Give `model` the mean of all members' weights; norms whose statistics are not frozen take them anew.

    Args:
        model: Changed in place.
        recipe: Says how many members there are.
        training: Where the norms take their statistics from.
        folder: Where the members were kept.
    """
    if recipe.members == 1:
        return
    total: list[np.ndarray] = []
    for member in range(recipe.members):
        model.load_weights(folder / _member_file(member))
        weights = [np.asarray(weight, np.float64) for weight in model.get_weights()]
        total = [a + b for a, b in zip(total, weights, strict=True)] if total else weights
    model.set_weights([weight / recipe.members for weight in total])
    norms = [layer for layer in model.layers if isinstance(layer, keras.layers.BatchNormalization)]
    if norms and not recipe.frozen_norms:
        # The statistics of each member are of its own weights (Izmailov et al., UAI 2018, section 3.1).
        RefitNorms(model, training).on_test_begin()


def kept_epochs(history: History, recipe: Recipe) -> list[int]:
    """The epochs whose weights were kept, one of each member, counted from 1 through all of them."""
    if recipe.members == 1:
        return [history.kept]
    kept = []
    for member in range(1, recipe.members + 1):
        rows = rows_of(history.rows, member * len(recipe.phases) - 1)
        row = best_of(rows, recipe.monitor) if recipe.keep == "best" else rows[-1]
        # A phase without a sound epoch has ended the training.
        kept.append(int((row or rows[-1])["epoch"]))
    return kept


def _member_file(member: int) -> str:
    return f"member-{member + 1:02d}.weights.h5"
