"""The gate: what an exported file loses against its Keras source, measured by the runtime that will run it."""

from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

import numpy as np
import numpy.typing as npt
from sklearn.metrics import roc_auc_score

from benchmarks.metrics import group_bootstrap

Floats = npt.NDArray[np.floating[Any]]
#: Of the intervals that are reported beside the changes; the bounds themselves are on the changes.
RESAMPLES = 1000


def compare(
    labels: Sequence[int],
    groups: Sequence[str],
    reference: Floats,
    exported: Floats,
    threshold: float,
    *,
    resamples: int = RESAMPLES,
) -> dict[str, Any]:
    """Compare the probabilities of two forms of one model on the same labelled images.

    Args:
        labels: 0 or 1, N.
        groups: What belongs together, N names.
        reference: P(fractured) from Keras, [N].
        exported: P(fractured) from the exported file, [N].
        threshold: The frozen threshold.
        resamples: Of the paired bootstrap, which draws groups.

    Returns:
        Largest and mean absolute difference of probability, share of equal decisions; sensitivity, specificity
        and AUROC of both; ``auroc_change`` and ``sensitivity_change`` (exported less Keras) with their 95 %
        intervals.
    """
    truth = np.asarray(labels)
    before, after = np.asarray(reference, np.float64), np.asarray(exported, np.float64)
    called_before, called_after = before >= threshold, after >= threshold

    def auroc_change(rows: npt.NDArray[np.integer[Any]]) -> float:
        return float(roc_auc_score(truth[rows], after[rows]) - roc_auc_score(truth[rows], before[rows]))

    def sensitivity_change(rows: npt.NDArray[np.integer[Any]]) -> float:
        fractured = rows[truth[rows] == 1]
        return float(called_after[fractured].mean() - called_before[fractured].mean())

    intervals = {
        name: asdict(group_bootstrap(statistic, truth, groups, resamples=resamples, seed=0))
        for name, statistic in (("auroc_change", auroc_change), ("sensitivity_change", sensitivity_change))
    }
    positives, negatives = truth == 1, truth == 0
    return {
        "images": len(labels),
        "fractured": int(positives.sum()),
        "threshold": threshold,
        **differences(before, after),
        "same_decision": float((called_before == called_after).mean()),
        "sensitivity_keras": float(called_before[positives].mean()),
        "sensitivity_exported": float(called_after[positives].mean()),
        "specificity_keras": float((~called_before[negatives]).mean()),
        "specificity_exported": float((~called_after[negatives]).mean()),
        "auroc_keras": float(roc_auc_score(truth, before)),
        "auroc_exported": float(roc_auc_score(truth, after)),
        "auroc_change": intervals["auroc_change"]["value"],
        "sensitivity_change": intervals["sensitivity_change"]["value"],
        "intervals": {name: [each["low"], each["high"]] for name, each in intervals.items()},
    }


def differences(reference: Floats, exported: Floats) -> dict[str, float]:
    """Largest and mean absolute difference of two arrays of probabilities; NaN where one has a NaN."""
    gaps = np.abs(np.asarray(reference, np.float64) - np.asarray(exported, np.float64))
    return {"largest_difference": float(gaps.max()), "mean_difference": float(gaps.mean())}
