"""Pointing game (Zhang et al., "Top-down Neural Attention by Excitation Backprop", IJCV 2018).

A heat map scores a hit if its maximum lies in the box of a fracture. The baseline is the centre of every image.
"""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from fracture_edge.heatmap import over_image
from fracture_edge.preprocess import Preprocessing
from train.data.localisation import Marks

#: Margin added to each side of the boxes, as a share of the image's width and height.
MARGIN = 0.05


def peak(
    heatmap: npt.NDArray[np.floating], preprocessing: Preprocessing, size: tuple[int, int]
) -> tuple[float, float]:
    """Find the maximum of a heat map within the image.

    Args:
        heatmap: Heat map of the complete model input, [h, w].
        preprocessing: Preprocessing from the image to the model input.
        size: Width and height of the image, in pixels.

    Returns:
        Column and row of the maximum, as shares of the image's width and height.
    """
    values = over_image(heatmap, preprocessing, size)
    row, column = np.unravel_index(int(values.argmax()), values.shape)
    return (int(column) + 0.5) / size[0], (int(row) + 0.5) / size[1]


def hit(point: tuple[float, float], marks: Marks, *, margin: float = MARGIN) -> bool:
    """Return whether a point lies within one of the boxes of an image.

    Args:
        point: Column and row, as shares of the image's width and height.
        marks: Boxes of the image.
        margin: Margin added to the boxes, see `MARGIN`.
    """
    return any(
        left / marks.width - margin <= point[0] <= (left + width) / marks.width + margin
        and top / marks.height - margin <= point[1] <= (top + height) / marks.height + margin
        for left, top, width, height in marks.boxes
    )


def hits_at_centre(marks: Sequence[Marks], *, margin: float = MARGIN) -> list[bool]:
    """Return for each image whether its centre is a hit."""
    return [hit((0.5, 0.5), each, margin=margin) for each in marks]
