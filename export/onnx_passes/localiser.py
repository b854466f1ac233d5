"""Make the heat map of a graph from a localiser that was fitted to its feature maps."""

import re
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import onnx
from onnx import helper

from export.onnx_passes.graph import add_constant, drop_outputs, producers
from fracture_edge.errors import FractureEdgeError
from fracture_edge.modelfile import HEATMAP_NAME, INPUT_NAME
from fracture_edge.runtimes.session import open_session
from train.evaluation.localiser import Floats, Localiser, split

_BATCH = 16
#: Names of the tensors that tf2onnx makes of the layers that `train.evaluation.localiser.map_layers` reads.
_LAYER = re.compile(r"/(block\d+_expand_relu)(_\d+)?/")
#: Beginning of the names of a localiser's nodes and tensors.
_PREFIX = "localiser/"


class MapTensors(NamedTuple):
    """Tensors of a graph that the localiser reads and writes.

    Attributes:
        chances: Node that computes the chances of which the heat map is made.
        maps: Names of the feature maps, float32 or 8 bits [N, channels, h, w], in the order of the graph.
    """

    chances: onnx.NodeProto
    maps: tuple[str, ...]


def map_tensors(model: onnx.ModelProto) -> MapTensors:
    """Find the feature maps that the localiser reads, see `train.evaluation.localiser.map_layers`.

    Args:
        model: Model of `edge` with a heat map.

    Raises:
        FractureEdgeError: The model has no heat map of cells or of a localiser, or no such maps.
    """
    makers = producers(model.graph)
    node = makers.get(HEATMAP_NAME)
    while node is not None and node.op_type not in ("Sigmoid", "Reciprocal"):
        node = makers.get(node.input[0])
    shapes = _shapes(model)
    cells = next((shapes[name] for name, maker in makers.items() if _is_cells(maker, shapes[name])), None)
    if node is None or cells is None:
        raise FractureEdgeError("the file has no heat map of cells; export it with --heatmap")
    twice = tuple(2 * side for side in cells[2:])
    # The last of each layer is what other layers read, behind its activation.
    by_layer = {
        found[1]: name
        for name, shape in shapes.items()
        if not name.startswith(_PREFIX)
        # Read by a localiser alone, which may have been there before the graph was optimised.
        and not _dequantises_a_convolution(makers, name)
        and (found := _LAYER.search(name))
        and len(shape) == 4
        and shape[2:] == twice
    }
    by_width = {shapes[name][1]: name for name in by_layer.values()}
    if not by_width:
        raise FractureEdgeError("the file has no feature maps of twice the resolution of its cells")
    return MapTensors(node, tuple(by_width.values()))


def maps_of_file(
    name: str, model: onnx.ModelProto, tensors: MapTensors, pixels: npt.NDArray[np.uint8]
) -> Iterator[Floats]:
    """Compute the feature maps of images, batch by batch.

    Args:
        name: Name of the file in messages.
        model: Model.
        tensors: Its tensors.
        pixels: Images, uint8 [N, H, W, 1], preprocessed as the file says.

    Yields:
        Feature maps of some images, float32 [n, h, w, K], one map after the other.
    """
    probe = onnx.ModelProto()
    probe.CopyFrom(model)
    names = [_in_float(probe.graph, tensor) for tensor in tensors.maps]
    for tensor in names:
        probe.graph.output.append(helper.make_tensor_value_info(tensor, onnx.TensorProto.FLOAT, None))
    session = open_session(name, probe.SerializeToString(), None)
    for start in range(0, len(pixels), _BATCH):
        found = session.run(names, {INPUT_NAME: pixels[start : start + _BATCH]})
        yield np.moveaxis(np.concatenate(found, axis=1), 1, -1)


def attach(model: onnx.ModelProto, tensors: MapTensors, localiser: Localiser) -> None:
    """Make the heat map of a graph from a localiser.

    Args:
        model: Model; changed in place.
        tensors: Its tensors.
        localiser: Localiser that was fitted to them.
    """
    graph, shapes = model.graph, _shapes(model)
    # A localiser that it had is of no use any more.
    tensors.chances.input[0] = tensors.maps[0]
    drop_outputs(graph, ())
    place = [node.output[0] for node in graph.node].index(tensors.chances.output[0])
    added = onnx.GraphProto()
    terms = []
    kernels = split(localiser, [shapes[tensor][1] for tensor in tensors.maps])
    for number, (tensor, kernel) in enumerate(zip(tensors.maps, kernels, strict=True)):
        values = kernel.reshape(1, -1, 1, 1).astype(np.float32)
        inputs = [_in_float(graph, tensor, added), add_constant(graph, f"{_PREFIX}kernel_{number}", values)]
        if not number:
            inputs.append(add_constant(graph, f"{_PREFIX}bias", np.array([localiser.bias], np.float32)))
        terms.append(_append(added, "Conv", inputs, f"map_{number}"))
    total = terms[0] if len(terms) == 1 else _append(added, "Sum", terms, "sum")
    shape = {"kernel_shape": [3, 3], "pads": [1, 1, 1, 1], "count_include_pad": 0}
    log_odds = _append(added, "AveragePool", [total], "average", **shape)
    # Not a sigmoid, see `export.keras_passes.heatmap`.
    inverse_odds = _append(added, "Exp", [_append(added, "Neg", [log_odds], "negative")], "inverse_odds")
    one = add_constant(graph, f"{_PREFIX}one", np.float32(1))
    tensors.chances.op_type = "Reciprocal"
    tensors.chances.input[0] = _append(added, "Add", [inverse_odds, one], "inverse_chances")
    for number, node in enumerate(added.node):
        graph.node.insert(place + number, node)
    # The heat map has another size now: onnxruntime plans its memory by the sizes that a graph states.
    del graph.value_info[:]
    heatmap = next(entry for entry in graph.output if entry.name == HEATMAP_NAME)
    for dimension, size in zip(heatmap.type.tensor_type.shape.dim[1:], shapes[tensors.maps[0]][2:], strict=True):
        dimension.dim_value = size


def _shapes(model: onnx.ModelProto) -> dict[str, tuple[int, ...]]:
    """Return the shapes of all tensors that nodes make of one image, in the order of the nodes."""
    probe = onnx.ModelProto()
    probe.CopyFrom(model)
    known = {entry.name for entry in probe.graph.output}
    names = [name for node in probe.graph.node for name in node.output if name]
    probe.graph.output.extend(onnx.ValueInfoProto(name=name) for name in names if name not in known)
    session = open_session("the file", probe.SerializeToString(), None)
    height, width = (entry.dim_value for entry in model.graph.input[0].type.tensor_type.shape.dim[1:3])
    found = session.run(names, {INPUT_NAME: np.zeros((1, height, width, 1), np.uint8)})
    return {name: value.shape for name, value in zip(names, found, strict=True)}


def _is_cells(node: onnx.NodeProto, shape: tuple[int, ...]) -> bool:
    """Return whether a node makes the cells' logits, which P(fractured) takes the largest of."""
    return node.op_type == "Conv" and len(shape) == 4 and shape[1] == 1 and not node.name.startswith(_PREFIX)


def _dequantises_a_convolution(makers: Mapping[str, onnx.NodeProto], tensor: str) -> bool:
    maker = makers[tensor]
    before = makers.get(maker.input[0]) if maker.op_type == "DequantizeLinear" else None
    return before is not None and before.op_type == "QLinearConv"


def _in_float(graph: onnx.GraphProto, tensor: str, added: onnx.GraphProto | None = None) -> str:
    """Return the name of a tensor in float32; a node that dequantises it is added if it has 8 bits.

    Args:
        graph: Graph with the tensor.
        tensor: Name of the tensor.
        added: Graph to add the node to; `graph` if ``None``.
    """
    makers, name = producers(graph), f"of/{tensor}"
    maker = makers[tensor]
    if maker.op_type != "QLinearConv":
        return tensor
    # A file that has a localiser already has it in float32.
    if _PREFIX + name in makers:
        return _PREFIX + name
    return _append(graph if added is None else added, "DequantizeLinear", [tensor, *maker.input[6:8]], name)


def _append(graph: onnx.GraphProto, operator: str, inputs: list[str], name: str, **attributes: Any) -> str:
    """Append a node to a graph and return the name of its output."""
    output = f"{_PREFIX}{name}"
    graph.node.append(helper.make_node(operator, inputs, [output], output, **attributes))
    return output
