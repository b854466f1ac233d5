"""Merge equal input channels: the first convolution reads the grey image once instead of three times.

Networks made for colour images read the grey level as three equal channels. The first convolution multiplies each
by a kernel of its own and adds up, so one channel and the sum of the kernels give the same result with a third of
the products, and the image need not be copied three times. Where the normalisation differs between channels, as
the means of ImageNet do, zero padding is another grey level in each of them, and nothing can be merged.
"""

from typing import Any

import keras
import numpy as np
from keras import layers

from export.keras_passes.fold_batch_norms import following_layers, layer_inputs


def merge_equal_channels(model: keras.Model) -> keras.Model:
    """Replace a concatenation of one channel with itself and the convolution behind it by one of a single channel.

    Between the two only Rescaling with one scale and one offset may lie.

    Args:
        model: Model from ``image`` uint8 [N, H, W, 1] to ``probability`` [N, 1].

    Returns:
        A new model with the same layer names but without the concatenation, whose predictions equal those of
        `model` except for rounding; `model` itself if there is no such concatenation.
    """
    pairs = _pairs(model)
    if not pairs:
        return model

    def call(layer: layers.Layer, *arguments: Any, **options: Any) -> Any:
        return arguments[0][0] if layer.name in pairs else layer(*arguments, **options)

    merged = keras.models.clone_model(model, call_function=call)
    for layer in merged.layers:
        weights = model.get_layer(layer.name).get_weights()
        if layer.name in pairs.values():
            kernel = weights[0]
            weights[0] = kernel.sum(axis=2, keepdims=True, dtype=np.float64).astype(kernel.dtype)
        layer.set_weights(weights)
    return merged


def _pairs(model: keras.Model) -> dict[str, str]:
    """Map the name of each concatenation that can be merged to that of the convolution behind it."""
    inputs, following = layer_inputs(model), following_layers(model)
    found = {}
    for layer in model.layers:
        sources = inputs[layer.name]
        if not isinstance(layer, layers.Concatenate) or len(set(sources)) > 1:
            continue
        behind = _convolution(model, layer, following)
        if layer.input[0].shape[-1] == 1 and behind is not None:
            found[layer.name] = behind
    return found


def _convolution(model: keras.Model, layer: layers.Layer, following: dict[str, list[str]]) -> str | None:
    while len(following[layer.name]) == 1:
        layer = model.get_layer(following[layer.name][0])
        match layer:
            case layers.Rescaling() if np.ndim(layer.scale) == 0 and np.ndim(layer.offset) == 0:
                pass
            case layers.Conv2D() if layer.groups == 1:
                return layer.name
            case _:
                return None
    return None
