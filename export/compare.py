"""How far an exported model is from its Keras source, measured with the runtime that will run it."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
from sklearn.metrics import roc_auc_score

Floats = npt.NDArray[np.floating[Any]]


def compare(labels: Sequence[int], reference: Floats, exported: Floats, threshold: float) -> dict[str, float]:
    """Compare the probabilities of two forms of one model on the same images.

    Args:
        labels: 0 or 1.
        reference: P(fractured) from Keras, [N].
        exported: P(fractured) from the exported file, [N].
        threshold: The frozen threshold.

    Returns:
        Largest and mean absolute difference, share of equal decisions, and sensitivity, specificity and AUROC of
        both.
    """
    truth = np.asarray(labels) == 1
    difference = np.abs(np.asarray(reference) - np.asarray(exported))
    same = (np.asarray(reference) >= threshold) == (np.asarray(exported) >= threshold)
    return {
        "images": len(labels),
        "largest_difference": float(difference.max()),
        "mean_difference": float(difference.mean()),
        "same_decision": float(same.mean()),
        "sensitivity_keras": _share(reference >= threshold, truth),
        "sensitivity_exported": _share(exported >= threshold, truth),
        "specificity_keras": _share(reference < threshold, ~truth),
        "specificity_exported": _share(exported < threshold, ~truth),
        "auroc_keras": float(roc_auc_score(labels, reference)),
        "auroc_exported": float(roc_auc_score(labels, exported)),
    }


def _share(condition: npt.NDArray[np.bool_], of: npt.NDArray[np.bool_]) -> float:
    return float(condition[of].mean())
