"""Metrics at a frozen threshold, each with a 95 % interval. Fractured is the positive class."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy.stats import binomtest
from sklearn.metrics import (
    average_precision_score,
    balanced_accuracy_score,
    brier_score_loss,
    f1_score,
    roc_auc_score,
    roc_curve,
)

from train import json_records
from train.evaluation import bootstrap
from train.evaluation.bootstrap import Roc

Floats = npt.NDArray[np.floating[Any]]
Ints = npt.NDArray[np.integer[Any]]

#: False positive rate at specificity 0.90. As a literal: 1 - 0.9 is slightly less in floating point and would
#: exclude thresholds whose specificity is exactly 0.90.
_FALSE_POSITIVE_RATE = 0.1
#: Number of bins of the reliability diagram, all with the same number of images.
BINS = 8
_RESAMPLED = (
    "balanced_accuracy",
    "f1",
    "auroc",
    "average_precision",
    "brier",
    "ece",
    "sensitivity_at_specificity_90",
)


@dataclass(frozen=True, slots=True)
class Estimate:
    """Value of a metric with its 95 % interval; all three are NaN where the metric is undefined."""

    value: float
    low: float
    high: float

    @property
    def defined(self) -> bool:
        """Whether the value is not NaN."""
        return not math.isnan(self.value)

    def to_json(self) -> dict[str, float] | None:
        """Convert to value, low and high by name; ``None`` where they are NaN, which JSON lacks."""
        return asdict(self) if self.defined else None

    @classmethod
    def from_json(cls, values: Mapping[str, float] | None) -> "Estimate":
        """Create an estimate from the output of `to_json`."""
        if values is None:
            return UNDEFINED
        return cls(float(values["value"]), float(values["low"]), float(values["high"]))


UNDEFINED = Estimate(math.nan, math.nan, math.nan)
json_records.register(Estimate, Estimate.to_json, Estimate.from_json)


def evaluate(
    labels: Sequence[int],
    probabilities: Floats,
    groups: Sequence[str],
    threshold: float | Floats,
    *,
    resamples: int = 2000,
    seed: int = 0,
) -> dict[str, Estimate]:
    """Compute all metrics with 95 % intervals.

    Proportions have Wilson's interval. The other metrics have the percentile interval of a bootstrap over groups,
    not images: views of one patient are not independent. The calibration error has the basic interval (see
    `basic`) of the same bootstrap samples.

    Args:
        labels: Labels, 0 or 1, [N].
        probabilities: P(fractured), [N].
        groups: Group of each image, [N]; images of a group are not independent.
        threshold: Threshold chosen beforehand, never on these images. One for all, or one for each image, [N].
        resamples: Number of bootstrap samples, shared by all metrics.
        seed: Random seed of the bootstrap.

    Returns:
        Estimates by name. At the threshold: ``accuracy``, ``precision``, ``recall``, ``specificity``,
        ``balanced_accuracy``, ``f1``. Of the probabilities: ``auroc``, ``average_precision``, ``brier``, ``ece``
        (`bootstrap.calibration_error`) and ``sensitivity_at_specificity_90``, the greatest sensitivity at any
        threshold whose specificity on these images is at least 0.90. Where a class is missing all but the
        proportions are NaN.
    """
    found = proportions(labels, probabilities, threshold)
    truth, scores = np.asarray(labels) == 1, np.asarray(probabilities, np.float64)
    if truth.all() or not truth.any():
        return found | dict.fromkeys(_RESAMPLED, UNDEFINED)
    predicted = scores >= threshold

    def statistics(weights: Floats) -> Mapping[str, Floats]:
        curve = Roc.of(truth, scores, weights)
        sensitivity = bootstrap.share(predicted, truth, weights)
        specificity = bootstrap.share(~predicted, ~truth, weights)
        return {
            "balanced_accuracy": (sensitivity + specificity) / 2,
            "f1": bootstrap.f1(predicted, truth, weights),
            "auroc": curve.area(),
            "average_precision": curve.average_precision(),
            "brier": bootstrap.mean((scores - truth) ** 2, weights),
            "ece": bootstrap.calibration_error(truth, scores, weights),
            "sensitivity_at_specificity_90": curve.sensitivity(false_positive_rate=_FALSE_POSITIVE_RATE),
        }

    values = {
        "balanced_accuracy": balanced_accuracy_score(truth, predicted),
        "f1": f1_score(truth, predicted),
        "auroc": roc_auc_score(truth, scores),
        "average_precision": average_precision_score(truth, scores),
        "brier": brier_score_loss(truth, scores),
        "ece": bootstrap.calibration_error(truth, scores, np.ones((1, len(truth))))[0],
        "sensitivity_at_specificity_90": _sensitivity(truth, scores),
    }
    resampled = bootstrap.resampled(statistics, truth, groups, resamples=resamples, seed=seed)
    intervals = dict.fromkeys(values, percentile) | {"ece": basic}
    return found | {name: intervals[name](float(value), resampled[name]) for name, value in values.items()}


def _sensitivity(truth: npt.NDArray[np.bool_], scores: Floats) -> float:
    false_positive_rates, sensitivities, _ = roc_curve(truth, scores, drop_intermediate=False)
    return float(sensitivities[false_positive_rates <= _FALSE_POSITIVE_RATE].max())


def proportions(labels: Sequence[int], probabilities: Floats, threshold: float | Floats) -> dict[str, Estimate]:
    """Compute accuracy, precision, recall and specificity at `threshold`; NaN where the denominator is 0."""
    counts = confusion(labels, probabilities, threshold)
    hits, rejections = counts["true_positive"], counts["true_negative"]
    return {
        "accuracy": wilson(hits + rejections, len(labels)),
        "precision": wilson(hits, hits + counts["false_positive"]),
        "recall": wilson(hits, hits + counts["false_negative"]),
        "specificity": wilson(rejections, rejections + counts["false_positive"]),
    }


def auroc(
    labels: Sequence[int],
    probabilities: Floats,
    groups: Sequence[str],
    *,
    resamples: int = 2000,
    seed: int = 0,
) -> Estimate:
    """Compute the area under the ROC curve with its bootstrap interval; NaN where a class is missing.

    Args:
        labels: Labels, 0 or 1, [N].
        probabilities: P(fractured), [N].
        groups: Group of each image, [N].
        resamples: Number of bootstrap samples.
        seed: Random seed of the bootstrap.
    """
    truth, scores = np.asarray(labels) == 1, np.asarray(probabilities, np.float64)
    if truth.all() or not truth.any():
        return UNDEFINED
    resampled = bootstrap.resampled(
        lambda weights: {"auroc": Roc.of(truth, scores, weights).area()},
        truth,
        groups,
        resamples=resamples,
        seed=seed,
    )
    return percentile(float(roc_auc_score(truth, scores)), resampled["auroc"])


def confusion(labels: Sequence[int], probabilities: Floats, threshold: float | Floats) -> dict[str, int]:
    """Count true and false positives and negatives at `threshold`."""
    truth = np.asarray(labels) == 1
    predicted = np.asarray(probabilities) >= threshold
    return {
        "true_positive": int((predicted & truth).sum()),
        "false_positive": int((predicted & ~truth).sum()),
        "true_negative": int((~predicted & ~truth).sum()),
        "false_negative": int((~predicted & truth).sum()),
    }


def wilson(successes: int, trials: int) -> Estimate:
    """Compute a proportion with Wilson's score interval (Wilson, JASA 1927, without continuity correction)."""
    if trials == 0:
        return UNDEFINED
    interval = binomtest(successes, trials).proportion_ci(method="wilson")
    return Estimate(successes / trials, float(interval.low), float(interval.high))


def percentile(value: float, samples: Floats) -> Estimate:
    """Compute the percentile interval: the 2.5 % and 97.5 % quantiles of the bootstrap values.

    The interval is widened to contain `value`, from which identical bootstrap values may differ by rounding.
    """
    low, high = (float(point) for point in np.quantile(samples, (0.025, 0.975)))
    return Estimate(value, min(value, low), max(value, high))


def basic(value: float, samples: Floats) -> Estimate:
    """Compute the basic interval of a metric between 0 and 1: the percentiles reflected at the value.

    For metrics that resampling biases upwards (Davison and Hinkley, Bootstrap Methods, 1997, section 5.2). A
    calibration error sums absolute differences: chance raises it, in a bootstrap sample more than in the data, so
    that the percentiles lie above the true value where that is small.
    """
    low, high = (float(point) for point in np.quantile(samples, (0.025, 0.975)))
    return Estimate(value, max(0.0, 2 * value - high), min(1.0, max(value, 2 * value - low)))


def reliability(labels: npt.ArrayLike, scores: Floats) -> tuple[Floats, Floats, Floats, Floats]:
    """Compute mean probability and share of fractured images in `BINS` bins with equal numbers of images.

    Args:
        labels: Labels, 0 or 1, [N].
        scores: P(fractured), [N].

    Returns:
        Mean probability, share, and lower and upper end of Wilson's 95 % interval of the share, one value per bin.
    """
    order = np.argsort(scores, kind="stable")
    truth = np.asarray(labels)
    bins = [rows for rows in np.array_split(order, BINS) if len(rows)]
    estimates = [wilson(int(truth[rows].sum()), len(rows)) for rows in bins]
    return (
        np.array([scores[rows].mean() for rows in bins]),
        np.array([estimate.value for estimate in estimates]),
        np.array([estimate.low for estimate in estimates]),
        np.array([estimate.high for estimate in estimates]),
    )
