"""Batch norms by TensorFlow's fused kernel while training.

Keras computes a norm's moments in separate passes over the feature map. For a network of depthwise convolutions
these passes are most of a training step on a CPU; the fused kernel needs about a third of their time. It computes
the same but for rounding, and the running variance is the unbiased one (divided by N - 1 in place of N). In
mixed_bfloat16 Keras's norms turn every feature map into float32 and back as well, which the kernel does not: it
reads and writes bfloat16 and sums in float32.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import keras


@contextmanager
def fused_norms(model: keras.Model) -> Iterator[None]:
    """While this is open the batch norms of `model` run fused when they train; on other backends nothing changes.

    Args:
        model: Norms over the last axis, with scale and shift and in float32 or bfloat16, are replaced; others
            stay.
    """
    norms = [layer for layer in model.layers if keras.backend.backend() == "tensorflow" and _fits(layer)]
    for norm in norms:
        norm.call = _Fused(norm)
    try:
        yield
    finally:
        for norm in norms:
            del norm.call


def _fits(layer: keras.layers.Layer) -> bool:
    return (
        type(layer) is keras.layers.BatchNormalization
        and len(layer.input.shape) == 4
        and layer.axis in (-1, 3)
        and layer.center
        and layer.scale
        and not layer.renorm
        and layer.compute_dtype in ("float32", "bfloat16")
    )


class _Fused:
    """What a norm's ``call`` does."""

    def __init__(self, norm: Any) -> None:
        self.norm, self.plain = norm, norm.call

    def __call__(self, inputs: Any, training: bool | None = None, mask: Any = None) -> Any:
        norm = self.norm
        if not (training and norm.trainable) or mask is not None:
            return self.plain(inputs, training=training, mask=mask)
        import tensorflow as tf

        outputs, mean, variance = tf.compat.v1.nn.fused_batch_norm(
            inputs,
            tf.convert_to_tensor(norm.gamma),
            tf.convert_to_tensor(norm.beta),
            epsilon=norm.epsilon,
            is_training=True,
        )
        for moving, value in ((norm.moving_mean, mean), (norm.moving_variance, variance)):
            moving.assign(moving * norm.momentum + value * (1.0 - norm.momentum))
        return outputs
