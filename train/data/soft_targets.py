"""Targets between 0 and 1, as teachers and mixed images have them, and metrics that can be counted with them."""

from collections.abc import Mapping, Sequence
from typing import Any

import keras
import numpy as np
import numpy.typing as npt
from keras import ops


def soften(
    labels: Sequence[int], predictions: npt.ArrayLike, share: float, weight_of: Mapping[int, float]
) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.float32]]:
    """Blend labels with a teacher's predictions, before the classes are weighed.

    The loss of an image becomes ``1 - share`` of that of its label and ``share`` of what is expected under the
    teacher's answer (Hinton et al., "Distilling the Knowledge in a Neural Network", 2015, at temperature 1). It is
    linear in the target, so that an image of either class with some probability weighs what the classes weigh by
    those probabilities.

    Args:
        labels: 0 or 1, N of them.
        predictions: P(fractured) by the teacher, [N].
        share: Of the predictions, 0 to 1.
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
        """Count a batch, see `keras.metrics.BinaryAccuracy`."""
        return super().update_state(_likelier(y_true), y_pred, sample_weight)


class SoftAuroc(keras.metrics.AUC):
    """AUROC of the class that the target makes likelier; Keras's own takes every target above 0 for a 1."""

    def update_state(self, y_true: Any, y_pred: Any, sample_weight: Any = None) -> Any:
        """Count a batch, see `keras.metrics.AUC`."""
        return super().update_state(_likelier(y_true), y_pred, sample_weight)


def _likelier(targets: Any) -> Any:
    return ops.cast(ops.greater_equal(targets, 0.5), "float32")
