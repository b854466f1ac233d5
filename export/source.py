"""A trained model's images: what it is calibrated with and judged on."""

import hashlib
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
    """The images of a training run, by the split file that it left.

    Attributes:
        preprocessing: As the model wants it.
        train: The training split.
        val: The validation split. There is no way to the test split here.
    """

    preprocessing: Preprocessing
    train: ImageTable
    val: ImageTable

    @property
    def groups(self) -> list[str]:
        """Group of each validation image."""
        return groups_of(self.val)

    def validation(self) -> Pixels:
        """The validation images, uint8 [N, H, W, 1]."""
        return load_pixels(self.val, self.preprocessing, label="reading val")

    def training(self) -> tuple[Pixels, list[int]]:
        """All training images, uint8 [N, H, W, 1], and their labels."""
        return load_pixels(self.train, self.preprocessing, label="reading train"), self.train.labels

    def calibration(self, count: int, seed: int) -> tuple[Pixels, str]:
        """Training images drawn for the ranges of activations, and a SHA-256 over their paths.

        Args:
            count: At most; all of the split where it has fewer.
            seed: Of the draw.
        """
        rows = np.random.default_rng(seed).permutation(len(self.train))[:count]
        drawn = replace(self.train, items=tuple(self.train.items[row] for row in sorted(rows.tolist())))
        names = "\n".join(item.path for item in drawn)
        pixels = load_pixels(drawn, self.preprocessing, label="reading calibration")
        return pixels, hashlib.sha256(names.encode()).hexdigest()


def read_source(folder: Path, *, data: Path | None = None) -> Source:
    """The images that the model in `folder` was trained and validated on.

    Args:
        folder: ``artifacts/<model>``.
        data: The data folder, where it is not the one of the training run any more.

    Raises:
        FractureEdgeError: No trained model there, or its data cannot be read.
    """
    record = read_record(folder)
    table = read_splits(data or Path(record.data.root), folder / "splits.csv")
    return Source(record.preprocessing, table.where("train"), table.where("val"))
