"""Predictions of a split, and the CSV file that holds them."""

import csv
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fracture_edge.files import atomic_path
from train.data.dataset import ImageTable
from train.evaluation.calibration import Floats


@dataclass(frozen=True, slots=True)
class Predictions:
    """Predictions for the images of a split.

    Attributes:
        raw: Uncalibrated P(fractured), [N].
        calibrated: Calibrated P(fractured), [N].
    """

    raw: Floats
    calibrated: Floats


def groups_of(part: ImageTable) -> list[str]:
    """Return the group of each image; an image without a group forms its own."""
    return [item.group or item.path for item in part]


def write_predictions(part: ImageTable, predictions: Predictions, path: Path) -> None:
    """Write path, label, group and calibrated P(fractured) of every image."""
    write_rows(
        path,
        ("path", "label", "group", "probability"),
        [
            (item.path, item.label, item.group, f"{probability:.6f}")
            for item, probability in zip(part, predictions.calibrated, strict=True)
        ],
    )


def write_rows(path: Path, header: Sequence[str], rows: Sequence[Sequence[Any]]) -> None:
    """Write a CSV file in one step. File names that are not UTF-8 keep their bytes."""
    with (
        atomic_path(path) as temporary,
        temporary.open("w", newline="", encoding="utf-8", errors="surrogateescape") as stream,
    ):
        writer = csv.writer(stream, lineterminator="\n")
        writer.writerow(header)
        writer.writerows(rows)
