"""First stage of training on patches at full resolution, around fractures and elsewhere."""

from pathlib import Path, PurePosixPath
from typing import Any

import keras
import numpy as np
import numpy.typing as npt

from fracture_edge.console import say
from fracture_edge.images.image_file import load_image
from train.architectures import build
from train.data.batches import Batches, class_weights
from train.data.dataset import ImageTable
from train.data.localisation import fracture_marks
from train.recipes.recipe import Recipe, override
from train.trainer import loop
from train.trainer.linear_probe import fit_head
from train.trainer.train_once import clear_session
from train.weights import initialise

#: Side of a patch in pixels, longest side of an image from which patches are cut, and patches of an image.
SIDE, LONGEST, COUNT = 160, 640, 2
EPOCHS = 3


def train_on_patches(recipe: Recipe, part: ImageTable, weights: str, folder: Path, *, seed: int) -> str:
    """Train the network on patches and return the path of its weights."""
    target = folder / "patches.weights.h5"
    if target.is_file():
        return str(target)
    pixels, masks, labels = patches(part, seed)
    say(f"patches: {len(pixels)}, {sum(labels)} fractured")
    own = override(recipe, image_size=SIDE, epochs=EPOCHS, settings=("keep=last", "patience=0"))
    clear_session()
    keras.utils.set_random_seed(seed)
    model = build("edge", SIDE, SIDE, **own.options)
    initialise(model, weights)
    fit_head(model, [pixels], labels, balanced=True)
    place = folder / "patches"
    place.mkdir(exist_ok=True)
    batches = Batches(pixels, labels, batch_size=64, masks=masks, weights=class_weights(labels), seed=seed)
    loop.fit(model, own, batches, None, folder=place, seed=seed)
    model.save_weights(target)
    return str(target)


def patches(part: ImageTable, seed: int) -> tuple[Any, Any, list[int]]:
    """Cut patches: around a box and elsewhere from fractured images, anywhere from the others."""
    from PIL import Image

    random = np.random.default_rng(seed)
    marks = fracture_marks(part.root) or {}
    pixels, masks, labels = [], [], []
    for item in part:
        grey = load_image(part.file(item))
        scale = min(1.0, LONGEST / max(grey.shape))
        size = (max(SIDE, round(grey.shape[1] * scale)), max(SIDE, round(grey.shape[0] * scale)))
        grey = np.asarray(Image.fromarray(grey).resize(size, Image.Resampling.BICUBIC))
        mask = np.zeros_like(grey)
        own = marks.get(PurePosixPath(item.path).name) if item.label else None
        if own:
            down, across = size[1] / own.height, size[0] / own.width
            for x, y, width, height in own.boxes:
                rows = slice(int(y * down), max(int(y * down) + 1, round((y + height) * down)))
                mask[rows, int(x * across) : max(int(x * across) + 1, round((x + width) * across))] = 255
        for number in range(COUNT):
            cut = _cut(grey, mask, random, on=bool(own) and number == 0)
            if cut is not None:
                pixels.append(cut[0])
                masks.append(cut[1])
                labels.append(int(cut[1].any()))
    return np.stack(pixels)[..., np.newaxis], np.stack(masks)[..., np.newaxis], labels


def _cut(
    grey: npt.NDArray[np.uint8], mask: npt.NDArray[np.uint8], random: np.random.Generator, *, on: bool
) -> tuple[Any, Any] | None:
    height, width = grey.shape
    for _ in range(20):
        top, left = int(random.integers(height - SIDE + 1)), int(random.integers(width - SIDE + 1))
        if on:
            ys, xs = np.nonzero(mask)
            pick = int(random.integers(len(ys)))
            top = int(np.clip(ys[pick] - random.integers(SIDE // 5, SIDE - SIDE // 5), 0, height - SIDE))
            left = int(np.clip(xs[pick] - random.integers(SIDE // 5, SIDE - SIDE // 5), 0, width - SIDE))
        patch, marked = grey[top : top + SIDE, left : left + SIDE], mask[top : top + SIDE, left : left + SIDE]
        # Mostly background, or a fracture that is hardly in it.
        if patch.std() < 15 or (marked.any() and marked.sum() < 0.5 * min(mask.sum(), 255 * SIDE * SIDE / 4)):
            continue
        if marked.any() == on:
            return patch, marked
    return None
