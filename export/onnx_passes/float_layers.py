"""Protect layers that stay float32 in an int8 file from being quantised by onnxruntime.

onnxruntime, from 1.22 on, quantises a float layer between a DequantizeLinear and a QuantizeLinear when it loads a
file, its kernel with one scale for all channels (optimisation pass WeightBiasQuantization). A layer kept in
float32 to reduce the difference from Keras would then differ more than before.
"""

from collections.abc import Sequence

import numpy as np
import onnx
from onnx import helper

from export.onnx_passes.graph import add_constant, constants


def protect_float_layers(model: onnx.ModelProto, names: Sequence[str]) -> None:
    """Insert a Clip before float layers whose input is dequantised; its bounds leave all values unchanged.

    Args:
        model: QDQ model with zero points; changed in place.
        names: Names of the layers; layers whose input is not an 8-bit tensor are left unchanged.
    """
    graph = model.graph
    stored = constants(graph)
    dequantised = {node.output[0]: node for node in graph.node if node.op_type == "DequantizeLinear"}
    for node in [node for node in graph.node if node.name in names and node.input[0] in dequantised]:
        source = node.input[0]
        scale, zero = (stored[name] for name in dequantised[source].input[1:3])
        limits = np.iinfo(zero.dtype)
        bounds = []
        for side, limit in (("least", limits.min), ("most", limits.max)):
            value = np.float32((limit - int(zero)) * scale)
            bounds.append(add_constant(graph, f"{node.name}_{side}", value))
        clip = helper.make_node("Clip", [source, *bounds], [f"{node.name}_unchanged"], f"{node.name}_unchanged")
        node.input[0] = clip.output[0]
        graph.node.insert(list(graph.node).index(node), clip)
