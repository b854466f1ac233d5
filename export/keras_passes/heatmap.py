"""Add a heat map as second output of the graph: a localiser, the network's cells, or Grad-CAM in closed form.

A localiser (`train.evaluation.localiser`) predicts for each position whether a fracture box covers it. Without
one, a network with a layer ``cells`` (see `train.architectures`) predicts the same for each cell.

For other networks the heat map is Grad-CAM (Selvaraju et al., ICCV 2017), which weights the channels of the last
feature map by the gradient of the log-odds, averaged over all positions. After that map these networks only pool,
multiply by matrices and apply ReLU, so the gradient has a closed form: it is constant, or with a hidden layer a
sum over its active units. The device needs no backward pass. Since the map is divided by its maximum in the end,
the sum over positions can replace the average.
"""

from collections.abc import Mapping
from typing import Any

import keras
import numpy as np
import numpy.typing as npt
from keras import activations, layers, ops

from fracture_edge.errors import FractureEdgeError
from fracture_edge.modelfile import HEATMAP_NAME, OUTPUT_NAME
from train.evaluation.localiser import CELLS

_Matrix = npt.NDArray[np.floating[Any]]
_Producers = Mapping[int, layers.Layer]


def with_heatmap(model: keras.Model, located: keras.KerasTensor | None = None) -> keras.Model:
    """Add the heat map to a classifier. The layers are shared; weights of the head are copied into constants.

    Args:
        model: Model from ``image`` to ``probability`` [N, 1]: an architecture of `train.architectures`, also with
            batch norms folded or the hidden layer factorised.
        located: Log-odds of a localiser in the graph of `model`, [N, h, w, 1]; ``None`` without one.

    Returns:
        A model from the same input to a dictionary of ``probability``, unchanged, and ``heatmap`` float32
        [N, h, w], 0 to 1, of the size of the localiser's grid, the cells or the last feature map: the evidence
        for a fracture at each position divided by the maximum; 0 everywhere if no position has positive evidence.

    Raises:
        FractureEdgeError: The head contains a layer or an activation without a known gradient.
    """
    if located is not None:
        # Not a sigmoid: its error in onnxruntime is of the size of the chances of places without a sign.
        return _with_map(model, (1.0 / (1.0 + ops.exp(-located)))[..., 0])
    cells = next((layer.output for layer in model.layers if layer.name == CELLS), None)
    if cells is not None:
        return _with_map(model, ops.sigmoid(cells)[..., 0])
    producers = {id(layer.output): layer for layer in model.layers}
    last = producers.get(id(model.output))
    if not isinstance(last, layers.Dense) or last.activation is not activations.sigmoid:
        raise _unsupported(last)
    features, weights = _channel_weights(producers, last.input, None, _array(last.kernel).T)
    return _with_map(model, ops.maximum(_weighted_sum(features, weights), 0.0))


def _with_map(model: keras.Model, evidence: keras.KerasTensor) -> keras.Model:
    outputs = {OUTPUT_NAME: model.output, HEATMAP_NAME: _normalised(evidence)}
    return keras.Model(model.input, outputs, name=model.name)


def _channel_weights(
    producers: _Producers, tensor: keras.KerasTensor, units: keras.KerasTensor | None, matrix: _Matrix
) -> tuple[keras.KerasTensor, Any]:
    """Propagate the gradient of the log-odds from a tensor of the head back to the feature map.

    Args:
        producers: Layers of the model by the identity of their output.
        tensor: Tensor of the head, [N, width]; its gradient is ``units @ matrix``.
        units: Part of the gradient that depends on the image, [N, count]; ``None`` if the gradient is constant.
        matrix: Constant part of the gradient, [count, width]; the count is 1 without `units`.

    Returns:
        The feature map [N, h, w, K] and its gradient summed over positions, [N or 1, K].
    """
    layer = producers.get(id(tensor))
    match layer:
        case layers.Dropout():
            pass
        case layers.BatchNormalization():
            gamma = 1.0 if layer.gamma is None else _array(layer.gamma)
            matrix = matrix * gamma / np.sqrt(_array(layer.moving_variance) + layer.epsilon)
        case layers.Dense() if layer.activation is activations.linear:
            matrix = matrix @ _array(layer.kernel).T
        case layers.Dense() if layer.activation is activations.relu:
            active = ops.cast(layer.output > 0, "float32")
            units, matrix = active * _product(units, matrix), _array(layer.kernel).T
        case layers.Add():
            branches = [_channel_weights(producers, term, units, matrix) for term in layer.input]
            if len({id(features) for features, _ in branches}) > 1:
                raise _unsupported(layer)
            return branches[0][0], sum(weights for _, weights in branches)
        case layers.Flatten():
            by_position = matrix.reshape(len(matrix), -1, layer.input.shape[-1])
            return layer.input, _product(units, by_position.sum(axis=1))
        case layers.GlobalAveragePooling2D():
            return layer.input, _product(units, matrix)
        case layers.GlobalMaxPooling2D():
            # The gradient is nonzero at one position only, and equal whichever it is: the sum over positions is
            # the same as for average pooling.
            cells = producers.get(id(layer.input))
            if cells is None or not _is_linear_pointwise(cells):
                raise _unsupported(cells)
            return cells.input, _product(units, matrix @ _array(cells.kernel)[0, 0].T)
        case _:
            raise _unsupported(layer)
    return _channel_weights(producers, layer.input, units, matrix)


def _weighted_sum(features: keras.KerasTensor, weights: Any) -> keras.KerasTensor:
    """Sum features [N, h, w, K] over channels with weights [N or 1, K]; returns [N, h, w]."""
    height, width, channels = features.shape[1:]
    # ONNX is channels first: this transpose cancels with the one that the converter inserts.
    by_channel = ops.reshape(ops.transpose(features, (0, 3, 1, 2)), (-1, channels, height * width))
    return ops.reshape(ops.matmul(weights.reshape((-1, 1, channels)), by_channel), (-1, height, width))


def _normalised(evidence: keras.KerasTensor) -> keras.KerasTensor:
    largest = ops.max(evidence, axis=(1, 2), keepdims=True)
    return evidence / (largest + ops.cast(ops.equal(largest, 0.0), "float32"))


def _product(units: keras.KerasTensor | None, matrix: _Matrix) -> Any:
    return matrix if units is None else ops.matmul(units, matrix)


def _is_linear_pointwise(layer: layers.Layer) -> bool:
    return (
        isinstance(layer, layers.Conv2D)
        and (layer.kernel_size, layer.strides, layer.groups) == ((1, 1), (1, 1), 1)
        and layer.activation is activations.linear
    )


def _array(variable: keras.Variable) -> _Matrix:
    return np.asarray(ops.convert_to_numpy(variable))


def _unsupported(layer: layers.Layer | None) -> FractureEdgeError:
    what = "an unknown layer" if layer is None else f"layer '{layer.name}' ({type(layer).__name__})"
    return FractureEdgeError(f"no heat map for this network: {what} has no known gradient; export it without one")
