"""The normalisation of grey bytes in an int8 graph, as what it is: their scale and zero point.

A network that begins with (x - 127) / 128 reads bytes whose scale is 1/128 and whose zero point is 127. Quantised
operator by operator, the same becomes a cast, a multiplication and an addition over the whole image, each with
scales of its own: they round, and in onnxruntime took a third of the time of `edge`. One DequantizeLinear is exact
and free, since the first convolution takes the bytes as they are; its padding is the zero point, which is 0.
"""

from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
from onnx import helper

from export.onnx_passes.graph import add_constant, constants, consumers, drop_unused_constants, replace_input

#: Operators that move numbers and do not change them.
_MOVING = frozenset({"Reshape", "Transpose", "Squeeze", "Unsqueeze"})
#: How far from a whole number a zero point may be found: float32 constants.
_TOLERANCE = 1e-3


@dataclass(slots=True)
class _Chain:
    """What follows the input one by one: x * scale + offset, and its moving nodes.

    Attributes:
        nodes: All of it.
        scale: Of the bytes.
        offset: Added to the scaled bytes.
        end: Name of the last output.
    """

    end: str
    nodes: list[onnx.NodeProto] = field(default_factory=list)
    scale: float = 1.0
    offset: float = 0.0

    @property
    def zero_point(self) -> int | None:
        """The byte that stands for 0; ``None`` where no byte does."""
        found = -self.offset / self.scale if self.scale else -1.0
        whole = round(found)
        return whole if abs(found - whole) < _TOLERANCE and 0 <= whole <= 255 else None


def normalisation_nodes(model: onnx.ModelProto) -> list[str]:
    """Names of the nodes that scale and shift the input, where `dequantise_input` will replace them.

    Args:
        model: In float32.
    """
    chain = _chain(model)
    return [] if chain.zero_point is None else [node.name for node in chain.nodes]


def dequantise_input(model: onnx.ModelProto) -> None:
    """Replace the normalisation in front of the first quantised layer by one DequantizeLinear.

    Args:
        model: A QDQ model whose `normalisation_nodes` were left in float32; changed in place. Left as it is where
            the input is not normalised by one scale and one shift, as for networks of three channels.
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
        # The layer takes signed bytes: the same values, 128 lower.
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
    """Take one more node into account; whether it belongs to the chain."""
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
