"""Gate: compare an exported file, run by its own runtime, with the Keras model that it was exported from."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
from sklearn.metrics import roc_auc_score

from train.evaluation.metrics import proportions
from train.evaluation.paired import compare_pairs
from train.export_record import GateMetrics

Floats = npt.NDArray[np.floating[Any]]
#: Number of bootstrap resamples for the reported intervals; the bounds of the gate apply to the changes
#: themselves.
RESAMPLES = 1000


def compare(
    labels: Sequence[int],
    groups: Sequence[str],
    reference: Floats,
    exported: Floats,
    threshold: float,
    *,
    resamples: int = RESAMPLES,
) -> GateMetrics:
    """Compare the predictions of the Keras model and an exported file on the same labelled images.

    Args:
        labels: Labels, 0 or 1, [N].
        groups: Group name of each image, [N]; images that belong together share one, and the bootstrap resamples
            groups.
        reference: P(fractured) from Keras, [N].
        exported: P(fractured) from the exported file, [N].
        threshold: Frozen threshold on P(fractured).
        resamples: Number of resamples of the paired bootstrap.

    Returns:
        Metrics of both on the images, their differences and changes.
    """
    before, after = np.asarray(reference, np.float64), np.asarray(exported, np.float64)
    found = compare_pairs(labels, groups, before, after, threshold, resamples=resamples)
    keras, file = proportions(labels, before, threshold), proportions(labels, after, threshold)
    auroc, sensitivity = found.auroc_change, found.sensitivity_change
    return GateMetrics(
        images=len(labels),
        fractured=sum(labels),
        threshold=threshold,
        largest_difference=found.largest_difference,
        mean_difference=found.mean_difference,
        same_decision=found.agreement,
        sensitivity_keras=keras["recall"].value,
        sensitivity_exported=file["recall"].value,
        specificity_keras=keras["specificity"].value,
        specificity_exported=file["specificity"].value,
        auroc_keras=float(roc_auc_score(labels, before)),
        auroc_exported=float(roc_auc_score(labels, after)),
        auroc_change=auroc.value,
        sensitivity_change=sensitivity.value,
        intervals={
            "auroc_change": (auroc.low, auroc.high),
            "sensitivity_change": (sensitivity.low, sensitivity.high),
        },
    )
