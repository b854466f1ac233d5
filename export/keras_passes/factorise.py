"""A large Dense layer as two small ones, chosen by what the layer computes for real images.

The custom CNN has 99.8 % of its weights in one layer. Low-rank factors of such layers are an old remedy (Denil et
al., "Predicting Parameters in Deep Learning", NIPS 2013; Denton et al., "Exploiting Linear Structure Within
Convolutional Networks", NIPS 2014). Factors of the kernel itself serve all inputs alike; images fill only few of
its input's directions. Here the rank is spent on the directions in which the layer's sums vary over the training
images, each unit weighted by what it does to the log-odds: by Eckart and Young ("The approximation of one matrix
by another of lower rank", Psychometrika 1, 1936) no other factors of that rank come closer to those weighted sums
in the least-squares sense.
"""

from typing import Any

import keras
import numpy as np
import numpy.typing as npt
from keras import layers

from export.keras_passes.fold_batch_norms import fold_batch_norms
from fracture_edge.errors import FractureEdgeError

#: Of a unit, relative to the most important one: bounds what float32 rounding is multiplied by.
LEAST_IMPORTANCE = 1e-3
#: Keeps a network that answers the same to everything from a division by zero.
_TINY = 1e-30
#: The layer that is factorised, and the linear one put in front of it.
HIDDEN, FACTOR = "hidden", "hidden_factor"


def factorise(model: keras.Model, pixels: npt.NDArray[np.uint8], rank: int) -> keras.Model:
    """Replace the Dense layer ``hidden`` by the linear ``hidden_factor`` of `rank` units and a smaller ``hidden``.

    With X the inputs of ``hidden`` for the training images, Y = X W its sums before the bias, m their mean, D the
    units' importances and V the first `rank` principal directions of Y D: Y is replaced by
    m + (Y - m) D V V^T D^-1. So ``hidden_factor`` has the kernel W D V and no bias, ``hidden`` the kernel
    V^T D^-1, and the bias takes up the mean. No fine-tuning is needed.

    The importance of a unit is the root of the mean squared derivative of the log-odds by its sum: its weight in
    the log-odds times the root of the share of images for which it is active.

    Args:
        model: With a Dense layer ``hidden`` with ReLU, followed by nothing but norm, dropout and ``probability``
            (custom_cnn, vgg16, resnet50), before or after `export.keras_passes.fold_batch_norms`.
        pixels: Training images, uint8 [N, H, W, 1]. They pass in batches: X is never held.
        rank: 1 to the units of ``hidden``, with which nothing is lost.

    Returns:
        A new model; `model` is not changed.

    Raises:
        FractureEdgeError: No such layer, factorised already, or a rank out of range.
    """
    names = [layer.name for layer in model.layers]
    if HIDDEN not in names or FACTOR in names:
        reason = "is factorised already" if FACTOR in names else f"has no Dense layer '{HIDDEN}'"
        raise FractureEdgeError(f"{model.name} {reason}: nothing to factorise")
    hidden = model.get_layer(HIDDEN)
    if not 1 <= rank <= hidden.units:
        raise FractureEdgeError(f"rank {rank}: give 1 to {hidden.units}, the units of '{HIDDEN}'")
    factor = layers.Dense(rank, use_bias=False, name=FACTOR, dtype=hidden.dtype_policy)

    def call(layer: layers.Layer, *arguments: Any, **options: Any) -> Any:
        return layer(factor(arguments[0])) if layer.name == HIDDEN else layer(*arguments, **options)

    factorised = keras.models.clone_model(model, call_function=call)
    kernel, bias = hidden.get_weights()
    sums = _pre_activations(model, pixels)
    mean, importance = sums.mean(axis=0), _importance(model, sums + bias)
    weighted = (sums - mean) * importance
    # All eigenvectors are there even where there are fewer images than units; ascending.
    squares, vectors = np.linalg.eigh(weighted.T @ weighted)
    spread, directions = _factor_scales(squares[::-1][:rank]), vectors[:, ::-1][:, :rank]
    down, up = importance[:, np.newaxis] * directions / spread, spread[:, np.newaxis] * directions.T / importance
    small = kernel @ down.astype(kernel.dtype)
    # Weights of the size they had: float16 and a learning rate are made for these.
    size = np.sqrt(np.mean(kernel**2) / np.mean(small**2))
    factor.set_weights([small * size])
    factorised.get_layer(HIDDEN).set_weights([up / size, bias + mean - mean @ down @ up])
    for layer in model.layers:
        if layer.name != HIDDEN:
            factorised.get_layer(layer.name).set_weights(layer.get_weights())
    return factorised


def _pre_activations(
    model: keras.Model, pixels: npt.NDArray[np.uint8], batch_size: int = 32
) -> npt.NDArray[np.float64]:
    """What ``hidden`` sums up for each image, without bias and activation, [N, units]."""
    hidden = model.get_layer(HIDDEN)
    features, kernel = keras.Model(model.input, hidden.input), hidden.get_weights()[0]
    batches = (pixels[start : start + batch_size] for start in range(0, len(pixels), batch_size))
    return np.concatenate([features.predict_on_batch(batch) @ kernel for batch in batches]).astype(np.float64)


def _factor_scales(squares: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """What each factor is divided by, [rank], for the sums of squares of the factors, descending.

    The first vary a hundred times as much as the last. In int8, with one range for all, the last would be lost;
    scaled to vary alike, their kernels would be as unequal. The root of the deviation shares the burden.
    """
    least = 1e-12 * max(float(squares[0]), _TINY)
    return np.asarray(np.maximum(squares, least) ** 0.25)


def _importance(model: keras.Model, activations: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """Root mean square of the log-odds' derivative by what enters each unit's ReLU, [units]."""
    # The norm between them, if any, is within the kernel of a folded model.
    weights = np.abs(fold_batch_norms(model).get_layer("probability").get_weights()[0][:, 0].astype(np.float64))
    importance = weights * np.sqrt((activations > 0).mean(axis=0))
    # A unit that does nothing must still be divided by.
    return np.maximum(importance, max(LEAST_IMPORTANCE * float(importance.max()), _TINY))
