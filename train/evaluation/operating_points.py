"""Operating points: thresholds and uncertain bands, fitted on validation images and then frozen."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from types import MappingProxyType

import numpy as np
import numpy.typing as npt
from sklearn.metrics import roc_curve

from train.evaluation.calibration import Floats

#: Name of the default operating point.
DEFAULT = "balanced"
#: Least sensitivity of `screening` and least specificity of `specific` at the threshold, without a band.
_KEPT = 0.95
#: Largest number of candidate edges of the band on each side, whatever the number of scores.
_MOST_EDGES = 500


@dataclass(frozen=True, slots=True)
class Aim:
    """Target sensitivity and specificity of an uncertain band, on the images outside it."""

    sensitivity: float
    specificity: float


AIMS = MappingProxyType({DEFAULT: Aim(0.95, 0.95), "screening": Aim(0.98, 0.90), "specific": Aim(0.90, 0.98)})


@dataclass(frozen=True, slots=True)
class OperatingPoint:
    """Threshold and uncertain band on P(fractured), with metrics of the validation images they were fitted to.

    Attributes:
        threshold: Decision threshold where no band is used; at or above it an image is predicted fractured.
        uncertain_low: Lower edge of the band; below it an image is predicted not fractured.
        uncertain_high: Upper edge of the band; at or above it an image is predicted fractured. uncertain_low <=
            threshold <= uncertain_high.
        sensitivity: Sensitivity on the images outside the band.
        specificity: Specificity on the images outside the band.
        uncertain_share: Share of images inside the band, 0 to 1.
    """

    threshold: float
    uncertain_low: float
    uncertain_high: float
    sensitivity: float
    specificity: float
    uncertain_share: float


def fit_operating_points(labels: Sequence[int], probabilities: Floats) -> dict[str, dict[str, float]]:
    """Fit all operating points of `AIMS`.

    ``balanced`` has the threshold with the greatest sensitivity + specificity, ``screening`` the greatest one with
    a sensitivity of at least 0.95, ``specific`` the least one with a specificity of at least 0.95.

    Args:
        labels: Labels, 0 or 1, [N]; both classes must occur.
        probabilities: Calibrated P(fractured), [N].

    Returns:
        Fields of `OperatingPoint` by name of the point.
    """
    thresholds = {
        DEFAULT: choose_threshold(labels, probabilities),
        "screening": _keeping(labels, probabilities, sensitivity=_KEPT),
        "specific": _keeping(labels, probabilities, specificity=_KEPT),
    }
    return {name: asdict(fit_band(labels, probabilities, thresholds[name], aim)) for name, aim in AIMS.items()}


def choose_threshold(labels: Sequence[int], probabilities: Floats) -> float:
    """Choose the threshold with the greatest sensitivity + specificity (Youden, Cancer 1950).

    It lies halfway between the two neighbouring scores, so that rounding in another runtime does not move
    an image of the validation set across it.

    Args:
        labels: Labels, 0 or 1, [N].
        probabilities: Calibrated P(fractured), [N].

    Returns:
        Threshold on P(fractured); images at or above it are predicted fractured.
    """
    false_positive, true_positive, thresholds = roc_curve(labels, probabilities, drop_intermediate=False)
    # At the first point of the curve nothing is predicted fractured; a threshold must be a score.
    best = 1 + int(np.argmax((true_positive - false_positive)[1:]))
    return _just_below(float(thresholds[best]), probabilities)


def _keeping(
    labels: Sequence[int], probabilities: Floats, *, sensitivity: float = 0.0, specificity: float = 0.0
) -> float:
    """Choose the threshold with the best value of one metric while the other keeps its minimum."""
    false_positive, true_positive, thresholds = (
        values[1:] for values in roc_curve(labels, probabilities, drop_intermediate=False)
    )
    allowed = (true_positive >= sensitivity) & (1 - false_positive >= specificity)
    if not allowed.any():
        # Happens only where too many images that are not fractured share the highest score.
        return min(1.0, float(np.nextafter(thresholds.max(), 2)))
    gain = 1 - false_positive if sensitivity else true_positive
    return _just_below(float(thresholds[int(np.argmax(np.where(allowed, gain, -1)))]), probabilities)


def _just_below(score: float, probabilities: Floats) -> float:
    below = probabilities[probabilities < score]
    return (score + float(below.max())) / 2 if below.size else score


def fit_band(labels: Sequence[int], probabilities: Floats, threshold: float, aim: Aim) -> OperatingPoint:
    """Fit the band around a threshold with the fewest images inside whose other images reach `aim`.

    Where no band reaches it, the one that comes closest is chosen.

    Args:
        labels: Labels, 0 or 1, [N]; both classes must occur.
        probabilities: Calibrated P(fractured), [N].
        threshold: Threshold inside the band, or at one of its edges.
        aim: Target sensitivity and specificity on the images outside the band.
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
    # Sorted by shortfall from the aim, then number of undecided images, then sensitivity + specificity.
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
    """Compute candidate edges: midpoints of neighbouring scores, and one that puts all scores inside the band."""
    distinct = np.unique(scores)
    if len(distinct) > _MOST_EDGES:
        distinct = distinct[np.linspace(0, len(distinct) - 1, _MOST_EDGES).round().astype(int)]
    between = (distinct[1:] + distinct[:-1]) / 2
    outer = [float(distinct[0])] if end == 0.0 and distinct.size else []
    last = [min(1.0, float(np.nextafter(distinct[-1], 2)))] if end == 1.0 and distinct.size else []
    return np.array([*outer, *between, *last])


def _share(right: npt.NDArray[np.int_], wrong: npt.NDArray[np.int_]) -> Floats:
    """Compute the share of correct among decided images; 0 where none is decided."""
    decided = right + wrong
    return np.divide(right, decided, out=np.zeros(decided.shape), where=decided > 0)
