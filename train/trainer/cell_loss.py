"""The loss that teaches the cells of `edge` where fractures are marked."""

from typing import Any

import keras
from keras import ops

#: A cell counts as fractured in full when the mark covers this share of it, and in proportion below.
FULL_COVERAGE = 0.25
#: About 1 % of the cells are marked; this evens the two kinds out part of the way.
POSITIVE_WEIGHT = 10.0


class CellLoss(keras.layers.Layer):
    """Adds the localisation loss while training and passes the probability through.

    The loss is the mean binary cross-entropy of the cells, marked cells weighted by `POSITIVE_WEIGHT`.
    """

    def __init__(self, weight: float, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.weight = weight

    def call(self, probability: Any, cells: Any, mask: Any, training: bool = False) -> Any:
        """Compare the cells with the mask.

        Args:
            probability: [N, 1], returned as it is.
            cells: Logits [N, h, w, 1].
            mask: 0 to 255, [N, H, W, 1].
            training: Whether to add the loss.
        """
        if training:
            size = (mask.shape[1] // cells.shape[1], mask.shape[2] // cells.shape[2])
            coverage = ops.average_pool(mask, size, size) / 255.0
            target = ops.clip(coverage / FULL_COVERAGE, 0.0, 1.0)
            logits = ops.cast(cells, "float32")
            losses = POSITIVE_WEIGHT * target * ops.softplus(-logits) + (1 - target) * ops.softplus(logits)
            self.add_loss(self.weight * ops.mean(losses))
        return probability

    def compute_output_shape(self, probability: Any, *_: Any) -> Any:
        """The probability's."""
        return probability
