"""Operating points: thresholds and uncertain bands, fitted on validation images and then frozen."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from types import MappingProxyType

import numpy as np
import numpy.typing as npt
from sklearn.metrics import roc_curve

from train.evaluation.calibration import Floats

#: The one that is used when none is named.
DEFAULT = "balanced"
#: What `screening` keeps of sensitivity, and `specific` of specificity, where there is no band.
_KEPT = 0.95
#: Edges of a band that are tried on each side: so many scores are told apart, whatever their number.
_MOST_EDGES = 500


@dataclass(frozen=True, slots=True)
class Aim:
    """What a band is to keep on the images that are decided."""

    sensitivity: float
    specificity: float


AIMS = MappingProxyType({DEFAULT: Aim(0.95, 0.95), "screening": Aim(0.98, 0.90), "specific": Aim(0.90, 0.98)})


@dataclass(frozen=True, slots=True)
class OperatingPoint:
    """One of the points that a model can be used at.

    Attributes:
        threshold: At or above it an image counts as fractured, where no band is used.
        uncertain_low: Below it the answer is "not fractured".
        uncertain_high: At or above it the answer is "fractured"; uncertain_low <= threshold <= uncertain_high.
        sensitivity: Of the decided images, on the validation images that it was fitted to.
        specificity: Likewise.
        uncertain_share: Of all those images, undecided.
    """

    threshold: float
    uncertain_low: float
    uncertain_high: float
    sensitivity: float
    specificity: float
    uncertain_share: float


def fit_operating_points(labels: Sequence[int], probabilities: Floats) -> dict[str, dict[str, float]]:
    """Fit all of `AIMS`.

    ``balanced`` has the threshold with the greatest sensitivity + specificity, ``screening`` the greatest one that
    keeps a sensitivity of 0.95, ``specific`` the least one that keeps a specificity of 0.95.

    Args:
        labels: 0 or 1, both of them.
        probabilities: Calibrated P(fractured).

    Returns:
        The fields of `OperatingPoint` by name of the point.
    """
    thresholds = {
        DEFAULT: choose_threshold(labels, probabilities),
        "screening": _keeping(labels, probabilities, sensitivity=_KEPT),
        "specific": _keeping(labels, probabilities, specificity=_KEPT),
    }
    return {name: asdict(fit_band(labels, probabilities, thresholds[name], aim)) for name, aim in AIMS.items()}


def choose_threshold(labels: Sequence[int], probabilities: Floats) -> float:
    """The threshold with the greatest sensitivity + specificity (Youden, Cancer 1950).

    It lies halfway between the two neighbouring scores, so that rounding in another runtime does not move
    an image of the validation set across it.

    Args:
        labels: 0 or 1.
        probabilities: Calibrated P(fractured).

    Returns:
        A probability; images at or above it are called fractured.
    """
    false_positive, true_positive, thresholds = roc_curve(labels, probabilities, drop_intermediate=False)
    # The first point of the curve calls nothing fractured; a threshold is a score that does.
    best = 1 + int(np.argmax((true_positive - false_positive)[1:]))
    return _just_below(float(thresholds[best]), probabilities)


def _keeping(
    labels: Sequence[int], probabilities: Floats, *, sensitivity: float = 0.0, specificity: float = 0.0
) -> float:
    """The threshold that is best for one class while the other keeps its share."""
    false_positive, true_positive, thresholds = (
        values[1:] for values in roc_curve(labels, probabilities, drop_intermediate=False)
    )
    allowed = (true_positive >= sensitivity) & (1 - false_positive >= specificity)
    if not allowed.any():
        # Only where the highest score belongs to too many images that are not fractured.
        return min(1.0, float(np.nextafter(thresholds.max(), 2)))
    gain = 1 - false_positive if sensitivity else true_positive
    return _just_below(float(thresholds[int(np.argmax(np.where(allowed, gain, -1)))]), probabilities)


def _just_below(score: float, probabilities: Floats) -> float:
    below = probabilities[probabilities < score]
    return (score + float(below.max())) / 2 if below.size else score


def fit_band(labels: Sequence[int], probabilities: Floats, threshold: float, aim: Aim) -> OperatingPoint:
    """Draw the band around a threshold that leaves the fewest images undecided and keeps the aim on the others.

    Where no band keeps it, the one that comes closest to it.

    Args:
        labels: 0 or 1, both of them.
        probabilities: Calibrated P(fractured).
        threshold: Lies within the band, or at its edges.
        aim: For the decided images.
    """
    truth = np.asarray(labels) == 1
    low = np.append(_edges(probabilities[probabilities < threshold], 0.0), threshold)[:, None]
    high = np.insert(_edges(probabilities[probabilities >= threshold], 1.0), 0, threshold)[None, :]
    fractured, others = np.sort(probabilities[truth]), np.sort(probabilities[~truth])
    missed, cleared = (np.searchsorted(scores, low) for scores in (fractured, others))
    found, alarmed = (len(scores) - np.searchsorted(scores, high) for scores in (fractured, others))
    sensitivity, specificity = _share(found, missed), _share(cleared, alarmed)
    undecided = len(truth) - missed - cleared - found - alarmed
    short = np.maximum(aim.sensitivity - sensitivity, aim.specificity - specificity).clip(0)
    # In this order: how far from the aim, how many undecided, how good beyond the aim.
    order = np.lexsort([(-(sensitivity + specificity)).ravel(), undecided.ravel(), short.round(9).ravel()])
    row, column = np.unravel_index(order[0], short.shape)
    return OperatingPoint(
        threshold=threshold,
        uncertain_low=float(low[row, 0]),
        uncertain_high=float(high[0, column]),
        sensitivity=float(sensitivity[row, column]),
        specificity=float(specificity[row, column]),
        uncertain_share=float(undecided[row, column] / len(truth)),
    )


def _edges(scores: Floats, end: float) -> Floats:
    """Halfway between neighbouring scores, and where everything of this side is within the band."""
    distinct = np.unique(scores)
    if len(distinct) > _MOST_EDGES:
        distinct = distinct[np.linspace(0, len(distinct) - 1, _MOST_EDGES).round().astype(int)]
    between = (distinct[1:] + distinct[:-1]) / 2
    outer = [float(distinct[0])] if end == 0.0 and distinct.size else []
    last = [min(1.0, float(np.nextafter(distinct[-1], 2)))] if end == 1.0 and distinct.size else []
    return np.array([*outer, *between, *last])


def _share(right: npt.NDArray[np.int_], wrong: npt.NDArray[np.int_]) -> Floats:
    """Right ones of all decided; nothing decided is as bad as everything wrong."""
    decided = right + wrong
    return np.divide(right, decided, out=np.zeros(decided.shape), where=decided > 0)
