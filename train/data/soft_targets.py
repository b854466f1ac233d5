"""Soft targets between 0 and 1, from teacher models or mixed images, and metrics that accept them.

The metrics read the first column, P(fractured); others may follow, see `train.trainer.class_softmax`.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import keras
import numpy as np
import numpy.typing as npt
from keras import ops


def soften(
    labels: Sequence[int], predictions: npt.ArrayLike, share: float, weight_of: Mapping[int, float]
) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.float32]]:
    """Blend labels with the predictions of a teacher model, and compute the weights of the blended targets.

    The loss of an image becomes ``1 - share`` times that of its label plus ``share`` times the expected loss under
    the teacher's prediction (Hinton et al., "Distilling the Knowledge in a Neural Network", 2015, at temperature
    1). The loss is linear in the target, so an image's weight is the mean of the class weights under its blended
    probability.

    Args:
        labels: Labels, 0 or 1, [N].
        predictions: P(fractured) by the teacher model, [N].
        share: Share of the predictions in the targets, 0 to 1.
        weight_of: Weight of each class in the loss.

    Returns:
        Targets and weights, [N] each.
    """
    probability = (1 - share) * np.asarray(labels, np.float64) + share * np.asarray(predictions, np.float64)
    product = weight_of[1] * probability
    weights = product + weight_of[0] * (1 - probability)
    return (product / weights).astype(np.float32), weights.astype(np.float32)


class SoftAccuracy(keras.metrics.BinaryAccuracy):
    """Share of predictions on the same side of 0.5 as the target."""

    def update_state(self, y_true: Any, y_pred: Any, sample_weight: Any = None) -> Any:
        """Accumulate a batch, see `keras.metrics.BinaryAccuracy`."""
        return super().update_state(_likelier(y_true[:, :1]), y_pred[:, :1], sample_weight)


class SoftAuroc(keras.metrics.AUC):
    """AUROC with soft targets rounded to 0 or 1; Keras's own treats every target above 0 as 1."""

    def update_state(self, y_true: Any, y_pred: Any, sample_weight: Any = None) -> Any:
        """Accumulate a batch, see `keras.metrics.AUC`."""
        return super().update_state(_likelier(y_true[:, :1]), y_pred[:, :1], sample_weight)


def _likelier(targets: Any) -> Any:
    return ops.cast(ops.greater_equal(targets, 0.5), "float32")
