"""Weights of the embedded model as initial weights of `edge`, for fine-tuning on the user's own images.

The model that ships with fracture-edge is quantised, and its batch norms are folded into its convolutions. Its
kernels are dequantised (8 bit, one scale for each filter), and the batch norms are set to reproduce its output, so
that it can be trained further.
"""

import re
from importlib import resources
from typing import Any

import keras
import numpy as np
import numpy.typing as npt

from fracture_edge.models import EMBEDDED
from train.architectures.edge import EPSILON
from train.weights.errors import WeightsError

#: Layers that are float32 in the file. Not every network has all of them.
_HEAD = ("cells", "pooled_evidence", "probability")
_Convolution = tuple[npt.NDArray[np.float32], npt.NDArray[np.float32]]


def load(model: keras.Model) -> str:
    """Load the embedded model's weights; the predictions are then the same but for the rounding of activations.

    Args:
        model: Network `edge` of the embedded model's size; changed in place.

    Returns:
        Description of the weights, for the training record.

    Raises:
        WeightsError: The network is not `edge`, or not of the embedded model's size.
    """
    import onnx

    if model.name != "edge":
        raise WeightsError(f"--weights embedded fits 'edge' only, not '{model.name}'")
    with resources.as_file(resources.files("fracture_edge.models") / f"{EMBEDDED}.onnx") as path:
        graph = onnx.load(path).graph
    constants = {entry.name: onnx.numpy_helper.to_array(entry) for entry in graph.initializer}
    convolutions = [_dequantised(node, constants) for node in graph.node if node.op_type == "QLinearConv"]
    layers = _convolutions(model)
    if len(convolutions) != len(layers):
        raise WeightsError(
            f"the embedded model has {len(convolutions)} convolutions, this one {len(layers)}: use the options "
            "of the recipe finetune"
        )
    convolutions[0] = _by_pixel(*convolutions[0], layers[0])
    # All of it is found before anything is set.
    taken = [_take(convolutions, layer) for layer in layers]
    head = {
        layer.name: [_constant(constants, layer.name, shape=tuple(value.shape)) for value in layer.weights]
        for layer in model.layers
        if layer.name in _HEAD
    }
    for layer, (kernel, bias) in zip(layers, taken, strict=True):
        layer.set_weights([kernel])
        ones = np.ones_like(bias)
        _norm(model, layer).set_weights([ones, bias, np.zeros_like(bias), ones - EPSILON])
    for name, values in head.items():
        model.get_layer(name).set_weights(values)
    return f"embedded model ({EMBEDDED})"


def refit_batch_norms(
    model: keras.Model, pixels: npt.NDArray[np.uint8], *, images: int = 256, seed: int = 0
) -> None:
    """Set the statistics of every batch norm to those of `pixels` without changing the output of the network.

    A folded batch norm has mean 0 and variance 1, whatever its inputs are. In training it would normalise by the
    statistics of the batch instead, and the output would change completely.

    Args:
        model: Network `edge`; changed in place.
        pixels: Training images, uint8 [N, H, W, 1].
        images: Number of images that are sampled.
        seed: Random seed for sampling the images.
    """
    rows = np.random.default_rng(seed).permutation(len(pixels))[:images]
    layers = _convolutions(model)
    moments = []
    for layer in layers:
        output = keras.ops.cast(layer.output, "float32")
        moments.append(keras.ops.stack([keras.ops.mean(output, (1, 2)), keras.ops.mean(output**2, (1, 2))], 1))
    probe = keras.Model(model.input, moments)
    found = probe.predict(pixels[np.sort(rows)], batch_size=16, verbose=0)
    for layer, moment in zip(layers, found, strict=True):
        mean, square = np.asarray(moment, np.float64).mean(axis=0)
        variance = np.maximum(square - mean**2, 0.0)
        norm = _norm(model, layer)
        gamma, beta, old_mean, old_variance = norm.get_weights()
        # gamma (x - old) / old_deviation + beta, written with the new mean and deviation.
        slope = gamma / np.sqrt(old_variance + EPSILON)
        norm.set_weights([slope * np.sqrt(variance + EPSILON), beta + slope * (mean - old_mean), mean, variance])


def _convolutions(model: keras.Model) -> list[Any]:
    kinds = (keras.layers.Conv2D, keras.layers.DepthwiseConv2D)
    return [layer for layer in model.layers if isinstance(layer, kinds) and layer.name not in _HEAD]


def _by_pixel(kernel: npt.NDArray[np.float32], bias: npt.NDArray[np.float32], layer: Any) -> _Convolution:
    """Return the first convolution as the network has it, over pixels.

    In the file it may read blocks of four pixels of a row, in which two outputs begin, each with all filters: the
    first of them begins with the block (`export.onnx_passes.space_to_depth`).
    """
    if kernel.shape[1] == 1:
        return kernel, bias
    filters, (rows, columns) = len(kernel) // 2, layer.kernel_size
    pixels = kernel[:filters].transpose(0, 2, 3, 1).reshape(filters, 1, rows, -1)
    return pixels[..., :columns], bias[:filters]


def _take(convolutions: list[_Convolution], layer: Any) -> _Convolution:
    """Remove and return the first convolution with the layer's shape.

    Convolutions of one shape are in the order of the network; across branches the order is the exporter's.
    """
    # (filters, channels, rows, columns) to Keras's order, which for depthwise convolutions has the filters third.
    order = (2, 3, 0, 1) if isinstance(layer, keras.layers.DepthwiseConv2D) else (2, 3, 1, 0)
    wanted = tuple(layer.kernel.shape)
    for place, (kernel, bias) in enumerate(convolutions):
        if kernel.transpose(order).shape == wanted:
            del convolutions[place]
            return kernel.transpose(order), bias
    raise WeightsError(f"the embedded model has no convolution left of the shape {wanted} of {layer.name}")


def _norm(model: keras.Model, convolution: Any) -> Any:
    return model.get_layer(convolution.name.removesuffix("_conv") + "_norm")


def _dequantised(node: Any, constants: dict[str, npt.NDArray[Any]]) -> _Convolution:
    """Dequantise kernel (filters, channels, rows, columns) and bias of a QLinearConv (see ONNX's definition)."""
    _, x_scale, _, w, w_scale, w_zero, _, _, bias = node.input
    scale = constants[w_scale].astype(np.float32).reshape(-1, 1, 1, 1)
    zero = constants[w_zero].astype(np.float32).reshape(-1, 1, 1, 1)
    kernel = (constants[w].astype(np.float32) - zero) * scale
    return kernel, constants[bias].astype(np.float32) * constants[x_scale] * scale.ravel()


def _constant(constants: dict[str, npt.NDArray[Any]], layer: str, *, shape: tuple[int, ...]) -> npt.NDArray[Any]:
    """Find the constant of a layer of the float head with as many values as `shape`, and reshape it."""
    size = int(np.prod(shape))
    kind = "bias" if len(shape) == 1 else "kernel"
    candidates = [
        value
        for name, value in constants.items()
        if re.search(rf"/{layer}(_\d+)?/", name) and value.dtype == np.float32 and value.size == size
        and (("Add" in name or "Reshape" in name) == (kind == "bias"))
    ]  # fmt: skip
    if len(candidates) != 1:
        raise WeightsError(
            f"the embedded model has {len(candidates)} arrays of {size} values for {kind} of '{layer}': use the "
            "options of the recipe finetune"
        )
    return candidates[0].reshape(shape)
