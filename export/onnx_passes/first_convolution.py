"""Find the quantised convolution that reads the grey image."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import onnx

from export.onnx_passes.graph import attributes_of, constants, has_input, only_consumer, producers

#: Permutation from [N, H, W, K] to [N, K, H, W].
TO_FIRST = (0, 3, 1, 2)
CONVERTING = ("QuantizeLinear", "DequantizeLinear")


@dataclass(frozen=True, slots=True)
class FirstConvolution:
    """First convolution of a graph and what its kernel is made of.

    Attributes:
        node: Conv, or QLinearConv in a graph that onnxruntime has fused.
        owner: Node that reads the stored kernel: `node`, or its DequantizeLinear.
        places: Places of kernel, scales and zero points among the inputs of `owner`.
        bias: Place of the bias among the inputs of `node`.
        kernel: Stored kernel, int8 [K, 1, k, k].
    """

    node: onnx.NodeProto
    owner: onnx.NodeProto
    places: tuple[int, int, int]
    bias: int
    kernel: npt.NDArray[np.int8]


def first_convolution(graph: onnx.GraphProto, reshape: onnx.NodeProto | None) -> FirstConvolution | None:
    """Return the quantised convolution that alone reads the reshaped image, if it has one input channel."""
    if reshape is None or not _to_planes(graph, reshape):
        return None
    node = only_consumer(graph, reshape.output[0])
    while node is not None and node.op_type in CONVERTING:
        node = only_consumer(graph, node.output[0])
    if node is None or node.op_type not in ("Conv", "QLinearConv"):
        return None
    stored = constants(graph)
    owner, places, bias = node, (3, 4, 5), 8
    if node.op_type == "Conv":
        owner, places, bias = producers(graph).get(node.input[1], node), (0, 1, 2), 2
    kernel = stored.get(owner.input[places[0]])
    further = [(owner, places[1]), (owner, places[2]), (node, bias)]
    given_by = [
        stored.get(each.input[place]) if has_input(each, place) else np.zeros(1) for each, place in further
    ]
    if kernel is None or kernel.dtype != np.int8 or kernel.ndim != 4 or any(each is None for each in given_by):
        return None
    # Another zero point would have to fill what is added to the kernel.
    if np.any(given_by[1]):
        return None
    found = FirstConvolution(node, owner, places, bias, kernel)
    square = kernel.shape[1] == 1 and kernel.shape[2] == kernel.shape[3]
    given = attributes_of(node)
    plain = given.get("group", 1) == 1 and set(given.get("dilations", [1])) == {1}
    return found if square and plain and given.get("auto_pad", b"NOTSET") == b"NOTSET" else None


def _to_planes(graph: onnx.GraphProto, node: onnx.NodeProto) -> bool:
    """Return whether a node makes [N, 1, H, W] of the image, [N, H, W, 1]: with one channel this moves nothing."""
    if node.op_type == "Transpose":
        return tuple(attributes_of(node).get("perm", ())) == TO_FIRST
    sides = [entry.dim_value for entry in graph.input[0].type.tensor_type.shape.dim[1:3]]
    shape = constants(graph).get(node.input[1]) if node.op_type == "Reshape" else None
    return shape is not None and shape.size == 4 and shape[1] in (1, -1) and shape[2:].tolist() == sides
