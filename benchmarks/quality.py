"""What the per-image predictions of a benchmark say of each row; see `quality`.

Everything comes from the CSV file that the benchmark leaves, so that anybody can compute it again.
"""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from benchmarks.records.measured_row import Confusion, PairedChange, Quality, Subgroup, Uncertain
from fracture_edge.errors import FractureEdgeError
from train.evaluation.metrics import UNDEFINED, auroc, confusion, evaluate, proportions
from train.evaluation.paired import compare_pairs

#: One image: ``path``, ``label``, ``group``, what the data set says of it, and P(fractured) by column.
Row = Mapping[str, str]

#: What subgroups are made of.
ATTRIBUTES = ("body_part", "view", "hardware")
#: In fewer images, or with fewer of either class, an AUROC says nothing: that of one fractured image among others
#: has a bootstrap interval of no width.
_FEWEST_IMAGES, _FEWEST_OF_A_CLASS = 10, 5


@dataclass(frozen=True, slots=True)
class _Answers:
    """One column of the predictions beside the truth."""

    labels: list[int]
    groups: list[str]
    scores: npt.NDArray[np.float64]

    @classmethod
    def of(cls, rows: Sequence[Row], column: str) -> "_Answers":
        try:
            scores = np.array([float(row[column]) for row in rows])
        except (KeyError, ValueError):
            scores = np.array([np.nan])
        if not np.isfinite(scores).all():
            raise FractureEdgeError(f"the predictions lack a probability of '{column}' for some images")
        # An image without a group stands for itself.
        return cls([int(row["label"]) for row in rows], [row["group"] or row["path"] for row in rows], scores)

    def where(self, chosen: Sequence[int]) -> "_Answers":
        return _Answers(
            [self.labels[k] for k in chosen], [self.groups[k] for k in chosen], self.scores[np.array(chosen, int)]
        )


def quality(rows: Sequence[Row], column: str, threshold: float, band: tuple[float, float]) -> Quality:
    """Judge one row of a benchmark.

    Args:
        rows: Predictions of all images, as `csv.DictReader` gives them.
        column: Which probabilities.
        threshold: The model's frozen threshold.
        band: Start and end of its uncertain band; the end is outside (`fracture_edge.policy.Policy`).

    Raises:
        FractureEdgeError: The column is not there, or lacks an image.
    """
    answers = _Answers.of(rows, column)
    return Quality(
        metrics=evaluate(answers.labels, answers.scores, answers.groups, threshold),
        confusion=Confusion(**confusion(answers.labels, answers.scores, threshold)),
        uncertain=_uncertain(answers, threshold, band),
        subgroups=subgroups(rows, column, threshold),
    )


def against(rows: Sequence[Row], source: str, column: str, threshold: float) -> PairedChange:
    """Compare one row of a benchmark with the model that it was made from; see `train.evaluation.paired`.

    Args:
        rows: As in `quality`.
        source: Column of the model it was made from.
        column: Column of the row.
        threshold: The model's frozen threshold.

    Raises:
        FractureEdgeError: A column is not there, or lacks an image.
    """
    before, after = _Answers.of(rows, source), _Answers.of(rows, column)
    found = compare_pairs(before.labels, before.groups, before.scores, after.scores, threshold)
    return PairedChange.of(source, found)


def subgroups(rows: Sequence[Row], column: str, threshold: float) -> tuple[Subgroup, ...]:
    """Judge the images of each body part, view and hardware.

    Several flags of one image ("hand+leg") are a value of their own; images of which an attribute is not known
    are in none of its subgroups.

    Args:
        rows: As in `quality`.
        column: Which probabilities.
        threshold: The model's frozen threshold.

    Returns:
        One for each value of each attribute. AUROC is not defined with fewer than 10 images or fewer than 5 of a
        class, recall and specificity without their class.
    """
    answers = _Answers.of(rows, column)
    return tuple(
        _subgroup(attribute, value, answers.where(members), threshold)
        for attribute in ATTRIBUTES
        for value, members in sorted(_values(rows, attribute).items())
    )


def _values(rows: Sequence[Row], attribute: str) -> dict[str, list[int]]:
    found: dict[str, list[int]] = defaultdict(list)
    for number, row in enumerate(rows):
        if row[attribute]:
            found[row[attribute]].append(number)
    return found


def _subgroup(attribute: str, value: str, part: _Answers, threshold: float) -> Subgroup:
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


def _uncertain(answers: _Answers, threshold: float, band: tuple[float, float]) -> Uncertain:
    low, high = band
    decided = np.flatnonzero((answers.scores < low) | (answers.scores >= high)).tolist()
    rest = answers.where(decided)
    return Uncertain(
        share=(len(answers.labels) - len(decided)) / len(answers.labels),
        images_decided=len(decided),
        metrics_on_decided=proportions(rest.labels, rest.scores, threshold),
    )
