"""First stage of training: patches at full resolution, before whole images."""

from dataclasses import replace
from pathlib import Path

import keras

from fracture_edge.console import say
from fracture_edge.errors import FractureEdgeError
from train.architectures import build
from train.data.batches import Batches, batch_multiple, class_weights
from train.data.dataset import ImageTable
from train.data.patches import SIDE, cut_patches
from train.device import devices_sharing
from train.recipes.recipe import Recipe
from train.trainer import loop
from train.trainer.linear_probe import fit_head

#: Folder of the first stage within that of a run.
FOLDER = "patches"


def train_on_patches(model: keras.Model, recipe: Recipe, part: ImageTable, *, folder: Path, seed: int) -> None:
    """Train the network on patches and load the weights of the last epoch; an interrupted stage is continued.

    It is trained as in the recipe's first phase, for `Recipe.patches` epochs.

    Args:
        model: Network `edge` with its initial weights; they are changed.
        recipe: Recipe of the run.
        part: Training images of a data set with boxes around the fractures.
        folder: Folder of the run; the stage has a folder of its own in it.
        seed: Random seed of patches, order and augmentation.

    Raises:
        FractureEdgeError: The network has no cells, the images have no boxes, or the training diverged.
    """
    if not any(layer.name == "cells" for layer in model.layers):
        raise FractureEdgeError(f"recipe.patches: is for 'edge', '{model.name}' has no cells; set it to 0")
    patches = cut_patches(part, seed=seed)
    count = len(patches.labels)
    say(f"first stage: {count} patches of {SIDE}x{SIDE}, {sum(patches.labels)} around fractures")
    stage = replace(
        recipe,
        phases=(replace(recipe.phases[0], epochs=recipe.patches),),
        preprocessing=replace(recipe.preprocessing, height=SIDE, width=SIDE),
        keep="last",
        patience=0,
        # Patches are fractured or not; classes are told apart in whole images.
        softmax="beside",
    )
    network = build(recipe.architecture, SIDE, SIDE, **recipe.options)
    network.set_weights(model.get_weights())
    balanced = recipe.class_balance == "weights"
    if recipe.probe:
        fit_head(network, [patches.pixels], patches.labels, balanced=balanced)
    place = folder / FOLDER
    place.mkdir(exist_ok=True)
    # A patch has less than half of the pixels of a whole image, and one in ten shows a fracture.
    batch_size = 2 * recipe.batch_size
    batches = Batches(
        patches.pixels,
        patches.labels,
        batch_size=batch_size,
        masks=patches.masks,
        weights=class_weights(patches.labels) if balanced else None,
        seed=seed,
        multiple=batch_multiple(batch_size, count, devices_sharing()),
    )
    loop.fit(network, stage, batches, None, folder=place, seed=seed)
    model.set_weights(network.get_weights())
