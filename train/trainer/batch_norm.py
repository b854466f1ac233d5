"""Batch norms: statistics recomputed for inference, and TensorFlow's fused kernel during training.

Dropout in front of a batch norm changes the variance of its inputs during training; without dropout the running
statistics no longer fit (Li et al., "Understanding the Disharmony between Dropout and Batch Normalization by
Variance Shift", CVPR 2019), and the network predicts far too large log-odds. Augmented images differ from those at
inference, and averaged weights (EMA) from those that the statistics were computed with. Recomputing the statistics
corrects all three (Wu and Johnson, "Rethinking 'Batch' in BatchNorm", 2021, section 3: PreciseBN).
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import keras

from train.data.batches import Batches

#: Number of batches that the statistics are computed from, all with the same weight.
BATCHES = 20


class RefitBatchNorms(keras.callbacks.Callback):
    """Callback that recomputes batch norm statistics after the training of every epoch, before validation.

    The statistics are those of training images without augmentation, computed without dropout.
    """

    def __init__(self, network: keras.Model, training: Batches) -> None:
        """Create the callback.

        Args:
            network: Network built by `train.architectures`; the statistics of its batch norms are changed.
            training: Batches of training images.
        """
        super().__init__()
        self.training = training
        self.norms = [layer for layer in network.layers if isinstance(layer, keras.layers.BatchNormalization)]
        # The same layers, batch norms always in training mode, all others never.
        self.probe = keras.models.clone_model(
            network, clone_function=lambda layer: layer, call_function=_norms_only_in_training
        )

    def on_test_begin(self, logs: dict[str, float] | None = None) -> None:
        """Recompute the statistics."""
        kept = [norm.momentum for norm in self.norms]
        size = self.training.batch_size
        starts = range(0, max(1, len(self.training.order) - size + 1), size)[:BATCHES]
        for number, start in enumerate(starts):
            # The running average becomes the mean of all batches so far, beginning with the first.
            for norm in self.norms:
                norm.momentum = number / (number + 1)
            self.probe(self.training.pixels[self.training.order[start : start + size]])
        for norm, momentum in zip(self.norms, kept, strict=True):
            norm.momentum = momentum


def _norms_only_in_training(layer: Any, *arguments: Any, **options: Any) -> Any:
    if isinstance(layer, keras.layers.BatchNormalization):
        return layer(*arguments, **(options | {"training": True}))
    return layer(*arguments, **options)


@contextmanager
def fused_batch_norms(model: keras.Model) -> Iterator[None]:
    """Run batch normalisation with TensorFlow's fused kernel during training; other backends are unchanged.

    Args:
        model: Model whose batch norms use the fused kernel within the context: those over the last axis of images,
            with scale and shift, in float32 or bfloat16. Others are unchanged.
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
        # Keras 3.11 and 3.12 have none.
        and not getattr(layer, "renorm", False)
        and layer.compute_dtype in ("float32", "bfloat16")
    )


class _Fused:
    """Replacement for the ``call`` of a batch norm."""

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
