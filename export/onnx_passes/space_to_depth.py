"""Let the first convolution of an int8 graph read the grey image in blocks of four pixels.

With a single input channel a convolution gathers its bytes one by one, and onnxruntime's int8 kernels, which take
four channels at a time, cannot be used: in `custom_cnn` the first layer took a third of the time. Blocks of four
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

from export.onnx_passes.first_convolution import CONVERTING, TO_FIRST, FirstConvolution, first_convolution
from export.onnx_passes.graph import (
    add_constant,
    attributes_of,
    constants,
    consumers,
    drop_unused_constants,
    has_input,
    is_output,
    only_consumer,
    replace_input,
)

#: Number of pixels in a block: the number of channels that the kernels want.
PIXELS = 4
#: Height and width of the max pooling that can follow.
_POOL = 2
_TO_LAST = (0, 2, 3, 1)
#: Operators after a convolution that change each value by itself, and never the order of two values.
_MONOTONE = (*CONVERTING, "Relu", "Clip")


@dataclass(frozen=True, slots=True)
class _Axis:
    """Height or width of a convolution over blocks.

    Attributes:
        side: Number of pixels of the image.
        size: Number of pixels of the kernel.
        stride: Stride over pixels.
        block: Number of pixels in a block.
        positions: Number of outputs of the convolution over blocks; each has the outputs of all `phases`.
    """

    side: int
    size: int
    stride: int
    block: int
    positions: int

    @property
    def phases(self) -> int:
        """Number of outputs that begin in one block."""
        return max(1, self.block // self.stride)

    @property
    def kernel(self) -> int:
        """Number of blocks of the kernel."""
        return -(-(self.size + (self.phases - 1) * self.stride) // self.block)

    @property
    def step(self) -> int:
        """Stride over blocks."""
        return self.phases * self.stride // self.block

    @property
    def padding(self) -> int:
        """Number of blocks behind the last one, filled with the zero point as the pixels were."""
        return max(0, (self.positions - 1) * self.step + self.kernel - self.side // self.block)

    @property
    def fits(self) -> bool:
        """Whether the image consists of whole blocks, and the convolution over them has the wanted outputs."""
        blocks = self.side // self.block + self.padding
        return self.side % self.block == 0 and (blocks - self.kernel) // self.step + 1 == self.positions > 0


def group_pixels(model: onnx.ModelProto) -> bool:
    """Let the first convolution read blocks of pixels, if it has one input channel and is of one of two kinds.

    - Stride 2, padded at the end only: a block is four pixels of a row, in which two outputs begin.
    - Stride 1 without padding, followed by max pooling of 2x2: a block is 2x2 pixels, in which the four outputs
      begin that are pooled; the pooling takes the maximum of four groups of channels.

    Args:
        model: QDQ model with an input image, uint8 [N, H, W, 1], or the same as fused by onnxruntime; changed in
            place.

    Returns:
        Whether it was changed.
    """
    graph = model.graph
    sides = [entry.dim_value for entry in graph.input[0].type.tensor_type.shape.dim[1:3]]
    reshape = only_consumer(graph, graph.input[0].name)
    found = first_convolution(graph, reshape)
    if reshape is None or found is None:
        return False
    outputs, _, size, _ = found.kernel.shape
    given = attributes_of(found.node)
    strides, pads = set(given.get("strides", [1, 1])), list(given.get("pads", [0] * 4))
    behind = _values_behind(graph, found.node)
    pool = _pooling(graph, behind)
    if strides == {2} and pads[:2] == [0, 0]:
        counts = [(side + pad - size) // 2 + 1 for side, pad in zip(sides, pads[2:], strict=True)]
        if counts[1] % 2:
            return False
        rows = _Axis(sides[0], size, 2, 1, counts[0])
        columns = _Axis(sides[1], size, 2, PIXELS, counts[1] // 2)
        pool = None
    elif strides == {1} and not any(pads) and pool is not None:
        rows, columns = (_Axis(side, size, 1, _POOL, (side - size + 1) // _POOL) for side in sides)
    else:
        return False
    if behind is None or not (rows.fits and columns.fits):
        return False
    _read_blocks(graph, reshape, rows, columns)
    _set_kernel(graph, found, rows, columns)
    _set_attributes(
        found.node,
        kernel_shape=[rows.kernel, columns.kernel],
        strides=[rows.step, columns.step],
        pads=[0, 0, rows.padding, columns.padding],
    )
    phases, positions = rows.phases * columns.phases, rows.positions * columns.positions
    if pool is None:
        _reshape_last(graph, behind, [0, rows.positions, columns.positions * columns.phases, outputs])
    else:
        # With the channels last, the groups lie one behind the other: [N, h w, 4, K] is pooled to [N, h w, 1, K].
        _reshape_last(graph, behind, [0, positions, phases, outputs])
        _set_attributes(pool, kernel_shape=[1, phases], strides=[1, phases])
        _reshape_last(graph, pool.output[0], [0, rows.positions, columns.positions, outputs])
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


def _values_behind(graph: onnx.GraphProto, node: onnx.NodeProto) -> str | None:
    """Return the tensor behind a convolution, its activation and its quantisation; ``None`` if others read one."""
    name = node.output[0]
    while node.op_type not in ("QLinearConv", "DequantizeLinear"):
        following = only_consumer(graph, name)
        if following is None or following.op_type not in _MONOTONE or is_output(graph, name):
            return None
        node, name = following, following.output[0]
    return None if is_output(graph, name) else name


def _pooling(graph: onnx.GraphProto, name: str | None) -> onnx.NodeProto | None:
    """Return the max pooling of 2x2 that alone reads a tensor."""
    found = None if name is None else only_consumer(graph, name)
    if found is None or found.op_type != "MaxPool":
        return None
    given = attributes_of(found)
    of_four = all(set(given.get(name, ())) == {_POOL} for name in ("kernel_shape", "strides"))
    plain = not any(given.get("pads", ())) and set(given.get("dilations", (1,))) == {1}
    unpadded = given.get("auto_pad", b"NOTSET") in (b"NOTSET", b"VALID") and not given.get("ceil_mode")
    return found if of_four and plain and unpadded and not is_output(graph, found.output[0]) else None


def _set_attributes(node: onnx.NodeProto, **values: Any) -> None:
    kept = [entry for entry in node.attribute if entry.name not in values]
    del node.attribute[:]
    node.attribute.extend([*kept, *(helper.make_attribute(name, value) for name, value in values.items())])


def _read_blocks(graph: onnx.GraphProto, reshape: onnx.NodeProto, rows: _Axis, columns: _Axis) -> None:
    """Replace the reshaping of the image to [N, 1, H, W] by one to [N, 4, rows of blocks, blocks]."""
    high, wide = rows.side // rows.block, columns.side // columns.block
    out = reshape.output[0]
    source, made = reshape.input[0], []
    if rows.block > 1:
        # Neighbours in a row stay neighbours: onnxruntime copies them together.
        split = np.array([0, high, rows.block, wide, columns.block], np.int64)
        names = [f"{out}_split", f"{out}_ordered"]
        made += [
            helper.make_node("Reshape", [source, add_constant(graph, "split", split)], names[:1], name=names[0]),
            helper.make_node("Transpose", names[:1], names[1:], name=names[1], perm=(0, 1, 3, 2, 4)),
        ]
        source = names[1]
    joined = add_constant(graph, "blocks", np.array([0, high, wide, PIXELS], np.int64))
    made += [
        helper.make_node("Reshape", [source, joined], [f"{out}_blocks"], name=f"{out}_blocks"),
        helper.make_node("Transpose", [f"{out}_blocks"], [out], name=reshape.name, perm=TO_FIRST),
    ]
    place = list(graph.node).index(reshape)
    graph.node.remove(reshape)
    _insert(graph, place, made)


def _set_kernel(graph: onnx.GraphProto, found: FirstConvolution, rows: _Axis, columns: _Axis) -> None:
    """Write the kernel over blocks, with one group of output channels for each output that begins in a block."""
    outputs, _, size, _ = found.kernel.shape
    groups = []
    for row in range(0, rows.phases * rows.stride, rows.stride):
        for column in range(0, columns.phases * columns.stride, columns.stride):
            pixels = np.zeros((outputs, rows.kernel * rows.block, columns.kernel * columns.block), np.int8)
            pixels[:, row : row + size, column : column + size] = found.kernel[:, 0]
            split = pixels.reshape(outputs, rows.kernel, rows.block, columns.kernel, columns.block)
            groups.append(split.transpose(0, 2, 4, 1, 3).reshape(outputs, PIXELS, rows.kernel, columns.kernel))
    stored = constants(graph)
    _store(graph, found.owner, found.places[0], np.concatenate(groups))
    for node, place in ((found.owner, found.places[1]), (found.owner, found.places[2]), (found.node, found.bias)):
        if has_input(node, place) and stored[node.input[place]].size == outputs:
            _store(graph, node, place, np.tile(stored[node.input[place]], len(groups)))


def _store(graph: onnx.GraphProto, node: onnx.NodeProto, place: int, value: npt.NDArray[Any]) -> None:
    """Give an input of a node a stored value of its own: other nodes may share the old one."""
    node.input[place] = add_constant(graph, f"{node.input[place]}_by_block", value)


def _reshape_last(graph: onnx.GraphProto, tensor: str, shape: list[int]) -> None:
    """Let all that reads a tensor read it reshaped as if its channels were last."""
    readers = consumers(graph, tensor)
    names = [f"{tensor}_{word}" for word in ("last", "reshaped", "first")]
    for node in readers:
        replace_input(node, tensor, names[2])
    wanted = add_constant(graph, f"{tensor}_shape", np.array(shape, np.int64))
    made = [
        helper.make_node("Transpose", [tensor], names[:1], name=names[0], perm=_TO_LAST),
        helper.make_node("Reshape", [names[0], wanted], names[1:2], name=names[1]),
        helper.make_node("Transpose", names[1:2], names[2:], name=names[2], perm=TO_FIRST),
    ]
    maker = next(node for node in graph.node if tensor in node.output)
    _insert(graph, list(graph.node).index(maker) + 1, made)


def _insert(graph: onnx.GraphProto, place: int, nodes: list[onnx.NodeProto]) -> None:
    for offset, node in enumerate(nodes):
        graph.node.insert(place + offset, node)
