"""Factorise a large Dense layer into two small ones, fitted to its pre-activations on training images.

The custom CNN has 99.8 % of its weights in one layer. Low-rank factorisation is an established method for such
layers (Denil et al., "Predicting Parameters in Deep Learning", NIPS 2013; Denton et al., "Exploiting Linear
Structure Within Convolutional Networks", NIPS 2014). Factorising the kernel itself treats all inputs alike, but
images span only few directions of the input space. This module uses the rank for the directions in which the
layer's pre-activations vary over the training images, each unit weighted by its effect on the log-odds: by the
theorem of Eckart and Young ("The approximation of one matrix by another of lower rank", Psychometrika 1, 1936) no
other factors of that rank approximate these weighted pre-activations better in the least-squares sense.
"""

from typing import Any

import keras
import numpy as np
import numpy.typing as npt
from keras import layers

from export.keras_passes.fold_batch_norms import fold_batch_norms, output_scales
from fracture_edge.errors import FractureEdgeError

#: Minimum importance of a unit relative to the most important one; limits the amplification of float32 rounding.
LEAST_IMPORTANCE = 1e-3
#: Prevents a division by zero for a network with constant output.
_TINY = 1e-30
#: Names of the layer that is factorised and of the linear layer inserted before it.
HIDDEN, FACTOR = "hidden", "hidden_factor"


def factorise(model: keras.Model, pixels: npt.NDArray[np.uint8], rank: int) -> keras.Model:
    """Replace the Dense layer ``hidden`` by the linear ``hidden_factor`` of `rank` units and a smaller ``hidden``.

    Let X be the inputs of ``hidden`` for the training images, Y = X W its pre-activations without bias, m their
    mean, D the diagonal matrix of the units' importances and V the first `rank` principal directions of (Y - m) D.
    Y is replaced by m + (Y - m) D V V^T D^-1: ``hidden_factor`` has the kernel W D V and no bias, ``hidden`` has
    the kernel V^T D^-1, and its bias includes the mean. No fine-tuning is needed.

    The importance of a unit is the root mean square of the derivative of the log-odds with respect to its
    pre-activation: its weight in the log-odds times the square root of the share of images for which it is active.

    Args:
        model: Model with a Dense layer ``hidden`` with ReLU, followed only by batch norm, dropout and
            ``probability`` (custom_cnn, vgg16, resnet50), before or after `export.keras_passes.fold_batch_norms`.
        pixels: Training images, uint8 [N, H, W, 1]; processed in batches, so that X is never held in memory.
        rank: Number of units of ``hidden_factor``, from 1 to the units of ``hidden``, which loses nothing.

    Returns:
        A new model; `model` is not changed.

    Raises:
        FractureEdgeError: The model has no layer ``hidden``, is already factorised, or the rank is out of range.
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
    # Eigenvalues in ascending order; eigh returns all eigenvectors even with fewer images than units.
    squares, vectors = np.linalg.eigh(weighted.T @ weighted)
    spread, directions = _factor_scales(squares[::-1][:rank]), vectors[:, ::-1][:, :rank]
    down, up = importance[:, np.newaxis] * directions / spread, spread[:, np.newaxis] * directions.T / importance
    small = kernel @ down.astype(kernel.dtype)
    # Keep the magnitude of the weights, which float16 and the learning rate are suited to.
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
    """Compute the pre-activations of ``hidden`` for each image, without bias, [N, units]."""
    hidden = model.get_layer(HIDDEN)
    features, kernel = keras.Model(model.input, hidden.input), hidden.get_weights()[0]
    batches = (pixels[start : start + batch_size] for start in range(0, len(pixels), batch_size))
    return np.concatenate([features.predict_on_batch(batch) @ kernel for batch in batches]).astype(np.float64)


def _factor_scales(squares: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """Compute the divisor of each factor, [rank], from the descending sums of squares of the factors.

    The first factors vary a hundred times as much as the last. In int8, with one range for all, the last would be
    lost; if all were scaled to the same deviation, their kernels would differ as much instead. Dividing by the
    square root of the deviation balances both.
    """
    least = 1e-12 * max(float(squares[0]), _TINY)
    return np.asarray(np.maximum(squares, least) ** 0.25)


def _importance(model: keras.Model, activations: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """Compute the root mean square derivative of the log-odds by the input of each unit's ReLU, [units]."""
    # Folding moves a batch norm between ``hidden`` and ``probability`` into the kernels of both.
    weights = np.abs(fold_batch_norms(model).get_layer("probability").get_weights()[0][:, 0].astype(np.float64))
    weights = weights * output_scales(model).get(HIDDEN, 1.0)
    importance = weights * np.sqrt((activations > 0).mean(axis=0))
    # The importance is divided by, so it must not be 0 for units without effect.
    return np.maximum(importance, max(LEAST_IMPORTANCE * float(importance.max()), _TINY))
