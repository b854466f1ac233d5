"""Metrics of decisions with an uncertain band: of the decided images, and the share of the others."""

from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np
import numpy.typing as npt

from fracture_edge.policy import Policy
from train.artifacts import DecidedMetrics
from train.evaluation import bootstrap
from train.evaluation.bootstrap import Floats
from train.evaluation.metrics import percentile, wilson

Ints = npt.NDArray[np.int_]
_NAMES = ("sensitivity", "specificity", "uncertain_share")


def decisions(probabilities: npt.ArrayLike, policy: Policy) -> Ints:
    """Decide images by a policy: 1 fractured, -1 not fractured, 0 uncertain, [N]; see `Policy.decide`."""
    scores = np.asarray(probabilities)
    uncertain = (scores >= policy.uncertain_low) & (scores < policy.uncertain_high)
    return np.where(uncertain, 0, np.where(scores >= policy.threshold, 1, -1))


def decided_metrics(
    labels: npt.ArrayLike,
    decided: Ints,
    groups: Sequence[str] | None = None,
    *,
    resamples: int = 2000,
    seed: int = 0,
) -> DecidedMetrics:
    """Compute sensitivity and specificity of the decided images and the share of uncertain ones.

    Args:
        labels: Labels, 0 or 1, [N]; both classes must occur.
        decided: Decisions as those of `decisions`, [N].
        groups: Group of each image, [N]; no intervals when ``None``.
        resamples: Number of bootstrap samples of groups.
        seed: Random seed of the bootstrap.

    Returns:
        The metrics; sensitivity or specificity is 0 where no image of the class is decided. Intervals are 95 %
        percentile intervals; samples without a decided image of the class are left out of theirs, and where that
        leaves none the interval is ``None``. Where all or none of the decided images are right every sample is
        alike, and the interval is Wilson's for the number of their groups.
    """
    truth = np.asarray(labels) == 1
    right = {"sensitivity": truth, "specificity": ~truth}

    def statistics(weights: Floats) -> Mapping[str, Floats]:
        return {
            "sensitivity": _share(weights, (decided == 1) & truth, (decided != 0) & truth),
            "specificity": _share(weights, (decided == -1) & ~truth, (decided != 0) & ~truth),
            "uncertain_share": bootstrap.mean((decided == 0).astype(np.float64), weights),
        }

    found = statistics(np.ones((1, len(truth))))
    values = {name: float(np.nan_to_num(found[name][0])) for name in _NAMES}
    plain = DecidedMetrics(
        sensitivity=values["sensitivity"],
        specificity=values["specificity"],
        uncertain_share=values["uncertain_share"],
    )
    if groups is None:
        return plain
    samples = bootstrap.resampled(statistics, truth, groups, resamples=resamples, seed=seed)
    intervals: dict[str, tuple[float, float] | None] = {}
    for name in _NAMES:
        defined = samples[name][np.isfinite(samples[name])]
        estimate = percentile(values[name], defined) if len(defined) else None
        if estimate and name in right and values[name] in (0, 1):
            shown = right[name] & (decided != 0)
            count = len({group for group, each in zip(groups, shown, strict=True) if each})
            estimate = wilson(round(values[name]) * count, count)
        intervals[name] = (estimate.low, estimate.high) if estimate else None
    return replace(
        plain,
        sensitivity_interval=intervals["sensitivity"],
        specificity_interval=intervals["specificity"],
        uncertain_share_interval=intervals["uncertain_share"],
    )


def _share(weights: Floats, right: npt.NDArray[np.bool_], decided: npt.NDArray[np.bool_]) -> Floats:
    """Compute the share of `right` among `decided` images; NaN in samples that have none."""
    total = weights @ decided
    return np.divide(weights @ right, total, out=np.full(len(total), np.nan), where=total > 0)
