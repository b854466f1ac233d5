"""Quantise a large Dense layer dynamically: int8 weights, and ranges of its input from each image.

Where one Dense layer holds most of the weights, its input is the largest source of noise in a small network: one
range for all images is set by the brightest of them. onnxruntime's DynamicQuantizeMatMul takes the range from the
input itself, which costs one pass over it.
"""

import math
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
from onnx import helper

from export.onnx_passes.graph import (
    add_constant,
    attributes_of,
    constants,
    drop_unused_constants,
    initializers,
)

#: Share of all weights from which a Dense layer is large.
LARGE = 0.5
_DOMAIN = "com.microsoft"
#: Largest int8 weight; -128 is not used, so that 0 is in the middle.
_MOST = 127


def large_dense_nodes(model: onnx.ModelProto) -> list[str]:
    """Return the names of the Dense layers that hold at least `LARGE` of all weights.

    Args:
        model: float32 model after `export.quantise.prepare`.
    """
    stored = initializers(model.graph)
    total = sum(math.prod(entry.dims) for entry in stored.values())
    return [
        node.name
        for node in model.graph.node
        if node.op_type in ("MatMul", "Gemm")
        and node.input[1] in stored
        and math.prod(stored[node.input[1]].dims) >= LARGE * total
    ]


def quantise_dynamically(model: onnx.ModelProto, names: list[str], *, unsigned: bool) -> None:
    """Replace float Dense layers by DynamicQuantizeMatMul with int8 weights per output channel.

    Args:
        model: Model in which these layers were left in float32; changed in place.
        names: Names of nodes, MatMul or Gemm.
        unsigned: Whether to store the weights as uint8 with zero point 128, with the same values, see
            `export.onnx_passes.storage.as_uint8_weights`.
    """
    graph, stored = model.graph, constants(model.graph)
    for place, node in enumerate(graph.node):
        if node.name in names:
            kernel = _kernel(node, stored[node.input[1]])
            scale = np.maximum(np.abs(kernel).max(axis=0), np.finfo(np.float32).tiny) / _MOST
            weights = np.rint(kernel / scale).astype(np.int16)
            # The same zero point in each channel.
            zero = np.full(scale.shape, 128 * unsigned, np.uint8 if unsigned else np.int8)
            inputs = [
                node.input[0],
                add_constant(graph, f"{node.name}_weights", (weights + 128 * unsigned).astype(zero.dtype)),
                add_constant(graph, f"{node.name}_scale", scale.astype(np.float32)),
                add_constant(graph, f"{node.name}_zero", zero),
                *node.input[2:],
            ]
            made = helper.make_node("DynamicQuantizeMatMul", inputs, list(node.output), node.name, domain=_DOMAIN)
            graph.node.remove(node)
            graph.node.insert(place, made)
    if names and _DOMAIN not in {entry.domain for entry in model.opset_import}:
        model.opset_import.append(helper.make_opsetid(_DOMAIN, 1))
    drop_unused_constants(graph)


def _kernel(node: onnx.NodeProto, kernel: npt.NDArray[Any]) -> npt.NDArray[np.float64]:
    """Return the kernel of a MatMul or Gemm, [inputs, outputs]."""
    settings = attributes_of(node)
    values = kernel.astype(np.float64) * settings.get("alpha", 1.0)
    return values.T if settings.get("transB", 0) else values
