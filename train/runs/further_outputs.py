"""Files of a run that `export` makes further outputs of."""

from pathlib import Path

import numpy as np

from fracture_edge.attributes import CLASSES_NAME
from train.data.dataset import ImageTable
from train.data.localisation import fracture_masks
from train.data.pixel_store import PixelStore
from train.evaluation.attributes import FILE as ATTRIBUTES_FILE
from train.evaluation.attributes import measure_attributes, save_heads
from train.evaluation.localiser import FILE as LOCALISER_FILE
from train.evaluation.localiser import fit_localiser, map_layers, maps_of
from train.evaluation.typicality import FILE as TYPICALITY_FILE
from train.evaluation.typicality import measure_typicality
from train.recipes.recipe import Recipe
from train.trainer.train_once import Outcome


def save_further_outputs(
    outcome: Outcome,
    recipe: Recipe,
    training: ImageTable,
    validation: ImageTable,
    store: PixelStore,
    folder: Path,
    *,
    seed: int,
) -> None:
    """Measure the distribution of the features, fit localiser and heads of further labels, and write them.

    Args:
        outcome: Trained network.
        recipe: Its recipe.
        training: Training images.
        validation: Validation images. Penalties and thresholds of the heads are chosen on them, by a final model
            too, which has seen them.
        store: Decoded images of both.
        folder: Folder of the run.
        seed: Random seed of the run.
    """
    pixels, held_out = store.of(training), store.of(validation)
    measure_typicality(outcome.model, recipe.architecture, pixels, held_out, seed=seed).save(
        folder / TYPICALITY_FILE
    )
    heads = measure_attributes(
        outcome.model,
        recipe.architecture,
        training,
        pixels,
        validation,
        held_out,
        recipe.classes if recipe.softmax == "beside" else (),
    )
    if outcome.classes:
        heads[CLASSES_NAME] = outcome.classes
    if heads:
        save_heads(heads, folder / ATTRIBUTES_FILE)
    masks = fracture_masks(training, recipe.preprocessing) if map_layers(outcome.model) else None
    if masks is not None and masks.any():
        located = fit_localiser(maps_of(outcome.model, pixels), masks, np.array(training.labels), seed=seed)
        located.save(folder / LOCALISER_FILE)
