"""Localisation loss of the cells of `edge`, from boxes around fractures."""

from typing import Any

import keras
from keras import ops

#: Share of a cell covered by a box from which its target is 1; below, the target is proportional.
FULL_COVERAGE = 0.25
#: Weight of covered cells. About 1 % of the cells are covered; this balances the two kinds in part.
POSITIVE_WEIGHT = 10.0


class CellLoss(keras.layers.Layer):
    """Layer that adds the localisation loss during training and returns the network's answer unchanged.

    The loss is the mean binary cross-entropy of the cells, with covered cells weighted by `POSITIVE_WEIGHT`.
    """

    def __init__(self, weight: float, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.weight = weight

    def call(self, answer: Any, cells: Any, mask: Any, training: bool = False) -> Any:
        """Add the loss of the cells against the mask.

        Args:
            answer: Output of the network, [N, 1 or more], returned unchanged.
            cells: Logits of the cells, [N, h, w, 1].
            mask: Mask of the fracture boxes, 0 to 255, [N, H, W, 1].
            training: Whether to add the loss.
        """
        if training:
            size = (mask.shape[1] // cells.shape[1], mask.shape[2] // cells.shape[2])
            coverage = ops.average_pool(mask, size, size) / 255.0
            target = ops.clip(coverage / FULL_COVERAGE, 0.0, 1.0)
            logits = ops.cast(cells, "float32")
            losses = POSITIVE_WEIGHT * target * ops.softplus(-logits) + (1 - target) * ops.softplus(logits)
            self.add_loss(self.weight * ops.mean(losses))
        return answer

    def compute_output_shape(self, answer: Any, *_: Any) -> Any:
        """Return the shape of the answer."""
        return answer
