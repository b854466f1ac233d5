"""A bootstrap over groups that takes many draws at once.

A draw is a row of weights: how often each image was drawn. The statistics here take such rows, [draws, N], and
give one value per row, so that 2,000 draws cost a few matrix products; scikit-learn, one draw at a time, took
minutes for the figures of a whole benchmark. With weights of one they equal scikit-learn's.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[Any]
Floats = npt.NDArray[np.floating[Any]]

#: Rows of weights at a time: 4,000 images then take 8 MB.
_AT_ONCE = 250

#: Between the ten bins of the calibration error. Guo et al. take 15 for 10,000 images; a test split has hundreds.
_EDGES = np.arange(1, 10) / 10


def resample_weights(labels: Array, groups: Sequence[str], *, resamples: int, seed: int) -> Iterator[Floats]:
    """Draw as many groups as there are, with replacement; draws without both classes are drawn again.

    Args:
        labels: 0 or 1, both of them, [N].
        groups: Group of each image.
        resamples: Number of draws.
        seed: Of the draws.

    Yields:
        Weights, [draws, N], some draws at a time.
    """
    codes = np.unique(np.asarray(groups), return_inverse=True)[1]
    count = int(codes.max()) + 1
    random = np.random.default_rng(seed)
    left = resamples
    while left:
        drawn = random.integers(count, size=(_AT_ONCE, count))
        drawn += count * np.arange(_AT_ONCE)[:, None]
        times = np.bincount(drawn.ravel(), minlength=_AT_ONCE * count).reshape(_AT_ONCE, count)
        weights = times[:, codes].astype(np.float64)
        fractured = weights @ labels
        weights = weights[(fractured > 0) & (fractured < weights.sum(axis=1))][:left]
        left -= len(weights)
        yield weights


def resampled(
    statistics: Callable[[Floats], Mapping[str, Floats]],
    labels: Array,
    groups: Sequence[str],
    *,
    resamples: int,
    seed: int,
) -> dict[str, Floats]:
    """Several statistics of the same draws.

    Args:
        statistics: Takes weights, [draws, N]; gives values by name, [draws].
        labels: As in `resample_weights`, like the rest.
        groups: Group of each image.
        resamples: Number of draws.
        seed: Of the draws.

    Returns:
        The values of all draws by name, [resamples].
    """
    parts = [statistics(weights) for weights in resample_weights(labels, groups, resamples=resamples, seed=seed)]
    return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}


def share(chosen: Array, among: Array, weights: Floats) -> Floats:
    """The share of images that are `chosen` (boolean, [N]) among those that are `among`."""
    return (weights @ (chosen & among)) / (weights @ among)


def mean(values: Floats, weights: Floats) -> Floats:
    """The mean of `values`, [N]."""
    return (weights @ values) / weights.sum(axis=1)


def f1(predicted: Array, truth: Array, weights: Floats) -> Floats:
    """F1, 2 TP / (2 TP + FP + FN), of two boolean arrays, [N]."""
    return 2 * (weights @ (predicted & truth)) / (weights @ predicted + weights @ truth)


def calibration_error(truth: Array, scores: Floats, weights: Floats) -> Floats:
    """Expected calibration error of P(fractured) in ten bins of equal width, closed on the right.

    The difference between mean probability and share of fractured in each bin, weighted by its images (Naeini
    et al., AAAI 2015; the bins as in Guo et al., ICML 2017).
    """
    bins = np.digitize(scores, _EDGES, right=True)
    gaps = np.eye(len(_EDGES) + 1)[bins] * (scores - truth)[:, None]
    return np.abs(weights @ gaps).sum(axis=1) / weights.sum(axis=1)


@dataclass(frozen=True, slots=True)
class Roc:
    """The ROC curve of each draw.

    Attributes:
        hits: True positives when everything from a score on counts as fractured: the highest score first, after
            a column of zeros, [draws, scores + 1].
        alarms: False positives, likewise.
    """

    hits: Floats
    alarms: Floats

    @classmethod
    def of(cls, truth: Array, scores: Floats, weights: Floats) -> "Roc":
        """The curve of `scores`, [N], with every score a threshold; both classes must be drawn."""
        order = np.argsort(-scores, kind="stable")
        last_of_ties = np.append(np.flatnonzero(np.diff(scores[order])), len(scores) - 1)
        sums = []
        for wanted in (truth, ~truth):
            cumulated = np.cumsum(weights[:, order] * wanted[order], axis=1)[:, last_of_ties]
            sums.append(np.pad(cumulated, ((0, 0), (1, 0))))
        return cls(*sums)

    def area(self) -> Floats:
        """AUROC, by trapezoids: ties count half."""
        steps = np.diff(self.alarms, axis=1)
        heights = (self.hits[:, 1:] + self.hits[:, :-1]) / 2
        return (steps * heights).sum(axis=1) / (self.hits[:, -1] * self.alarms[:, -1])

    def average_precision(self) -> Floats:
        """Precision at each score, weighted by the recall it adds."""
        hits, predicted = self.hits[:, 1:], (self.hits + self.alarms)[:, 1:]
        # Before the first drawn image nothing is predicted, and no recall added.
        precision = np.divide(hits, predicted, out=np.zeros_like(hits), where=predicted > 0)
        return (np.diff(self.hits, axis=1) * precision).sum(axis=1) / self.hits[:, -1]

    def sensitivity(self, *, false_positive_rate: float) -> Floats:
        """The greatest sensitivity among thresholds with at most this rate of false positives."""
        allowed = self.alarms / self.alarms[:, -1:] <= false_positive_rate
        return np.where(allowed, self.hits, 0).max(axis=1) / self.hits[:, -1]
