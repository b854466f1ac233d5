"""Localisation targets: FracAtlas's fracture boxes as an auxiliary target for networks with a map of cell logits.

An image label says little about a line of two pixels. Where the data set has boxes around fractures, the network
also learns for each cell of a grid whether a box covers it. Boxes are needed for training only.
"""

import json
from dataclasses import replace
from pathlib import Path, PurePosixPath
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageDraw

from fracture_edge.preprocess import Preprocessing
from train.data.dataset import DataError, ImageTable

_COCO = "Annotations/COCO JSON/COCO_fracture_masks.json"


class Marks(NamedTuple):
    """Bounding boxes of the fractures of an image.

    Attributes:
        width: Width in pixels of the image that was annotated; that of the file may differ.
        height: Height in pixels of the image that was annotated.
        boxes: Left, top, width and height of each box, in pixels.
    """

    width: int
    height: int
    boxes: tuple[tuple[float, float, float, float], ...]


def fracture_marks(root: Path) -> dict[str, Marks] | None:
    """Read the fracture boxes of a data set.

    Args:
        root: Folder of FracAtlas, as published.

    Returns:
        Boxes by file name, for the images that have some; ``None`` if the data set has no annotation file.

    Raises:
        DataError: The annotation file is malformed.
    """
    path = root / _COCO
    if not path.is_file():
        return None
    try:
        coco = json.loads(path.read_text(encoding="utf-8"))
        names = {image["id"]: image["file_name"] for image in coco["images"]}
        sizes = {image["file_name"]: (image["width"], image["height"]) for image in coco["images"]}
        boxes: dict[str, list[tuple[float, float, float, float]]] = {}
        for annotation in coco["annotations"]:
            left, top, width, height = annotation["bbox"]
            boxes.setdefault(names[annotation["image_id"]], []).append((left, top, width, height))
    except (ValueError, KeyError, TypeError) as error:
        raise DataError(f"{path}: not the COCO annotations expected ({error!r})") from error
    return {name: Marks(*sizes[name], tuple(found)) for name, found in boxes.items()}


def fracture_masks(table: ImageTable, preprocessing: Preprocessing) -> npt.NDArray[np.uint8] | None:
    """Make masks of the fracture boxes in the geometry of the model's input.

    Args:
        table: Images.
        preprocessing: Preprocessing of the images.

    Returns:
        Masks, uint8 [N, height, width, 1], 255 inside a fracture box; ``None`` if the data set has no annotation
        file.

    Raises:
        DataError: The annotation file is malformed.
    """
    marks = fracture_marks(table.root)
    if marks is None:
        return None
    # The letterbox bars are not a fracture, whatever their grey level.
    framing = replace(preprocessing, pad=0)
    masks = np.zeros((len(table), preprocessing.height, preprocessing.width, 1), np.uint8)
    for row, item in enumerate(table):
        marked = marks.get(PurePosixPath(item.path).name)
        if item.label == 1 and marked is not None:
            # At the annotated size, then preprocessed like the image.
            masks[row] = framing(np.asarray(drawn(marked)))
    return masks


def drawn(marks: Marks) -> Image.Image:
    """Draw the boxes of an image, 255 on 0, at the size of the image that was annotated."""
    canvas = Image.new("L", (marks.width, marks.height))
    draw = ImageDraw.Draw(canvas)
    for left, top, width, height in marks.boxes:
        # Pillow includes the far corner.
        draw.rectangle((left, top, left + width - 1, top + height - 1), fill=255)
    return canvas
