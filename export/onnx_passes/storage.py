"""Change how an int8 ONNX file stores biases, weights and zero points, without changing their values.

The forms need fewer bytes, or avoid overflow on x86 processors without VNNI.
"""

from collections.abc import Iterator
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
from onnx import numpy_helper

from export.onnx_passes.graph import add_constant, drop_unused_constants, initializers, set_constant

_UNSIGNED_ZERO = 128


def unshare_zero_points(model: onnx.ModelProto) -> None:
    """Give each fused layer its own weight zero point if onnxruntime has made layers share one.

    On x86 without VNNI, where `fracture_edge.runtimes.session` requests wider sums, onnxruntime converts int8
    weights and their zero points to uint8 when it loads a file, and derives the new name from the old one: a
    second layer with the same zero point would reuse that name, and the file would fail to load.

    Args:
        model: Model with fused operators such as QLinearConv; changed in place. Other models are left unchanged.
    """
    stored = initializers(model.graph)
    taken: set[str] = set()
    for node in model.graph.node:
        for place, name in enumerate(node.input) if node.op_type == "QLinearConv" else ():
            if name in taken and stored[name].data_type == onnx.TensorProto.INT8:
                own = f"weight_zero_point_{len(model.graph.initializer)}"
                node.input[place] = add_constant(model.graph, own, numpy_helper.to_array(stored[name]))
            elif name in stored:
                taken.add(name)


def as_float_biases(model: onnx.ModelProto) -> None:
    """Store the int32 biases of convolutions as the float32 values that they represent.

    onnxruntime, from 1.22 on, rounds them to the same int32 values when it fuses the layer; int32 with its own
    scales and zero points takes three times the bytes. It does so for convolutions only: a matrix product with a
    float bias would run in float. (Quantising without biases would have the same effect, but then weight scales
    are not widened where a bias does not fit into 32 bits.)

    Args:
        model: QDQ model; changed in place.
    """
    stored = initializers(model.graph)
    for node in _weight_nodes(model, stored, of_convolutions=True):
        numbers = numpy_helper.to_array(stored[node.input[0]])
        if numbers.dtype == np.int32:
            scales = numpy_helper.to_array(stored[node.input[1]])
            biases = (numbers * scales.astype(np.float64)).astype(np.float32)
            add_constant(model.graph, node.output[0], biases)
            model.graph.node.remove(node)
    drop_unused_constants(model.graph)


def as_uint8_weights(model: onnx.ModelProto) -> None:
    """Store int8 weights as uint8 with zero point 128; their values stay the same.

    x86 processors without VNNI multiply uint8 activations by int8 weights with an instruction that adds two
    products in 16 bits and saturates; for uint8 weights onnxruntime widens to 16 bits first, and no sum saturates.
    With VNNI this has no benefit and is slower.

    Args:
        model: QDQ model; changed in place.
    """
    for node, scales in _shifted(model, np.dtype(np.int8), np.dtype(np.uint8), _UNSIGNED_ZERO):
        points = np.full(scales.shape, _UNSIGNED_ZERO, np.uint8)
        node.input.append(add_constant(model.graph, f"{node.input[0]}_unsigned_zero", points))
    drop_unused_constants(model.graph)


def as_int8_weights(model: onnx.ModelProto) -> None:
    """Store uint8 weights as int8 again; the inverse of `as_uint8_weights`.

    Args:
        model: QDQ model; changed in place.
    """
    for _ in _shifted(model, np.dtype(np.uint8), np.dtype(np.int8), -_UNSIGNED_ZERO):
        pass
    drop_unused_constants(model.graph)


def _shifted(
    model: onnx.ModelProto, old: np.dtype[Any], new: np.dtype[Any], by: int
) -> Iterator[tuple[onnx.NodeProto, npt.NDArray[Any]]]:
    """Add a number to weights of one type and store them as another type.

    Yields:
        The node of each changed weight, its zero point removed, and its scales.
    """
    stored = initializers(model.graph)
    for node in _weight_nodes(model, stored):
        weights = numpy_helper.to_array(stored[node.input[0]])
        if weights.dtype == old:
            moved = (weights.astype(np.int16) + by).astype(new)
            set_constant(stored[node.input[0]], moved)
            del node.input[2:]
            yield node, numpy_helper.to_array(stored[node.input[1]])


def _weight_nodes(
    model: onnx.ModelProto, stored: dict[str, onnx.TensorProto], *, of_convolutions: bool = False
) -> list[onnx.NodeProto]:
    """Return the nodes that dequantise stored tensors: all, or only those that feed nothing but convolutions."""
    others = {name for node in model.graph.node if node.op_type != "Conv" for name in node.input}
    return [
        node
        for node in model.graph.node
        if node.op_type == "DequantizeLinear"
        and node.input[0] in stored
        and not (of_convolutions and node.output[0] in others)
    ]
