"""Figures of merit at a frozen threshold, each with a 95 % interval. Fractured is the positive class."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from sklearn.metrics import f1_score, roc_auc_score

Floats = npt.NDArray[np.floating[Any]]
Ints = npt.NDArray[np.integer[Any]]

#: Two-sided 95 % quantile of the normal distribution.
_Z95 = 1.959963984540054


@dataclass(frozen=True, slots=True)
class Estimate:
    """A figure with its 95 % interval; all three are NaN where the figure is not defined."""

    value: float
    low: float
    high: float


def evaluate(
    labels: Sequence[int],
    probabilities: Floats,
    groups: Sequence[str],
    threshold: float | Floats,
    *,
    resamples: int = 2000,
    seed: int = 0,
) -> dict[str, Estimate]:
    """Accuracy, precision, recall, specificity and F1 at `threshold`, and AUROC.

    Proportions have Wilson's interval. F1 and AUROC have the percentile interval of a bootstrap that draws
    groups, not images: views of one patient are not independent.

    Args:
        labels: 0 or 1.
        probabilities: P(fractured), [N].
        groups: What belongs together, N names.
        threshold: Settled before; never chosen on these images. One for all, or one for each image.
        resamples: Of the bootstrap.
        seed: Of the bootstrap.

    Returns:
        Estimates by name.
    """
    truth = np.asarray(labels)
    scores = np.asarray(probabilities, np.float64)
    called = (scores >= threshold).astype(int)
    hits = int(((called == 1) & (truth == 1)).sum())
    rejections = int(((called == 0) & (truth == 0)).sum())

    def f1(rows: Ints) -> float:
        return float(f1_score(truth[rows], called[rows], zero_division=0.0))

    return {
        "accuracy": wilson(hits + rejections, len(truth)),
        "precision": wilson(hits, int(called.sum())),
        "recall": wilson(hits, int(truth.sum())),
        "specificity": wilson(rejections, int((1 - truth).sum())),
        "f1": group_bootstrap(f1, truth, groups, resamples=resamples, seed=seed),
        "auroc": auroc(labels, probabilities, groups, resamples=resamples, seed=seed),
    }


def auroc(
    labels: Sequence[int],
    probabilities: Floats,
    groups: Sequence[str],
    *,
    resamples: int = 2000,
    seed: int = 0,
) -> Estimate:
    """Area under the ROC curve with its bootstrap interval; arguments as in `evaluate`."""
    truth, scores = np.asarray(labels), np.asarray(probabilities, np.float64)
    return group_bootstrap(
        lambda rows: float(roc_auc_score(truth[rows], scores[rows])),
        truth,
        groups,
        resamples=resamples,
        seed=seed,
    )


def confusion(labels: Sequence[int], probabilities: Floats, threshold: float | Floats) -> dict[str, int]:
    """True and false positives and negatives at `threshold`."""
    truth = np.asarray(labels) == 1
    called = np.asarray(probabilities) >= threshold
    return {
        "true_positive": int((called & truth).sum()),
        "false_positive": int((called & ~truth).sum()),
        "true_negative": int((~called & ~truth).sum()),
        "false_negative": int((~called & truth).sum()),
    }


def wilson(successes: int, trials: int) -> Estimate:
    """A proportion with Wilson's score interval (Wilson, JASA 1927, without continuity correction)."""
    if trials == 0:
        return Estimate(math.nan, math.nan, math.nan)
    share = successes / trials
    z2 = _Z95**2 / trials
    centre = (share + z2 / 2) / (1 + z2)
    half = _Z95 * math.sqrt(share * (1 - share) / trials + z2 / (4 * trials)) / (1 + z2)
    # At 0 and at 1 the bound is exact; rounding must not put the share outside its own interval.
    low = 0.0 if successes == 0 else centre - half
    high = 1.0 if successes == trials else centre + half
    return Estimate(share, low, high)


def group_bootstrap(
    statistic: Callable[[Ints], float],
    labels: npt.NDArray[Any],
    groups: Sequence[str],
    *,
    resamples: int,
    seed: int,
) -> Estimate:
    """A statistic with the percentile interval of a bootstrap over groups.

    Args:
        statistic: Takes row numbers, repeated as drawn.
        labels: 0 or 1; draws without both classes are drawn again.
        groups: Group of each row.
        resamples: Number of draws.
        seed: Of the draws.

    Returns:
        The statistic of all rows, and the 2.5 % and 97.5 % points of the draws.
    """
    codes = np.unique(np.asarray(groups), return_inverse=True)[1]
    order = np.argsort(codes, kind="stable")
    members = np.split(order, np.cumsum(np.bincount(codes))[:-1])
    if len(set(labels.tolist())) < 2:
        return Estimate(math.nan, math.nan, math.nan)
    random = np.random.default_rng(seed)
    values: list[float] = []
    while len(values) < resamples:
        rows = np.concatenate([members[k] for k in random.integers(len(members), size=len(members))])
        if 0 < labels[rows].sum() < len(rows):
            values.append(statistic(rows))
    low, high = np.quantile(values, (0.025, 0.975))
    return Estimate(statistic(np.arange(len(labels))), float(low), float(high))
