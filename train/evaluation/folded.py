"""Out-of-fold predictions: every image predicted by a cross-validated model that was not trained on it."""

import csv
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from fracture_edge.errors import FractureEdgeError
from train.evaluation.calibration import Floats


@dataclass(frozen=True, slots=True)
class FoldedPredictions:
    """Out-of-fold predictions of one network.

    Attributes:
        paths: Path of each image, N.
        labels: Labels, 0 or 1, [N].
        groups: Group of each image, [N]; its path where it belongs to none.
        folds: Fold of each image, [N].
        probabilities: P(fractured), [N].
    """

    paths: list[str]
    labels: list[int]
    groups: list[str]
    folds: list[int]
    probabilities: Floats


def read_folded(path: Path, column: str = "probability") -> FoldedPredictions:
    """Read ``predictions.csv`` of a cross-validation, or the table of several networks.

    Args:
        path: CSV file with the columns ``path``, ``label``, ``group``, ``fold`` and `column`.
        column: Column of P(fractured).

    Raises:
        FractureEdgeError: The file cannot be read, lacks a column, has a value that is no probability, or a class
            in fewer than two folds.
    """
    try:
        with path.open(newline="", encoding="utf-8", errors="surrogateescape") as stream:
            rows = list(csv.DictReader(stream))
    except OSError as error:
        raise FractureEdgeError(f"{path}: {error.strerror}") from error
    there = list(rows[0]) if rows else []
    if missing := [name for name in ("path", "label", "group", "fold", column) if name not in there]:
        raise FractureEdgeError(f"{path}: no column '{missing[0]}'; it has: {', '.join(there) or 'no rows'}")
    try:
        found = FoldedPredictions(
            paths=[row["path"] for row in rows],
            labels=[int(row["label"]) for row in rows],
            groups=[row["group"] or row["path"] for row in rows],
            folds=[int(row["fold"]) for row in rows],
            probabilities=np.array([float(row[column]) for row in rows]),
        )
    except ValueError as error:
        raise FractureEdgeError(f"{path}: {error}") from error
    if not ((found.probabilities >= 0) & (found.probabilities <= 1)).all():
        raise FractureEdgeError(f"{path}: a value of '{column}' is not between 0 and 1")
    pairs = set(zip(found.labels, found.folds, strict=True))
    if any(sum(label == wanted for label, _ in pairs) < 2 for wanted in (0, 1)) or set(found.labels) != {0, 1}:
        raise FractureEdgeError(f"{path}: needs images of both classes in at least two folds")
    return found
