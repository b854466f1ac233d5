"""Fold the transposes that tf2onnx inserts before Dense layers into the weights of those layers.

Keras flattens feature maps as [N, h, w, K], ONNX convolves them as [N, K, h, w]. tf2onnx therefore transposes
every feature map to the Keras order before flattening it. Reordering the rows of the Dense layer's kernel once has
the same effect.
"""

from collections.abc import Sequence
from math import prod

import numpy as np
import onnx
from onnx import helper, numpy_helper, shape_inference

from export.onnx_passes.graph import (
    add_constant,
    consumers,
    initializers,
    is_output,
    replace_input,
    set_constant,
    shapes_of,
)

_TO_NHWC, _TO_NCHW = (0, 2, 3, 1), (0, 3, 1, 2)


def fold_flatten_transposes(model: onnx.ModelProto) -> int:
    """Remove the transposes between a feature map and the Dense layer that receives it flattened.

    Transpose(0, 2, 3, 1) - Reshape to [N, h w K] - MatMul with a constant becomes Reshape - MatMul, with the rows
    of the constant reordered. A Transpose(0, 3, 1, 2) of the same map, as before a heat map, is removed with it. A
    transpose that another node uses is kept.

    Args:
        model: Model converted by tf2onnx; changed in place.

    Returns:
        Number of removed transposes.
    """
    graph = model.graph
    shapes = shapes_of(shape_inference.infer_shapes(model).graph)
    for transpose in [node for node in graph.node if _is_transpose(node, _TO_NHWC)]:
        source = transpose.input[0]
        for consumer in consumers(graph, transpose.output[0]):
            if _is_transpose(consumer, _TO_NCHW):
                for node in consumers(graph, consumer.output[0]):
                    replace_input(node, consumer.output[0], source)
            elif (dense := _dense_behind(graph, consumer, shapes.get(source, ()))) is not None:
                _reorder_rows(graph, dense, channels=shapes[source][1])
                replace_input(consumer, transpose.output[0], source)
    return _remove_unused_transposes(graph)


def _dense_behind(graph: onnx.GraphProto, reshape: onnx.NodeProto, shape: Sequence[int]) -> onnx.NodeProto | None:
    """Return the MatMul with a constant kernel that is the only consumer of a flattened map [N, K, h, w]."""
    flat = reshape.output[0]
    takers = consumers(graph, flat)
    if reshape.op_type != "Reshape" or [node.op_type for node in takers] != ["MatMul"] or is_output(graph, flat):
        return None
    left, right = takers[0].input
    kernels = {entry.name: tuple(entry.dims) for entry in graph.initializer}
    takes_all = len(shape) == 4 and len(kernels.get(right, ())) == 2 and kernels[right][0] == prod(shape[1:])
    return takers[0] if left == flat and takes_all else None


def _reorder_rows(graph: onnx.GraphProto, dense: onnx.NodeProto, channels: int) -> None:
    """Reorder the rows of a kernel from [h, w, K] to [K, h, w]; copy the kernel if other nodes use it."""
    name = dense.input[1]
    kernel = initializers(graph)[name]
    values = numpy_helper.to_array(kernel)
    by_position = values.reshape(-1, channels, values.shape[1])
    reordered = np.ascontiguousarray(by_position.swapaxes(0, 1)).reshape(values.shape)
    if len(consumers(graph, name)) == 1:
        set_constant(kernel, reordered)
    else:
        dense.input[1] = add_constant(graph, f"{dense.output[0]}/kernel", reordered)


def _remove_unused_transposes(graph: onnx.GraphProto) -> int:
    removed = 0
    # From the end: a transpose may have been used by a later transpose only.
    for node in reversed(list(graph.node)):
        name = node.output[0]
        if node.op_type == "Transpose" and not consumers(graph, name) and not is_output(graph, name):
            graph.node.remove(node)
            removed += 1
    return removed


def _is_transpose(node: onnx.NodeProto, order: tuple[int, ...]) -> bool:
    return node.op_type == "Transpose" and tuple(helper.get_node_attr_value(node, "perm")) == order
