"""Predictions of cross-validated networks for each image, and their comparison."""

import csv
import io
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from fracture_edge.files import atomic_write_text
from train.evaluation.metrics import Estimate
from train.evaluation.paired import compare_pairs

_IMAGE = ("path", "fold", "label", "group")


@dataclass(frozen=True, slots=True)
class FoldPredictions:
    """Predictions of cross-validated networks for the same images in the same folds.

    Attributes:
        images: Path, fold, label and group of each image as text, N.
        probabilities: P(fractured), [N], by network.
    """

    images: tuple[tuple[str, ...], ...]
    probabilities: dict[str, npt.NDArray[np.float64]]

    @classmethod
    def of_folder(cls, folder: Path, model: str) -> "FoldPredictions":
        """Read the ``predictions.csv`` of one cross-validation.

        Args:
            folder: Folder of the cross-validation.
            model: Name of the network.
        """
        images, rows = _rows(folder / "predictions.csv")
        return cls(images, {model: np.array([float(row["probability"]) for row in rows])})

    @classmethod
    def read(cls, path: Path) -> "FoldPredictions":
        """Read a CSV file written by `write`."""
        images, rows = _rows(path)
        models = [name for name in rows[0] if name not in _IMAGE]
        return cls(images, {name: np.array([float(row[name]) for row in rows]) for name in models})

    def write(self, path: Path) -> None:
        """Write the predictions as CSV with one column for each network."""
        text = io.StringIO()
        writer = csv.writer(text, lineterminator="\n")
        writer.writerow([*_IMAGE, *self.probabilities])
        columns = [[f"{value:.6f}" for value in values] for values in self.probabilities.values()]
        writer.writerows(
            (*image, *row) for image, row in zip(self.images, zip(*columns, strict=True), strict=True)
        )
        atomic_write_text(path, text.getvalue())

    def auroc_change(self, first: str, other: str, *, resamples: int) -> Estimate:
        """Compute the AUROC of `other` minus that of `first`, with a paired bootstrap over groups.

        Args:
            first: Name of the network to compare with.
            other: Name of the other network.
            resamples: Number of bootstrap resamples.
        """
        return compare_pairs(
            [int(label) for _, _, label, _ in self.images],
            [group or path for path, _, _, group in self.images],
            self.probabilities[first],
            self.probabilities[other],
            0.5,
            resamples=resamples,
        ).auroc_change


def _rows(path: Path) -> tuple[tuple[tuple[str, ...], ...], list[dict[str, str]]]:
    with path.open(newline="", encoding="utf-8") as stream:
        rows = list(csv.DictReader(stream))
    return tuple(tuple(row[name] for name in _IMAGE) for row in rows), rows
