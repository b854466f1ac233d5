"""The pointing game (Zhang et al., "Top-down Neural Attention by Excitation Backprop", IJCV 2018).

A heat map hits when its maximum lies in the box of a fracture. The yardstick points at the centre of every image.
"""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from fracture_edge.heatmap import over_image
from fracture_edge.preprocess import Preprocessing
from train.data.localisation import Marks

#: Boxes are this much larger on each side, as a share of the image's width and height.
MARGIN = 0.05


def peak(
    heatmap: npt.NDArray[np.floating], preprocessing: Preprocessing, size: tuple[int, int]
) -> tuple[float, float]:
    """Where a heat map points.

    Args:
        heatmap: Heat map over the model's whole input, [h, w].
        preprocessing: How the image became that input.
        size: Width and height of the image, pixels.

    Returns:
        Column and row of the maximum within the image, as shares of its width and height.
    """
    values = over_image(heatmap, preprocessing, size)
    row, column = np.unravel_index(int(values.argmax()), values.shape)
    return (int(column) + 0.5) / size[0], (int(row) + 0.5) / size[1]


def hit(point: tuple[float, float], marks: Marks, *, margin: float = MARGIN) -> bool:
    """Whether a point, in shares of width and height, lies within one of the boxes.

    Args:
        point: Column and row.
        marks: Marked fractures of the image.
        margin: See `MARGIN`.
    """
    return any(
        left / marks.width - margin <= point[0] <= (left + width) / marks.width + margin
        and top / marks.height - margin <= point[1] <= (top + height) / marks.height + margin
        for left, top, width, height in marks.boxes
    )


def hits_at_centre(marks: Sequence[Marks], *, margin: float = MARGIN) -> list[bool]:
    """For each image whether its centre is a hit."""
    return [hit((0.5, 0.5), each, margin=margin) for each in marks]
