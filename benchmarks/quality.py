"""Metrics of benchmark rows, computed from their per-image predictions.

All of them can be recomputed from the CSV file that the benchmark writes.
"""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from benchmarks.predicted_parts import part_column
from benchmarks.records.measured_row import PREDICTED_PART, Confusion, PairedChange, Quality, Subgroup, Uncertain
from fracture_edge.errors import FractureEdgeError
from train.evaluation.metrics import UNDEFINED, auroc, confusion, evaluate, proportions
from train.evaluation.paired import compare_pairs

#: One image: ``path``, ``label``, ``group``, the `ATTRIBUTES`, and P(fractured) by row id; where the data say no
#: body part, also the one that each row predicts, see `benchmarks.predicted_parts`.
Row = Mapping[str, str]

#: Columns that define the subgroups.
ATTRIBUTES = ("body_part", "view", "hardware")
#: Minimum numbers of images for an AUROC, in total and of each class. With a single fractured image, for example,
#: the bootstrap interval would have zero width.
_FEWEST_IMAGES, _FEWEST_OF_A_CLASS = 10, 5


@dataclass(frozen=True, slots=True)
class _Predictions:
    """Labels, groups and probabilities, [N] each, of one column."""

    labels: list[int]
    groups: list[str]
    scores: npt.NDArray[np.float64]

    @classmethod
    def of(cls, rows: Sequence[Row], column: str) -> "_Predictions":
        try:
            scores = np.array([float(row[column]) for row in rows])
        except (KeyError, ValueError):
            scores = np.array([np.nan])
        if not np.isfinite(scores).all():
            raise FractureEdgeError(f"the predictions lack a probability of '{column}' for some images")
        # An image without a group is a group of its own.
        return cls([int(row["label"]) for row in rows], [row["group"] or row["path"] for row in rows], scores)

    def where(self, chosen: Sequence[int]) -> "_Predictions":
        return _Predictions(
            [self.labels[k] for k in chosen], [self.groups[k] for k in chosen], self.scores[np.array(chosen, int)]
        )


def quality(rows: Sequence[Row], column: str, threshold: float, band: tuple[float, float]) -> Quality:
    """Compute the metrics of one benchmark row.

    Args:
        rows: Predictions of all images, as read by `csv.DictReader`.
        column: Name of the column of probabilities, which is the row id.
        threshold: Decision threshold of the model, frozen on validation.
        band: Start (inclusive) and end (exclusive) of the uncertain band, see `fracture_edge.policy.Policy`.

    Raises:
        FractureEdgeError: The column is missing, or a probability is missing or not finite.
    """
    predictions = _Predictions.of(rows, column)
    return Quality(
        metrics=evaluate(predictions.labels, predictions.scores, predictions.groups, threshold),
        confusion=Confusion(**confusion(predictions.labels, predictions.scores, threshold)),
        uncertain=_uncertain(predictions, threshold, band),
        subgroups=subgroups(rows, column, threshold),
    )


def compare_with_source(rows: Sequence[Row], source: str, column: str, threshold: float) -> PairedChange:
    """Compare one benchmark row with the model that it was exported from; see `train.evaluation.paired`.

    Args:
        rows: Predictions of all images, as in `quality`.
        source: Column of the source model.
        column: Column of the row.
        threshold: Decision threshold of the model, frozen on validation.

    Raises:
        FractureEdgeError: A column is missing, or a probability is missing or not finite.
    """
    before, after = _Predictions.of(rows, source), _Predictions.of(rows, column)
    found = compare_pairs(before.labels, before.groups, before.scores, after.scores, threshold)
    return PairedChange.of(source, found)


def subgroups(rows: Sequence[Row], column: str, threshold: float) -> tuple[Subgroup, ...]:
    """Compute the metrics of the images of each body part, view and hardware.

    Body parts that the row itself predicts form subgroups of their own, where the predictions have them.

    Several values of one image ("hand+leg") form a subgroup of their own; images whose attribute is unknown belong
    to none of its subgroups.

    Args:
        rows: Predictions of all images, as in `quality`.
        column: Name of the column of probabilities.
        threshold: Decision threshold of the model, frozen on validation.

    Returns:
        One subgroup for each value of each attribute. AUROC is undefined with fewer than 10 images or fewer than 5
        of either class; recall and specificity are undefined without images of their class.

    Raises:
        FractureEdgeError: The column is missing, or a probability is missing or not finite.
    """
    predictions = _Predictions.of(rows, column)
    columns = {PREDICTED_PART: part_column(column), **{name: name for name in ATTRIBUTES}}
    return tuple(
        _subgroup(attribute, value, predictions.where(members), threshold)
        for attribute, source in columns.items()
        for value, members in sorted(_values(rows, source).items())
    )


def _values(rows: Sequence[Row], column: str) -> dict[str, list[int]]:
    found: dict[str, list[int]] = defaultdict(list)
    for number, row in enumerate(rows):
        if value := row.get(column):
            found[value].append(number)
    return found


def _subgroup(attribute: str, value: str, part: _Predictions, threshold: float) -> Subgroup:
    shares = proportions(part.labels, part.scores, threshold)
    fractured = sum(part.labels)
    fewest = min(fractured, len(part.labels) - fractured)
    enough = len(part.labels) >= _FEWEST_IMAGES and fewest >= _FEWEST_OF_A_CLASS
    return Subgroup(
        by=attribute,
        value=value,
        images=len(part.labels),
        fractured=fractured,
        auroc=auroc(part.labels, part.scores, part.groups) if enough else UNDEFINED,
        recall=shares["recall"],
        specificity=shares["specificity"],
    )


def _uncertain(predictions: _Predictions, threshold: float, band: tuple[float, float]) -> Uncertain:
    low, high = band
    decided = np.flatnonzero((predictions.scores < low) | (predictions.scores >= high)).tolist()
    rest = predictions.where(decided)
    return Uncertain(
        share=(len(predictions.labels) - len(decided)) / len(predictions.labels),
        images_decided=len(decided),
        metrics_on_decided=proportions(rest.labels, rest.scores, threshold),
    )
