"""Metrics that accept soft targets between 0 and 1, from mixed images.

The metrics read the first column, P(fractured); others may follow, see `train.trainer.class_softmax`.
"""

from typing import Any

import keras
from keras import ops


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
