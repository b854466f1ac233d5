"""Decoded images of a table in memory."""

import numpy as np
import numpy.typing as npt

from fracture_edge.preprocess import Preprocessing
from train.data.batches import load_pixels
from train.data.dataset import ImageTable


class PixelStore:
    """Decoded and preprocessed images of a table, uint8, in memory."""

    def __init__(self, table: ImageTable, preprocessing: Preprocessing) -> None:
        """Decode all images of `table`; see `train.data.batches.load_pixels`."""
        self.preprocessing = preprocessing
        self._pixels = load_pixels(table, preprocessing)
        self._row = {item.path: row for row, item in enumerate(table)}

    def of(self, part: ImageTable) -> npt.NDArray[np.uint8]:
        """Return the images of a part of the table, uint8 [N, height, width, 1]."""
        return self._pixels[[self._row[item.path] for item in part]]
