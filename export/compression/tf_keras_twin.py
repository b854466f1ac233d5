"""Convert a Keras 3 model to an equal tf_keras model, its twin, and copy the weights back.

tensorflow-model-optimization supports only the legacy library tf_keras, but the models are Keras 3 models. A twin
has the same layers with the same names and weights.
"""

from types import MappingProxyType
from typing import Any

import keras
import numpy as np
import numpy.typing as npt
import tf_keras

from export.keras_passes.fold_batch_norms import layer_inputs
from fracture_edge.errors import FractureEdgeError

#: Largest allowed difference between the probabilities of a model and its twin: rounding, as operations are
#: ordered differently.
TOLERANCE = 1e-5

_CONVOLUTION = ("kernel_size", "strides", "padding", "dilation_rate", "activation", "use_bias")
_POOLING = ("pool_size", "strides", "padding")
#: Configuration keys that determine what a layer computes, by class; both libraries use the same names.
_KEPT: MappingProxyType[str, tuple[str, ...]] = MappingProxyType(
    {
        "Activation": ("activation",),
        "Add": (),
        "AveragePooling2D": _POOLING,
        "BatchNormalization": ("axis", "momentum", "epsilon", "center", "scale"),
        "Concatenate": ("axis",),
        "Conv2D": ("filters", "groups", *_CONVOLUTION),
        "Cropping2D": ("cropping",),
        "Dense": ("units", "activation", "use_bias"),
        "DepthwiseConv2D": ("depth_multiplier", *_CONVOLUTION),
        "Dropout": ("rate", "noise_shape"),
        "Flatten": (),
        "GlobalAveragePooling2D": ("keepdims",),
        "GlobalMaxPooling2D": ("keepdims",),
        "MaxPooling2D": _POOLING,
        "Multiply": (),
        "ReLU": ("max_value", "negative_slope", "threshold"),
        "Rescaling": ("scale", "offset"),
        "Reshape": ("target_shape",),
        "UpSampling2D": ("size", "interpolation"),
        "ZeroPadding2D": ("padding",),
    }
)


def to_twin(model: keras.Model) -> tf_keras.Model:
    """Build the tf_keras twin of `model`.

    Args:
        model: Model from ``image`` uint8 [N, H, W, 1] to ``probability`` [N, 1] that uses each layer once.

    Returns:
        A functional float32 model with the layers, names and weights of `model`.

    Raises:
        FractureEdgeError: The class of a layer is not supported.
    """
    inputs = layer_inputs(model)
    tensors: dict[str, Any] = {}
    for layer in model.layers:
        if isinstance(layer, keras.layers.InputLayer):
            tensors[layer.name] = tf_keras.Input(layer.batch_shape[1:], dtype=layer.dtype, name=layer.name)
            continue
        sources = [tensors[name] for name in inputs[layer.name]]
        twin = _twin_of(layer)
        tensors[layer.name] = twin(sources if len(sources) > 1 else sources[0])
        twin.set_weights(layer.get_weights())
    last = next(layer.name for layer in model.layers if layer.output is model.output)
    return tf_keras.Model(tensors[model.input.name], tensors[last], name=model.name)


def _twin_of(layer: keras.layers.Layer) -> tf_keras.layers.Layer:
    kind = type(layer).__name__
    if kind not in _KEPT:
        raise FractureEdgeError(
            f"layer '{layer.name}': no tf_keras twin of a {kind} is known; see export/compression/tf_keras_twin.py"
        )
    config = layer.get_config()
    return getattr(tf_keras.layers, kind)(name=layer.name, **{key: config[key] for key in _KEPT[kind]})


def from_twin(twin: tf_keras.Model, model: keras.Model) -> keras.Model:
    """Copy the weights of `twin` into a Keras 3 model.

    Args:
        twin: Model built by `to_twin`, possibly with changed weights.
        model: Model that `twin` was built from; not changed.

    Returns:
        A clone of `model` with the weights of `twin`.
    """
    clone = keras.models.clone_model(model)
    for layer in clone.layers:
        layer.set_weights(twin.get_layer(layer.name).get_weights())
    return clone


def check_twin(model: keras.Model, twin: tf_keras.Model, pixels: npt.NDArray[np.uint8]) -> float:
    """Compare the predictions of a model and its twin, to check `to_twin` or `from_twin`.

    Args:
        model: Keras 3 model.
        twin: tf_keras model.
        pixels: A few images, uint8 [N, H, W, 1].

    Returns:
        The largest absolute difference of probability.

    Raises:
        FractureEdgeError: The difference exceeds `TOLERANCE` or is NaN.
    """
    here, there = (np.asarray(network(pixels, training=False), np.float64) for network in (model, twin))
    difference = float(np.abs(here - there).max())
    if not difference <= TOLERANCE:
        raise FractureEdgeError(
            f"{model.name} and its tf_keras twin differ by {difference:.1e} in probability, more than "
            f"{TOLERANCE:.0e}: weights were not copied correctly, or the model's log-odds are NaN"
        )
    return difference
