"""Patches of images at full resolution, around marked fractures and elsewhere, for a first stage of training.

A fracture line of 1 to 3 pixels is lost where a whole image is scaled down to the network's input. In a patch it
is there, and what comes with a fracture elsewhere in the image (pose, cast, view) mostly is not.
"""

from pathlib import PurePosixPath
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
from PIL import Image

from fracture_edge.errors import FractureEdgeError
from fracture_edge.images.image_file import load_image
from train.data.dataset import ImageTable
from train.data.localisation import drawn, fracture_marks

_Grey = npt.NDArray[np.uint8]

#: Side of a patch in pixels. FracAtlas's images have 373x454 pixels mostly.
SIDE = 160
#: Longer side in pixels to which larger images are scaled down before.
LONGEST = 640
#: Number of patches of an image; in a fractured one the first is around a fracture.
_COUNT = 2
#: Smallest standard deviation of the grey levels of a patch: less is background.
_CONTRAST = 15.0
#: Smallest share of the marked pixels, or of a quarter of the patch, that counts as a fracture within the patch.
_WITHIN = 0.5
#: Share of the side that a marked pixel keeps from the rim of a patch around it.
_FROM_RIM = 0.2
#: Number of places tried for one patch.
_TRIES = 20


class Patches(NamedTuple):
    """Patches with their masks and labels.

    Attributes:
        pixels: Patches, uint8 [M, SIDE, SIDE, 1].
        masks: Masks of the fracture boxes, 0 or 255, uint8 [M, SIDE, SIDE, 1].
        labels: 1 for a patch around a fracture, 0 for others, M.
    """

    pixels: _Grey
    masks: _Grey
    labels: list[int]


def cut_patches(part: ImageTable, *, seed: int) -> Patches:
    """Cut patches around marked fractures, beside them, and anywhere in images without fracture.

    Fractured images without a mark are left out: whether a patch of them shows the fracture is not known.

    Args:
        part: Labelled images of a data set with boxes around the fractures.
        seed: Random seed of the places.

    Raises:
        FractureEdgeError: No fractured image has a box, no patch of one class could be cut, or an image cannot be
            read.
    """
    random = np.random.default_rng(seed)
    marks = fracture_marks(part.root) or {}
    pixels, masks, labels = [], [], []
    for item in part:
        own = marks.get(PurePosixPath(item.path).name) if item.label else None
        if item.label and own is None:
            continue
        grey = Image.fromarray(load_image(part.file(item)))
        scale = min(1.0, LONGEST / max(grey.size))
        width, height = (max(SIDE, round(scale * side)) for side in grey.size)
        image = np.asarray(grey.resize((width, height), Image.Resampling.BICUBIC))
        mask = np.zeros_like(image)
        if own:
            mask = np.asarray(drawn(own).resize((width, height), Image.Resampling.NEAREST))
        for number in range(_COUNT):
            around = own is not None and number == 0
            place = _place(image, mask, random, around=around)
            if place is not None:
                pixels.append(image[place])
                masks.append(mask[place])
                labels.append(int(around))
    if set(labels) != {0, 1}:
        raise FractureEdgeError(
            "recipe.patches: needs boxes around fractures, and images without fracture; set it to 0"
        )
    return Patches(np.stack(pixels)[..., np.newaxis], np.stack(masks)[..., np.newaxis], labels)


def _place(image: _Grey, mask: _Grey, random: np.random.Generator, *, around: bool) -> tuple[slice, slice] | None:
    """Sample the place of a patch around a fracture, or without any; ``None`` if there was none to be found."""
    height, width = image.shape
    rows, columns = np.nonzero(mask)
    if around and not len(rows):
        return None
    rim = round(_FROM_RIM * SIDE)
    enough = _WITHIN * min(len(rows), SIDE * SIDE / 4)
    for _ in range(_TRIES):
        if around:
            pick = int(random.integers(len(rows)))
            top = int(np.clip(rows[pick] - random.integers(rim, SIDE - rim), 0, height - SIDE))
            left = int(np.clip(columns[pick] - random.integers(rim, SIDE - rim), 0, width - SIDE))
        else:
            top = int(random.integers(height - SIDE + 1))
            left = int(random.integers(width - SIDE + 1))
        place = (slice(top, top + SIDE), slice(left, left + SIDE))
        marked = np.count_nonzero(mask[place])
        if image[place].std() >= _CONTRAST and (marked >= enough if around else marked == 0):
            return place
    return None
