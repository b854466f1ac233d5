"""Express the normalisation of the input image in an int8 graph as the scale and zero point of its bytes.

A network that begins with (x - 127) / 128 in effect reads bytes with scale 1/128 and zero point 127. Quantised
operator by operator, this becomes a cast, a multiplication and an addition over the full image, each with its own
scales: they round, and in onnxruntime took a third of the time of `edge`. One DequantizeLinear is exact and costs
nothing, since the first convolution reads the bytes directly; its padding is the zero point, which represents 0.
"""

from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
from onnx import helper

from export.onnx_passes.graph import add_constant, constants, consumers, drop_unused_constants, replace_input

#: Operators that rearrange values without changing them.
_MOVING = frozenset({"Reshape", "Transpose", "Squeeze", "Unsqueeze"})
#: Largest distance of a computed zero point from an integer; the constants are float32.
_TOLERANCE = 1e-3


@dataclass(slots=True)
class _Chain:
    """Chain of nodes after the input that computes x * scale + offset and rearranges values.

    Attributes:
        nodes: Nodes of the chain, in order.
        scale: Factor of the bytes.
        offset: Number added to the scaled bytes.
        end: Name of the last node's output.
    """

    end: str
    nodes: list[onnx.NodeProto] = field(default_factory=list)
    scale: float = 1.0
    offset: float = 0.0

    @property
    def zero_point(self) -> int | None:
        """Byte that represents 0; ``None`` if no byte does."""
        found = -self.offset / self.scale if self.scale else -1.0
        nearest = round(found)
        return nearest if abs(found - nearest) < _TOLERANCE and 0 <= nearest <= 255 else None


def normalisation_nodes(model: onnx.ModelProto) -> list[str]:
    """Return the names of the nodes that scale and shift the input, if `dequantise_input` can replace them.

    Args:
        model: float32 model.
    """
    chain = _chain(model)
    return [] if chain.zero_point is None else [node.name for node in chain.nodes]


def dequantise_input(model: onnx.ModelProto) -> None:
    """Replace the normalisation before the first quantised layer by one DequantizeLinear.

    Args:
        model: QDQ model whose `normalisation_nodes` were left in float32; changed in place. Left unchanged if the
            input is not normalised by one scale and one shift, as in networks with three input channels.
    """
    chain = _chain(model)
    zero_point = chain.zero_point
    after = consumers(model.graph, chain.end)
    if zero_point is None or len(after) != 1 or after[0].op_type != "QuantizeLinear" or not chain.nodes:
        return
    graph, quantise = model.graph, after[0]
    stored = constants(graph)
    signed = stored[quantise.input[2]].dtype == np.int8
    (dequantise,) = consumers(graph, quantise.output[0])
    add_constant(graph, "image_scale", np.float32(chain.scale))
    add_constant(graph, "image_zero_point", np.uint8(zero_point))
    bytes_in = graph.input[0].name
    kept = []
    for node in chain.nodes:
        if node.op_type in _MOVING:
            node.input[0] = bytes_in
            bytes_in = f"{node.output[0]}_bytes"
            node.output[0] = bytes_in
            kept.append(node)
    made = [*kept, helper.make_node("DequantizeLinear", [bytes_in, "image_scale", "image_zero_point"], ["grey"])]
    if signed:
        # The layer reads signed bytes: the same values, 128 lower.
        add_constant(graph, "image_zero_point_signed", np.int8(zero_point - 128))
        ours = ["image_scale", "image_zero_point_signed"]
        quantise.input[:] = ["grey", *ours]
        dequantise.input[1:] = ours
    else:
        for node in consumers(graph, dequantise.output[0]):
            replace_input(node, dequantise.output[0], "grey")
        graph.node.remove(quantise)
        graph.node.remove(dequantise)
    for node in chain.nodes:
        graph.node.remove(node)
    for place, node in enumerate(made):
        graph.node.insert(place, node)
    del graph.value_info[:]
    drop_unused_constants(graph)


def _chain(model: onnx.ModelProto) -> _Chain:
    stored = constants(model.graph)
    chain = _Chain(model.graph.input[0].name)
    while True:
        following = consumers(model.graph, chain.end)
        if len(following) != 1 or not _extend(chain, following[0], stored):
            return chain
        chain.nodes.append(following[0])
        chain.end = following[0].output[0]


def _extend(chain: _Chain, node: onnx.NodeProto, stored: dict[str, npt.NDArray[Any]]) -> bool:
    """Include a node's scale or offset in the chain; return whether the node belongs to it."""
    if node.op_type == "Cast" or (node.op_type in _MOVING and node.input[0] == chain.end):
        return True
    if node.op_type not in ("Mul", "Add") or chain.end not in node.input:
        return False
    (other,) = [name for name in node.input if name != chain.end] or [""]
    if other not in stored or stored[other].size != 1:
        return False
    value = float(stored[other].item())
    if node.op_type == "Mul":
        chain.scale, chain.offset = chain.scale * value, chain.offset * value
    else:
        chain.offset += value
    return True
