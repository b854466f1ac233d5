"""How an int8 ONNX file stores its numbers: the same arithmetic, fewer bytes, or safe on older processors."""

from collections.abc import Iterator
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
from onnx import numpy_helper

from export.onnx_passes.graph import add_constant, drop_unused_constants, initializers, set_constant

_UNSIGNED_ZERO = 128


def own_zero_points(model: onnx.ModelProto) -> None:
    """Give each fused layer a zero point of its own for its weights, where onnxruntime has let them share one.

    On x86 without VNNI, where `fracture_edge.session` asks for wider sums, it stores int8 weights and their zero
    points as uint8 when it opens a file, under a name made of the old one: a second layer with the same zero point
    would take that name again, and the file would not open.

    Args:
        model: With fused operators such as QLinearConv; changed in place. Other files stay as they are.
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
    """Store the int32 biases of convolutions as the float32 numbers that they stand for.

    onnxruntime, from 1.22 on, rounds them to the very same int32 when it fuses the layer; int32 with scales and
    zero points of its own takes three times the bytes. It does so for convolutions only: a matrix product whose
    bias is a float would run in float. (Quantising without biases would do it too, but then the scales of weights
    are not widened where a bias would not fit into 32 bits.)

    Args:
        model: A QDQ model; changed in place.
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
    """Store int8 weights as uint8 with zero point 128: the same values.

    x86 processors without VNNI multiply uint8 activations by int8 weights with an instruction that adds two
    products in 16 bits and saturates; for uint8 weights onnxruntime widens to 16 bits first, and no sum is lost.
    VNNI gains nothing from it and is slower.

    Args:
        model: A QDQ model; changed in place.
    """
    for node, scales in _shifted(model, np.dtype(np.int8), np.dtype(np.uint8), _UNSIGNED_ZERO):
        points = np.full(scales.shape, _UNSIGNED_ZERO, np.uint8)
        node.input.append(add_constant(model.graph, f"{node.input[0]}_unsigned_zero", points))
    drop_unused_constants(model.graph)


def as_int8_weights(model: onnx.ModelProto) -> None:
    """Undo `as_uint8_weights`.

    Args:
        model: A QDQ model; changed in place.
    """
    for _ in _shifted(model, np.dtype(np.uint8), np.dtype(np.int8), -_UNSIGNED_ZERO):
        pass
    drop_unused_constants(model.graph)


def _shifted(
    model: onnx.ModelProto, old: np.dtype[Any], new: np.dtype[Any], by: int
) -> Iterator[tuple[onnx.NodeProto, npt.NDArray[Any]]]:
    """Move weights of one type by a number into another type; their nodes, without zero point, and scales."""
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
    """The nodes that dequantise stored numbers; all of them, or those that only convolutions take."""
    others = {name for node in model.graph.node if node.op_type != "Conv" for name in node.input}
    return [
        node
        for node in model.graph.node
        if node.op_type == "DequantizeLinear"
        and node.input[0] in stored
        and not (of_convolutions and node.output[0] in others)
    ]
