"""Let the first convolution of an int8 graph read the grey image in blocks of 2x2 pixels.

With a single input channel a convolution gathers its bytes one by one, and onnxruntime's int8 kernels, which take
four channels at a time, cannot be used: in `custom_cnn` the first layer took a third of the time. Blocks of 2x2
pixels make four channels of the image (space to depth; Ying et al., "Image Classification at Supercomputer Scale",
2018). The same products are added up, with further ones by zero, so that all answers stay equal bit by bit.

Other programs may be slower with it: they move the bytes that onnxruntime need not move, because its int8
convolutions keep the channels last.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
from onnx import helper

from export.onnx_passes.graph import (
    add_constant,
    constants,
    consumers,
    drop_unused_constants,
    replace_input,
)

#: Height and width of a block in pixels.
BLOCK = 2
_TO_LAST, _TO_FIRST = (0, 2, 3, 1), (0, 3, 1, 2)
_CONVERTING = ("QuantizeLinear", "DequantizeLinear")
#: Operators after a convolution that change each value by itself, and never the order of two values.
_MONOTONE = (*_CONVERTING, "Relu", "Clip")


@dataclass(frozen=True, slots=True)
class _Convolution:
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

    def attribute(self, name: str, default: Any) -> Any:
        """Return the value of an attribute of the node."""
        found = {entry.name: entry for entry in self.node.attribute}
        return helper.get_attribute_value(found[name]) if name in found else default


def group_pixels(model: onnx.ModelProto) -> bool:
    """Let the first convolution read blocks of pixels, if it has one input channel and is of one of two kinds.

    - Stride 2: it has stride 1 over the blocks.
    - Stride 1, followed by max pooling of 2x2: the four positions that are pooled become four groups of channels,
      and the pooling takes the maximum of them.

    Args:
        model: QDQ model with an input image, uint8 [N, H, W, 1], or the same as fused by onnxruntime; changed in
            place.

    Returns:
        Whether it was changed.
    """
    graph = model.graph
    height, width = (entry.dim_value for entry in graph.input[0].type.tensor_type.shape.dim[1:3])
    reshape = _only_consumer(graph, graph.input[0].name)
    found = _first_convolution(graph, reshape)
    if reshape is None or found is None or height % BLOCK or width % BLOCK:
        return False
    size = found.kernel.shape[2]
    stride, pads = set(found.attribute("strides", [1, 1])), list(found.attribute("pads", [0] * 4))
    pool = _pooling(graph, found.node)
    if stride == {BLOCK} and pads[:2] == [0, 0]:
        phases = 1
        after = [(side + pad - size) // BLOCK + 1 for side, pad in zip((height, width), pads[2:], strict=True)]
    elif stride == {1} and not any(pads) and pool is not None:
        phases = BLOCK
        after = [(side - size + 1) // BLOCK for side in (height, width)]
    else:
        return False
    blocks = -(-(size + phases - 1) // BLOCK)
    # Blocks behind the last one, filled with the zero point as the pixels were.
    behind = [there - side // BLOCK + blocks - 1 for there, side in zip(after, (height, width), strict=True)]
    if min(behind) < 0:
        return False
    _read_blocks(graph, reshape, height, width)
    _set_kernel(graph, found, blocks, phases)
    _set_attributes(found.node, kernel_shape=[blocks] * 2, strides=[1, 1], pads=[0, 0, *behind])
    if pool is not None and phases > 1:
        _pool_groups(graph, pool, after, len(found.kernel))
    del graph.value_info[:]
    drop_unused_constants(graph)
    return True


def group_pixels_of(path: Path) -> bool:
    """Apply `group_pixels` to a file, which is rewritten if it changes; return whether it did."""
    model = onnx.load(path)
    changed = group_pixels(model)
    if changed:
        onnx.save(model, path)
    return changed


def _only_consumer(graph: onnx.GraphProto, name: str) -> onnx.NodeProto | None:
    found = consumers(graph, name)
    return found[0] if len(found) == 1 else None


def _first_convolution(graph: onnx.GraphProto, reshape: onnx.NodeProto | None) -> _Convolution | None:
    """Return the quantised convolution that alone reads the reshaped image, if it has one input channel."""
    # With one channel the two move nothing.
    if reshape is None or reshape.op_type not in ("Reshape", "Transpose"):
        return None
    node = _only_consumer(graph, reshape.output[0])
    while node is not None and node.op_type in _CONVERTING:
        node = _only_consumer(graph, node.output[0])
    if node is None or node.op_type not in ("Conv", "QLinearConv"):
        return None
    stored = constants(graph)
    owner, places, bias = node, (3, 4, 5), 8
    if node.op_type == "Conv":
        makers = {name: each for each in graph.node for name in each.output}
        owner, places, bias = makers.get(node.input[1], node), (0, 1, 2), 2
    kernel = stored.get(owner.input[places[0]])
    # Another zero point would have to fill what is added to the kernel.
    if kernel is None or kernel.dtype != np.int8 or kernel.ndim != 4 or np.any(stored[owner.input[places[2]]]):
        return None
    found = _Convolution(node, owner, places, bias, kernel)
    square = kernel.shape[1] == 1 and kernel.shape[2] == kernel.shape[3]
    plain = found.attribute("group", 1) == 1 and set(found.attribute("dilations", [1])) == {1}
    return found if square and plain and found.attribute("auto_pad", b"NOTSET") == b"NOTSET" else None


def _pooling(graph: onnx.GraphProto, node: onnx.NodeProto) -> onnx.NodeProto | None:
    """Return the max pooling by blocks that alone reads the outputs of a convolution."""
    following = _only_consumer(graph, node.output[0])
    while following is not None and following.op_type in _MONOTONE:
        following = _only_consumer(graph, following.output[0])
    if following is None or following.op_type != "MaxPool":
        return None
    found = {entry.name: helper.get_attribute_value(entry) for entry in following.attribute}
    by_blocks = all(set(found.get(name, ())) == {BLOCK} for name in ("kernel_shape", "strides"))
    plain = not any(found.get("pads", ())) and set(found.get("dilations", (1,))) == {1}
    return following if by_blocks and plain and not found.get("ceil_mode") else None


def _read_blocks(graph: onnx.GraphProto, reshape: onnx.NodeProto, height: int, width: int) -> None:
    """Replace the reshaping of the image to [N, 1, H, W] by one to [N, 4, H / 2, W / 2]."""
    rows, columns = height // BLOCK, width // BLOCK
    split = add_constant(graph, "pixels_by_block", np.array([0, rows, BLOCK, columns, BLOCK], np.int64))
    joined = add_constant(graph, "blocks", np.array([0, rows, columns, BLOCK * BLOCK], np.int64))
    names = [f"{reshape.output[0]}_{word}" for word in ("split", "ordered", "blocks")]
    # Two neighbouring pixels of a row stay neighbours: onnxruntime copies them together.
    made = [
        helper.make_node("Reshape", [reshape.input[0], split], names[:1], name=names[0]),
        helper.make_node("Transpose", names[:1], names[1:2], name=names[1], perm=(0, 1, 3, 2, 4)),
        helper.make_node("Reshape", [names[1], joined], names[2:], name=names[2]),
        helper.make_node("Transpose", names[2:], list(reshape.output), name=reshape.name, perm=_TO_FIRST),
    ]
    place = list(graph.node).index(reshape)
    graph.node.remove(reshape)
    for offset, node in enumerate(made):
        graph.node.insert(place + offset, node)


def _set_kernel(graph: onnx.GraphProto, found: _Convolution, blocks: int, phases: int) -> None:
    """Write the kernel over blocks, with one group of output channels for each of phases x phases positions."""
    outputs, _, size, _ = found.kernel.shape
    groups = []
    for down in range(phases):
        for right in range(phases):
            pixels = np.zeros((outputs, blocks * BLOCK, blocks * BLOCK), np.int8)
            pixels[:, down : down + size, right : right + size] = found.kernel[:, 0]
            split = pixels.reshape(outputs, blocks, BLOCK, blocks, BLOCK).transpose(0, 2, 4, 1, 3)
            groups.append(split.reshape(outputs, BLOCK * BLOCK, blocks, blocks))
    stored, copies = constants(graph), phases * phases
    _store(graph, found.owner, found.places[0], np.concatenate(groups))
    if copies > 1:
        for node, place in (
            (found.owner, found.places[1]),
            (found.owner, found.places[2]),
            (found.node, found.bias),
        ):
            if place < len(node.input) and stored[node.input[place]].size == outputs:
                _store(graph, node, place, np.tile(stored[node.input[place]], copies))


def _store(graph: onnx.GraphProto, node: onnx.NodeProto, place: int, value: npt.NDArray[Any]) -> None:
    """Give an input of a node a stored value of its own: other nodes may share the old one."""
    node.input[place] = add_constant(graph, f"{node.input[place]}_by_block", value)


def _set_attributes(node: onnx.NodeProto, **values: Any) -> None:
    kept = [entry for entry in node.attribute if entry.name not in values]
    del node.attribute[:]
    node.attribute.extend([*kept, *(helper.make_attribute(name, value) for name, value in values.items())])


def _pool_groups(graph: onnx.GraphProto, pool: onnx.NodeProto, size: list[int], channels: int) -> None:
    """Let a max pooling take the maximum of the four groups of channels.

    With the channels last, the groups lie one behind the other: [N, h w, 4, K] is pooled to [N, h w, 1, K].
    """
    height, width = size
    groups = np.array([0, height * width, BLOCK * BLOCK, channels], np.int64)
    _reshape_last(graph, pool, add_constant(graph, "groups", groups), before=True)
    pooled = add_constant(graph, "pooled", np.array([0, height, width, channels], np.int64))
    _reshape_last(graph, pool, pooled, before=False)
    _set_attributes(pool, kernel_shape=[1, BLOCK * BLOCK], strides=[1, BLOCK * BLOCK])


def _reshape_last(graph: onnx.GraphProto, pool: onnx.NodeProto, shape: str, *, before: bool) -> None:
    """Reshape a tensor before or behind a pooling as if its channels were last."""
    outside = pool.input[0] if before else pool.output[0]
    names = [f"{outside}_{shape}_{word}" for word in ("last", "reshaped", "first")]
    source, target = (outside, names[2]) if before else (names[2], outside)
    made = [
        helper.make_node("Transpose", [source], names[:1], name=names[0], perm=_TO_LAST),
        helper.make_node("Reshape", [names[0], shape], names[1:2], name=names[1]),
        helper.make_node("Transpose", names[1:2], [target], name=names[2], perm=_TO_FIRST),
    ]
    if before:
        replace_input(pool, outside, names[2])
    else:
        pool.output[0] = names[2]
    place = list(graph.node).index(pool) + (0 if before else 1)
    for offset, node in enumerate(made):
        graph.node.insert(place + offset, node)
