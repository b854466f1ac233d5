"""Two forms of one model on the same images: what changed, and whether chance explains it."""

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
    """McNemar's test (Psychometrika 1947): are the two wrong equally often?

    Dietterich (Neural Computation 1998) recommends it for two classifiers and one test set.

    Attributes:
        only_source_right: Images that only the source decides rightly.
        only_this_right: Images that only the other decides rightly.
        p: Two-sided, of the exact binomial form, which holds for few such images too. It takes images for
            independent.
    """

    only_source_right: int
    only_this_right: int
    p: float


class Differences(NamedTuple):
    """Largest and mean absolute difference of probabilities."""

    largest: float
    mean: float


@dataclass(frozen=True, slots=True)
class PairedComparison:
    """What became of a source's probabilities in another form; changes are other less source.

    Attributes:
        agreement: Share of equal decisions.
        largest_difference: Of probability, absolute.
        mean_difference: Likewise.
        auroc_change: With the interval of a paired bootstrap over groups, like the next two.
        sensitivity_change: At the threshold.
        specificity_change: At the threshold.
        mcnemar: Of the decisions.
    """

    agreement: float
    largest_difference: float
    mean_difference: float
    auroc_change: Estimate
    sensitivity_change: Estimate
    specificity_change: Estimate
    mcnemar: McNemar

    def to_json(self) -> dict[str, Any]:
        """All of it as plain values; ``None`` for a change that is not defined."""
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
    """Compare the probabilities of two forms of one model, image by image.

    Args:
        labels: 0 or 1, N.
        groups: What belongs together, N names.
        source: P(fractured), [N].
        other: P(fractured) of the same images, [N].
        threshold: The frozen threshold.
        resamples: Of the bootstrap, which draws groups, the same for both.
        seed: Of the bootstrap.

    Returns:
        The comparison. Equal probabilities change exactly nothing, with p = 1; without both classes the changes
        are not defined.
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
    """Compute the absolute differences of two arrays of probabilities; NaN where one has a NaN."""
    gaps = np.abs(np.asarray(source, np.float64) - np.asarray(other, np.float64))
    return Differences(float(gaps.max()), float(gaps.mean()))


def mcnemar(source_right: npt.NDArray[np.bool_], other_right: npt.NDArray[np.bool_]) -> McNemar:
    """McNemar's exact test of which decisions are right, [N] each."""
    only_source = int((source_right & ~other_right).sum())
    only_other = int((other_right & ~source_right).sum())
    differing = only_source + only_other
    # Of the images on which the two differ, chance gives half to either.
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

    def figures(scores: Floats, weights: Floats) -> tuple[Floats, Floats, Floats]:
        return (
            Roc.of(truth, scores, weights).area(),
            bootstrap.share(scores >= threshold, truth, weights),
            bootstrap.share(scores < threshold, ~truth, weights),
        )

    def statistics(weights: Floats) -> Mapping[str, Floats]:
        pairs = zip(figures(source, weights), figures(other, weights), strict=True)
        return {name: after - before for name, (before, after) in zip(_CHANGES, pairs, strict=True)}

    values = statistics(np.ones((1, len(truth))))
    drawn = bootstrap.resampled(statistics, truth, groups, resamples=resamples, seed=seed)
    return {name: percentile(float(values[name][0]), drawn[name]) for name in _CHANGES}
