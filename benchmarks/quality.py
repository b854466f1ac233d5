"""What the per-image predictions of a benchmark say of each row; see `quality`.

Everything comes from the CSV file that the benchmark leaves, so that anybody can compute it again.
"""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from fracture_edge.errors import FractureEdgeError
from train.evaluation.metrics import auroc, confusion, evaluate, proportions
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


def quality(rows: Sequence[Row], column: str, threshold: float, band: tuple[float, float]) -> dict[str, Any]:
    """Judge one row of a benchmark.

    Args:
        rows: Of the predictions, as `csv.DictReader` gives them.
        column: Which probabilities.
        threshold: The model's frozen threshold.
        band: Start and end of its uncertain band; the end is outside (`fracture_edge.policy.Policy`).

    Returns:
        ``metrics`` (see `train.evaluation.metrics.evaluate`), ``confusion``, ``uncertain`` (share, and proportions
        of the decided rest) and ``subgroups`` (see `subgroups`). An estimate that is not defined is ``None``.

    Raises:
        FractureEdgeError: The column is not there, or lacks an image.
    """
    answers = _Answers.of(rows, column)
    found = evaluate(answers.labels, answers.scores, answers.groups, threshold)
    return {
        "metrics": {name: estimate.to_json() for name, estimate in found.items()},
        "confusion": confusion(answers.labels, answers.scores, threshold),
        "uncertain": _uncertain(answers, threshold, band),
        "subgroups": subgroups(rows, column, threshold),
    }


def against(rows: Sequence[Row], source: str, column: str, threshold: float) -> dict[str, Any]:
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
    return {"source": source} | found.to_json()


def subgroups(rows: Sequence[Row], column: str, threshold: float) -> list[dict[str, Any]]:
    """AUROC, recall and specificity by body part, view and hardware.

    Several flags of one image ("hand+leg") are a value of their own; images of which an attribute is not known
    are in none of its subgroups.

    Args:
        rows: As in `quality`.
        column: Which probabilities.
        threshold: The model's frozen threshold.

    Returns:
        For each value of each attribute its images, how many of them are fractured, and the estimates. AUROC is
        ``None`` with fewer than 10 images or fewer than 5 of a class, recall and specificity without their class.
    """
    answers = _Answers.of(rows, column)
    return [
        {"by": attribute, "value": value, **_figures(answers.where(members), threshold)}
        for attribute in ATTRIBUTES
        for value, members in sorted(_values(rows, attribute).items())
    ]


def _values(rows: Sequence[Row], attribute: str) -> dict[str, list[int]]:
    found: dict[str, list[int]] = defaultdict(list)
    for number, row in enumerate(rows):
        if row[attribute]:
            found[row[attribute]].append(number)
    return found


def _figures(part: _Answers, threshold: float) -> dict[str, Any]:
    shares = proportions(part.labels, part.scores, threshold)
    fractured = sum(part.labels)
    fewest = min(fractured, len(part.labels) - fractured)
    enough = len(part.labels) >= _FEWEST_IMAGES and fewest >= _FEWEST_OF_A_CLASS
    return {
        "images": len(part.labels),
        "fractured": fractured,
        "auroc": auroc(part.labels, part.scores, part.groups).to_json() if enough else None,
        "recall": shares["recall"].to_json(),
        "specificity": shares["specificity"].to_json(),
    }


def _uncertain(answers: _Answers, threshold: float, band: tuple[float, float]) -> dict[str, Any]:
    low, high = band
    decided = np.flatnonzero((answers.scores < low) | (answers.scores >= high)).tolist()
    rest = answers.where(decided)
    return {
        "share": (len(answers.labels) - len(decided)) / len(answers.labels),
        "images_decided": len(decided),
        "metrics_on_decided": {
            name: estimate.to_json() for name, estimate in proportions(rest.labels, rest.scores, threshold).items()
        },
    }
