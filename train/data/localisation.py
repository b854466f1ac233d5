"""Where the fracture is: FracAtlas's boxes as an auxiliary target for networks with a map of cell logits.

An image label says little about a line of two pixels. Where the data set marks fractures, the network is
also asked, cell by cell of a grid, whether a mark covers the cell. Marks are needed for
training only.
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
    """Where the fractures of an image are.

    Attributes:
        width: Of the image that the boxes are for, in pixels; the file may be larger or smaller.
        height: Likewise.
        boxes: Left, top, width and height of each.
    """

    width: int
    height: int
    boxes: tuple[tuple[float, float, float, float], ...]


def fracture_marks(root: Path) -> dict[str, Marks] | None:
    """The boxes that a data set comes with.

    Args:
        root: Of FracAtlas, as published.

    Returns:
        Marks by file name, for the images that have some; ``None`` when the data set marks none.

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
    """Masks of the marked fractures in the frame of the model's input.

    Args:
        table: The images.
        preprocessing: As used for the images.

    Returns:
        uint8 [N, height, width, 1], 255 inside a fracture's box; ``None`` when the data set marks none.

    Raises:
        DataError: The annotation file is malformed.
    """
    marks = fracture_marks(table.root)
    if marks is None:
        return None
    # The letterbox bars are no fracture, whatever their grey.
    framing = replace(preprocessing, pad=0)
    masks = np.zeros((len(table), preprocessing.height, preprocessing.width, 1), np.uint8)
    for row, item in enumerate(table):
        marked = marks.get(PurePosixPath(item.path).name)
        if item.label == 1 and marked is not None:
            # Drawn in the published size and sent through the image's own preprocessing.
            canvas = Image.new("L", (marked.width, marked.height))
            draw = ImageDraw.Draw(canvas)
            for left, top, width, height in marked.boxes:
                # Pillow counts the far corner in.
                draw.rectangle((left, top, left + width - 1, top + height - 1), fill=255)
            masks[row] = framing(np.asarray(canvas))
    return masks
