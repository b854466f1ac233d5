"""Operating points: thresholds and uncertain bands, fitted once and then frozen."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from types import MappingProxyType

import numpy as np
import numpy.typing as npt
from sklearn.metrics import roc_curve

from train.artifacts import OUT_OF_FOLD, VALIDATION, OperatingPoint
from train.evaluation.calibration import Floats
from train.evaluation.decided import decided_metrics, decisions

#: Name of the default operating point.
DEFAULT = "balanced"
#: Least sensitivity of `screening` and least specificity of `specific` at the threshold, without a band.
_KEPT = 0.95
#: Largest number of candidate edges of the band on each side, whatever the number of scores.
_MOST_EDGES = 500
#: Steps by which a margin grows, and their largest number: together 0.04, beyond which the target itself is out of
#: reach and the margin would only make more images uncertain.
_STEP, _MOST_STEPS = 0.005, 8


@dataclass(frozen=True, slots=True)
class Aim:
    """Target sensitivity and specificity of an uncertain band, on the images outside it."""

    sensitivity: float
    specificity: float


@dataclass(frozen=True, slots=True)
class Rule:
    """Rule by which an operating point is settled.

    Attributes:
        aim: Target of the band.
        threshold: Function that chooses the threshold from labels, 0 or 1, [N], and P(fractured), [N].
        reason: Use that the point is for, as a phrase.
    """

    aim: Aim
    threshold: Callable[[Sequence[int], Floats], float]
    reason: str


def fit_operating_points(
    labels: Sequence[int],
    probabilities: Floats,
    groups: Sequence[str] | None = None,
    *,
    folds: Sequence[int] | None = None,
) -> dict[str, OperatingPoint]:
    """Fit all operating points of `RULES`.

    A band that just meets its target on the images it is fitted to falls short of it on other images about half
    of the time. Where there are folds, that is seen: each fold is decided by a point that was fitted to the
    other folds. While the decisions of all folds together fall short in sensitivity or specificity, the target
    of that one is raised by 0.005, up to 0.04. The point is then fitted to all images with the raised target.

    Args:
        labels: Labels, 0 or 1, [N]; both classes must occur, also where any one of the folds is left out.
        probabilities: Calibrated P(fractured), [N]; out of fold if `folds` are given, else of validation images.
        groups: Group of each image, [N], for the intervals; each image is its own group when ``None``.
        folds: Fold of each image, [N]; ``None`` for no margin.

    Returns:
        Operating points by name, in the order of `RULES`.
    """
    names = [str(row) for row in range(len(labels))] if groups is None else groups
    return {
        name: _settle(rule, np.asarray(labels), np.asarray(probabilities, np.float64), names, folds)
        for name, rule in RULES.items()
    }


def _settle(
    rule: Rule,
    labels: npt.NDArray[np.int_],
    probabilities: Floats,
    groups: Sequence[str],
    folds: Sequence[int] | None,
) -> OperatingPoint:
    aim, nested = rule.aim, None
    if folds is not None:
        aim, decided = _with_margin(rule, labels, probabilities, np.asarray(folds))
        nested = decided_metrics(labels, decided, groups)
    point = fit_band(labels.tolist(), probabilities, rule.threshold(labels.tolist(), probabilities), aim)
    metrics = decided_metrics(labels, decisions(probabilities, point.policy), groups)
    return replace(
        point,
        images=VALIDATION if folds is None else OUT_OF_FOLD,
        sensitivity_interval=metrics.sensitivity_interval,
        specificity_interval=metrics.specificity_interval,
        uncertain_share_interval=metrics.uncertain_share_interval,
        sensitivity_margin=round(aim.sensitivity - rule.aim.sensitivity, 4),
        specificity_margin=round(aim.specificity - rule.aim.specificity, 4),
        nested=nested,
    )


def _with_margin(
    rule: Rule, labels: npt.NDArray[np.int_], probabilities: Floats, folds: npt.NDArray[np.int_]
) -> tuple[Aim, npt.NDArray[np.int_]]:
    """Raise a target until the nested decisions reach it.

    Returns:
        The raised target, and the nested decisions with it, as those of `decisions`, [N].
    """
    steps = {"sensitivity": 0, "specificity": 0}
    while True:
        aim = Aim(
            min(1.0, rule.aim.sensitivity + _STEP * steps["sensitivity"]),
            min(1.0, rule.aim.specificity + _STEP * steps["specificity"]),
        )
        decided = nested_decisions(replace(rule, aim=aim), labels, probabilities, folds)
        found = decided_metrics(labels, decided)
        short = [
            name
            for name, taken in steps.items()
            if getattr(found, name) < getattr(rule.aim, name) and taken < _MOST_STEPS and getattr(aim, name) < 1
        ]
        if not short:
            return aim, decided
        for name in short:
            steps[name] += 1


def raised(rule: Rule, point: OperatingPoint) -> Rule:
    """Return a rule whose target is raised by the margins of a point that was settled by it."""
    margins = point.sensitivity_margin, point.specificity_margin
    return replace(rule, aim=Aim(rule.aim.sensitivity + margins[0], rule.aim.specificity + margins[1]))


def nested_decisions(
    rule: Rule, labels: npt.NDArray[np.int_], probabilities: Floats, folds: npt.NDArray[np.int_]
) -> npt.NDArray[np.int_]:
    """Decide each fold by a point that is fitted to the other folds.

    Args:
        rule: Rule of the point.
        labels: Labels, 0 or 1, [N].
        probabilities: P(fractured), [N].
        folds: Fold of each image, [N].

    Returns:
        Decisions as those of `train.evaluation.decided.decisions`, [N].
    """
    decided = np.zeros(len(labels), np.int_)
    for fold in np.unique(folds):
        others, held = folds != fold, folds == fold
        fitted_to, scores = labels[others].tolist(), probabilities[others]
        point = fit_band(fitted_to, scores, rule.threshold(fitted_to, scores), rule.aim)
        decided[held] = decisions(probabilities[held], point.policy)
    return decided


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


#: Rules of all operating points. `balanced` is the default: of ten decided images of a class nine are right.
#: `certain` asks for 95 of 100, which costs most of the answers of a model of medium quality. `screening` and
#: `specific` ask for it on one side and give way on the other (0.80): a purpose that weighs one mistake more
#: heavily has no use for a model that leaves nearly everything open.
RULES: Mapping[str, Rule] = MappingProxyType(
    {
        DEFAULT: Rule(Aim(0.90, 0.90), choose_threshold, "both mistakes matter alike"),
        "certain": Rule(
            Aim(0.95, 0.95),
            choose_threshold,
            "a wrong answer is worse than none: most images are left open",
        ),
        "screening": Rule(
            Aim(0.95, 0.80),
            lambda labels, scores: _keeping(labels, scores, sensitivity=_KEPT),
            "a missed fracture is worse than a false alarm",
        ),
        "specific": Rule(
            Aim(0.80, 0.95),
            lambda labels, scores: _keeping(labels, scores, specificity=_KEPT),
            "a false alarm is worse than a missed fracture",
        ),
    }
)
#: Targets of all operating points, without margins.
AIMS: Mapping[str, Aim] = MappingProxyType({name: rule.aim for name, rule in RULES.items()})


def fit_band(labels: Sequence[int], probabilities: Floats, threshold: float, aim: Aim) -> OperatingPoint:
    """Fit the band around a threshold with the fewest images inside whose other images reach `aim`.

    Where no band reaches it, the one that comes closest is chosen.

    Args:
        labels: Labels, 0 or 1, [N]; both classes must occur.
        probabilities: Calibrated P(fractured), [N].
        threshold: Threshold inside the band, or at one of its edges.
        aim: Target sensitivity and specificity on the images outside the band.

    Returns:
        The point with its metrics on these images, without intervals.
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
    # The least shortfall from the aim, then the fewest undecided images, then the greatest sum of both figures.
    best = np.ones(short.shape, bool)
    for cost in (short.round(9), undecided, -(sensitivity + specificity)):
        best &= cost == cost[best].min()
    row, column = np.unravel_index(int(best.argmax()), best.shape)
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
