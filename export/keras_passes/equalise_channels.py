"""Equalise the ranges of a layer's channels, which share one range of 8 bits.

A channel whose activations are ten times those of the others leaves them a tenth of the 256 steps. ReLU commutes
with positive factors, so the layer before it can be divided by a factor for each channel and the kernel after it
multiplied by the same, which changes nothing in float. Both kernels have ranges of their own for each output
channel. The idea is that of Nagel et al., "Data-Free Quantization Through Weight Equalization and Bias Correction"
(ICCV 2019), with the ranges of activations in place of those of weights.
"""

from collections.abc import Mapping
from typing import Any

import keras
import numpy as np
import numpy.typing as npt
from keras import layers

from export.keras_passes.fold_batch_norms import following_layers

_Floats = npt.NDArray[np.floating[Any]]
#: Number of images on which the ranges are measured; each has thousands of activations of every channel.
_IMAGES = 64
#: Names of the weights that scale the output of a convolution or batch norm; its statistics do not.
_SCALING = ("kernel", "bias", "gamma", "beta")
#: Layers between the two that commute with positive factors.
_BETWEEN = (
    layers.MaxPooling2D,
    layers.AveragePooling2D,
    layers.GlobalAveragePooling2D,
    layers.ZeroPadding2D,
    layers.Dropout,
    layers.Flatten,
)


def equalise_channels(
    model: keras.Model, images: npt.NDArray[np.uint8]
) -> tuple[keras.Model, Mapping[str, _Floats]]:
    """Divide the channels with the largest activations, and multiply the kernel behind them by the same factors.

    The range of every channel becomes at most the median of its layer. Smaller channels are left alone: an image
    that is unlike those here would sooner exceed an enlarged range. For the same reason only convolutions are
    equalised: a Dense layer has one activation per image, and the largest of a few says little about the next one.

    Args:
        model: Model from ``image`` uint8 [N, H, W, 1] to ``probability`` [N, 1].
        images: Training images for the ranges, uint8 [N, H, W, 1]; the first `_IMAGES` are used.

    Returns:
        A model with the same layer names whose predictions equal those of `model` except for rounding, and the
        factors by which the outputs of its layers have been multiplied, by name, [channels] each. `model` itself
        if there is nothing to equalise.
    """
    pairs = _pairs(model)
    if not pairs:
        return model, {}
    equalised = keras.models.clone_model(model)
    equalised.set_weights(model.get_weights())
    factors: dict[str, _Floats] = {}
    for (scaled, activated, behind), largest in _largest(model, pairs, images[:_IMAGES]).items():
        factor = np.minimum(1.0, np.median(largest) / np.maximum(largest, np.finfo(np.float32).tiny))
        # A layer of which most channels are silent is left alone.
        if not factor.all():
            continue
        _multiply_outputs(equalised.get_layer(scaled), factor)
        _divide_inputs(equalised.get_layer(behind), factor)
        factors[scaled] = factors[activated] = factor
    return equalised, factors


#: Layer whose weights scale the output, layer whose output is activated, layer behind.
_Pair = tuple[str, str, str]


def _pairs(model: keras.Model) -> list[_Pair]:
    following = following_layers(model)
    found = []
    for layer in model.layers:
        activated = _activated(model, layer, following)
        behind = activated and _behind(model, activated, following)
        if activated and behind:
            found.append((layer.name, activated.name, behind))
    return found


def _activated(model: keras.Model, layer: layers.Layer, following: Mapping[str, list[str]]) -> layers.Layer | None:
    """Return the layer that applies ReLU to the output of a convolution or batch norm, which may be itself."""
    if isinstance(layer, layers.Conv2D) and layer.activation is keras.activations.relu:
        return layer
    linear = isinstance(layer, layers.Conv2D) and layer.activation is keras.activations.linear
    norm = isinstance(layer, layers.BatchNormalization) and layer.scale
    if not (linear or norm) or len(following[layer.name]) != 1:
        return None
    after = model.get_layer(following[layer.name][0])
    plain = isinstance(after, layers.ReLU) and not (after.max_value or after.negative_slope or after.threshold)
    relu = isinstance(after, layers.Activation) and after.activation is keras.activations.relu
    return after if plain or relu else None


def _behind(model: keras.Model, layer: layers.Layer, following: Mapping[str, list[str]]) -> str | None:
    """Return the name of the layer that alone uses a layer's output and can take factors for its channels."""
    while len(following[layer.name]) == 1 and all(layer.output is not output for output in model.outputs):
        layer = model.get_layer(following[layer.name][0])
        if isinstance(layer, layers.Dense) or (type(layer) is layers.Conv2D and layer.groups == 1):
            return str(layer.name)
        if not isinstance(layer, _BETWEEN):
            return None
    return None


def _largest(
    model: keras.Model, pairs: list[_Pair], images: npt.NDArray[np.uint8]
) -> dict[_Pair, npt.NDArray[np.float64]]:
    """Return the largest activation of each channel, [channels] for each pair."""
    pooled = [layers.GlobalMaxPooling2D()(model.get_layer(activated).output) for _, activated, _ in pairs]
    found = keras.Model(model.inputs, pooled).predict(images, batch_size=8, verbose=0)
    found = [found] if len(pairs) == 1 else found
    return {pair: values.max(axis=0).astype(np.float64) for pair, values in zip(pairs, found, strict=True)}


def _multiply_outputs(layer: layers.Layer, factor: _Floats) -> None:
    """Multiply the output of a convolution or batch norm by positive factors, [channels]."""
    layer.set_weights(
        [
            value * factor.astype(value.dtype) if weight.name in _SCALING else value
            for weight, value in zip(layer.weights, layer.get_weights(), strict=True)
        ]
    )


def _divide_inputs(layer: layers.Layer, factor: _Floats) -> None:
    """Divide the kernel of a convolution or Dense layer by the factors of its inputs, [channels]."""
    kernel, *others = layer.get_weights()
    # Flatten places the channels of one position after those of the previous position.
    repeated = np.tile(factor, kernel.shape[-2] // len(factor))
    layer.set_weights([kernel / repeated[:, np.newaxis].astype(kernel.dtype), *others])
