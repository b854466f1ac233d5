"""Predictions of a Keras model, batch by batch."""

import keras
import numpy as np
import numpy.typing as npt

from train.device import devices_sharing


def predict(model: keras.Model, pixels: npt.NDArray[np.uint8], batch_size: int = 64) -> npt.NDArray[np.float64]:
    """Predict P(fractured), float64 [N], of images, uint8 [N, H, W, 1]."""
    return outputs(model, pixels, batch_size)[:, 0]


def outputs(model: keras.Model, pixels: npt.NDArray[np.uint8], batch_size: int = 64) -> npt.NDArray[np.float64]:
    """Compute the output, float64 [N, ...], of a model with one output for images, uint8 [N, H, W, 1]."""
    sharing = devices_sharing()
    step = max(1, batch_size // sharing) * sharing
    # Padded with the last image: devices that share a batch get equal parts, and no batch has a different size,
    # for which JAX would compile the network again.
    size = sharing if len(pixels) < step else step
    filled = np.concatenate([pixels, np.repeat(pixels[-1:], -len(pixels) % size, axis=0)])
    # Batch by batch, not with one call of `predict`: see `train.data.batches.Batches` on tf.data.
    found = [model.predict_on_batch(filled[start : start + step]) for start in range(0, len(filled), step)]
    return np.concatenate(found).astype(np.float64)[: len(pixels)]
