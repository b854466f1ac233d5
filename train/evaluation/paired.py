"""Paired comparison of two forms of a model on the same images: changes of metrics, and McNemar's test."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
from scipy.stats import binomtest

from train.evaluation import bootstrap
from train.evaluation.bootstrap import Roc
from train.evaluation.metrics import UNDEFINED, Estimate, percentile

Floats = npt.NDArray[np.floating[Any]]
_CHANGES = ("auroc_change", "sensitivity_change", "specificity_change")


@dataclass(frozen=True, slots=True)
class McNemar:
    """McNemar's test (Psychometrika 1947) of the hypothesis that two classifiers have the same error rate.

    Dietterich (Neural Computation 1998) recommends it for two classifiers and one test set.

    Attributes:
        only_source_right: Number of images that only the source classifies correctly.
        only_this_right: Number of images that only the other form classifies correctly.
        p: Two-sided p value of the exact binomial form, which is valid for few such images too. It assumes that
            images are independent.
    """

    only_source_right: int
    only_this_right: int
    p: float


class Differences(NamedTuple):
    """Largest and mean absolute difference between probabilities."""

    largest: float
    mean: float


@dataclass(frozen=True, slots=True)
class PairedComparison:
    """Comparison of a source model with another form of it; a change is the other's value minus the source's.

    Attributes:
        agreement: Share of images with the same decision, 0 to 1.
        largest_difference: Largest absolute difference of P(fractured).
        mean_difference: Mean absolute difference of P(fractured).
        auroc_change: Change of AUROC, with the 95 % interval of a paired bootstrap over groups.
        sensitivity_change: Change of sensitivity at the threshold, with such an interval.
        specificity_change: Change of specificity at the threshold, with such an interval.
        mcnemar: McNemar's test of the decisions.
    """

    agreement: float
    largest_difference: float
    mean_difference: float
    auroc_change: Estimate
    sensitivity_change: Estimate
    specificity_change: Estimate
    mcnemar: McNemar

    def to_json(self) -> dict[str, Any]:
        """Convert to plain values, with ``None`` for an undefined change."""
        return asdict(self) | {name: getattr(self, name).to_json() for name in _CHANGES}


def compare_pairs(
    labels: Sequence[int],
    groups: Sequence[str],
    source: Floats,
    other: Floats,
    threshold: float,
    *,
    resamples: int = 2000,
    seed: int = 0,
) -> PairedComparison:
    """Compare the predictions of two forms of one model, image by image.

    Args:
        labels: Labels, 0 or 1, [N].
        groups: Group of each image, [N]; images of a group are not independent.
        source: P(fractured) by the source model, [N].
        other: P(fractured) by the other form, for the same images, [N].
        threshold: Frozen decision threshold.
        resamples: Number of bootstrap samples. Groups are sampled, the same ones for both forms.
        seed: Random seed of the bootstrap.

    Returns:
        The comparison. For equal predictions all changes are exactly 0 and p is 1; where a class is missing the
        changes are undefined (NaN).
    """
    truth = np.asarray(labels) == 1
    before, after = np.asarray(source, np.float64), np.asarray(other, np.float64)
    predicted_before, predicted_after = before >= threshold, after >= threshold
    apart = differences(before, after)
    changes = _changes(truth, groups, before, after, threshold, resamples=resamples, seed=seed)
    return PairedComparison(
        agreement=float((predicted_before == predicted_after).mean()),
        largest_difference=apart.largest,
        mean_difference=apart.mean,
        auroc_change=changes["auroc_change"],
        sensitivity_change=changes["sensitivity_change"],
        specificity_change=changes["specificity_change"],
        mcnemar=mcnemar(predicted_before == truth, predicted_after == truth),
    )


def differences(source: Floats, other: Floats) -> Differences:
    """Compute largest and mean absolute difference of two arrays; NaN if either contains NaN."""
    gaps = np.abs(np.asarray(source, np.float64) - np.asarray(other, np.float64))
    return Differences(float(gaps.max()), float(gaps.mean()))


def mcnemar(source_right: npt.NDArray[np.bool_], other_right: npt.NDArray[np.bool_]) -> McNemar:
    """Compute McNemar's exact test.

    Args:
        source_right: Whether the source's decision is correct, boolean [N].
        other_right: Whether the other's decision is correct, boolean [N].
    """
    only_source = int((source_right & ~other_right).sum())
    only_other = int((other_right & ~source_right).sum())
    differing = only_source + only_other
    # Under the null hypothesis each is right in half of the images on which the two differ.
    p = float(binomtest(only_source, differing, 0.5).pvalue) if differing else 1.0
    return McNemar(only_source, only_other, p)


def _changes(
    truth: npt.NDArray[np.bool_],
    groups: Sequence[str],
    source: Floats,
    other: Floats,
    threshold: float,
    *,
    resamples: int,
    seed: int,
) -> dict[str, Estimate]:
    if truth.all() or not truth.any():
        return dict.fromkeys(_CHANGES, UNDEFINED)

    def metrics(scores: Floats, weights: Floats) -> tuple[Floats, Floats, Floats]:
        return (
            Roc.of(truth, scores, weights).area(),
            bootstrap.share(scores >= threshold, truth, weights),
            bootstrap.share(scores < threshold, ~truth, weights),
        )

    def statistics(weights: Floats) -> Mapping[str, Floats]:
        pairs = zip(metrics(source, weights), metrics(other, weights), strict=True)
        return {name: after - before for name, (before, after) in zip(_CHANGES, pairs, strict=True)}

    values = statistics(np.ones((1, len(truth))))
    resampled = bootstrap.resampled(statistics, truth, groups, resamples=resamples, seed=seed)
    return {name: percentile(float(values[name][0]), resampled[name]) for name in _CHANGES}
