"""Training and validation images of a trained model, for calibration and evaluation."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import numpy.typing as npt

from fracture_edge.preprocess import Preprocessing
from train.artifacts import read_record
from train.data.batches import load_pixels
from train.data.dataset import ImageTable, read_splits
from train.evaluation.predictions import groups_of

Pixels = npt.NDArray[np.uint8]


@dataclass(frozen=True, slots=True)
class Source:
    """Images of a training run, read with its split file.

    Attributes:
        preprocessing: Preprocessing of the model.
        train: Training split.
        val: Validation split. The test split is deliberately not accessible here.
    """

    preprocessing: Preprocessing
    train: ImageTable
    val: ImageTable

    @property
    def groups(self) -> list[str]:
        """Group of each validation image."""
        return groups_of(self.val)

    def validation(self) -> Pixels:
        """Read the validation images, uint8 [N, H, W, 1]."""
        return load_pixels(self.val, self.preprocessing, label="reading val")

    def training(self) -> Pixels:
        """Read all training images, uint8 [N, H, W, 1]."""
        return load_pixels(self.train, self.preprocessing, label="reading train")

    def calibration(self, count: int, seed: int) -> tuple[Pixels, str]:
        """Sample training images for the ranges of the activations.

        Args:
            count: Number of images; all of the split if it has fewer.
            seed: Random seed for sampling the images.

        Returns:
            The images, uint8 [N, H, W, 1], and the SHA-256 of their paths.
        """
        sample = self._items(self._rows(seed)[:count])
        names = "\n".join(item.path for item in sample)
        pixels = load_pixels(sample, self.preprocessing, label="reading calibration")
        return pixels, hashlib.sha256(names.encode("utf-8", "surrogateescape")).hexdigest()

    def outside_calibration(self, calibration: int, count: int, seed: int) -> tuple[Pixels, list[int]]:
        """Sample training images that `calibration` has left, half of them fractured if there are as many.

        Args:
            calibration: Number of images that it was called with.
            count: Number of images; all that are left if there are fewer.
            seed: Random seed that it was called with.

        Returns:
            The images, uint8 [N, H, W, 1], and their labels, 0 or 1, [N]; none if nothing is left.
        """
        rows = self._rows(seed)[calibration:]
        fractured = [row for row in rows if self.train.items[row].label == 1][: count // 2]
        taken = set(fractured)
        others = [row for row in rows if row not in taken]
        sample = self._items([*fractured, *others][:count])
        return load_pixels(sample, self.preprocessing, label="reading train"), sample.labels

    def _rows(self, seed: int) -> list[int]:
        return [int(row) for row in np.random.default_rng(seed).permutation(len(self.train))]

    def _items(self, rows: Sequence[int]) -> ImageTable:
        return replace(self.train, items=tuple(self.train.items[row] for row in sorted(rows)))


def read_source(folder: Path, *, data: Path | None = None) -> Source:
    """Return the training and validation splits of the model in `folder`.

    Args:
        folder: Folder of the model, ``artifacts/<model>``.
        data: Path of the data folder if it has moved since training.

    Raises:
        FractureEdgeError: The folder has no trained model, or its data cannot be read.
    """
    record = read_record(folder)
    table = read_splits(data or Path(record.data.root), folder / "splits.csv")
    return Source(record.preprocessing, table.where("train"), table.where("val"))
