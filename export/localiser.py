"""Give a model file a localiser as its heat map: `python -m export.localiser --data fracatlas`.

`fracture-edge export --heatmap` does so for every model that was trained on images with boxes around fractures.
This command is for a file whose Keras model is not at hand, the embedded one by default: it fits the localiser to
the feature maps that the file itself computes, adds it to its graph, and writes it again as `export.embed` does.
All other outputs stay as they are. A file that has a localiser already gets a new one.
"""

import argparse
import re
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import onnx
from onnx import helper

import fracture_edge.models
from benchmarks.run_files import runs_of_file, update_runs
from export.attributes import check_other_outputs
from export.embed import embed
from export.onnx_passes.graph import add_constant, drop_outputs, producers
from fracture_edge.errors import FractureEdgeError
from fracture_edge.modelfile import HEATMAP_NAME, INPUT_NAME, embed_info
from fracture_edge.models import EMBEDDED_FILE
from fracture_edge.runtimes.session import open_session, read_info
from train.artifacts import sha256
from train.data.batches import load_pixels
from train.data.localisation import fracture_masks
from train.data.splits import read_table_with_splits
from train.evaluation.localiser import Floats, Localiser, fit_localiser, split

_BATCH = 16
#: Names of the tensors that tf2onnx makes of the layers that `train.evaluation.localiser.map_layers` reads.
_LAYER = re.compile(r"/(block\d+_expand_relu)(_\d+)?/")
#: Beginning of the names of a localiser's nodes and tensors.
_PREFIX = "localiser/"


class MapTensors(NamedTuple):
    """Tensors of a graph that the localiser reads and writes.

    Attributes:
        sigmoid: Node that the heat map is made of.
        maps: Names of the feature maps, float32 or 8 bits [N, channels, h, w], in the order of the graph.
    """

    sigmoid: onnx.NodeProto
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
    while node is not None and node.op_type != "Sigmoid":
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
    tensors.sigmoid.input[0] = tensors.maps[0]
    drop_outputs(graph, ())
    place = [node.output[0] for node in graph.node].index(tensors.sigmoid.output[0])
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
    tensors.sigmoid.input[0] = _append(added, "AveragePool", [total], "average", **shape)
    for number, node in enumerate(added.node):
        graph.node.insert(place + number, node)
    # The heat map has another size now: onnxruntime plans its memory by the sizes that a graph states.
    del graph.value_info[:]
    heatmap = next(entry for entry in graph.output if entry.name == HEATMAP_NAME)
    for dimension, size in zip(heatmap.type.tensor_type.shape.dim[1:], shapes[tensors.maps[0]][2:], strict=True):
        dimension.dim_value = size


def add_localiser(source: Path, target: Path, data: Path, splits: Path | None, *, version: str = "") -> None:
    """Fit a localiser to the feature maps of a model file, and write a copy whose heat map is made of it.

    Args:
        source: Path of an ``.onnx`` file with a heat map of cells.
        target: Path of the copy.
        data: Data folder with boxes around fractures. Training images are fitted to.
        splits: Split file; splits are made if ``None``.
        version: Version of the weights in the copy; that of `source` if empty.

    Raises:
        FractureEdgeError: The file or the data cannot be used, or another output would change.
    """
    model = onnx.load(source)
    info = read_info(str(source), open_session(str(source), source.read_bytes(), None))
    table = read_table_with_splits(data, splits)
    training = table.where("train")
    masks = fracture_masks(training, info.preprocessing)
    if masks is None:
        raise FractureEdgeError(f"{data}: has no boxes around fractures, which a localiser is fitted to")
    tensors = map_tensors(model)
    maps = maps_of_file(str(source), model, tensors, load_pixels(training, info.preprocessing))
    attach(model, tensors, fit_localiser(maps, masks, np.array(training.labels), seed=0))
    onnx.save(model, target)
    embed_info(target, replace(info, version=version or info.version), target)
    pixels = load_pixels(table.where("val"), info.preprocessing)
    check_other_outputs(source, target, pixels, changed=(HEATMAP_NAME,))


def main() -> None:
    """Write the file given on the command line again, with a localiser as its heat map."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("model", type=Path, nargs="?", default=EMBEDDED_FILE)
    parser.add_argument("--data", type=Path, required=True, help="data folder in the layout of FracAtlas")
    parser.add_argument("--splits", type=Path, help="split file; splits are made if it is left out")
    parser.add_argument("--model-version", default="", help="version of the weights; unchanged if it is left out")
    parser.add_argument(
        "--run", type=Path, action="append", default=[], metavar="RUN.json", help="benchmark of the file"
    )
    arguments = parser.parse_args()
    try:
        print(_embed_with_localiser(arguments))
    except FractureEdgeError as error:
        parser.exit(1, f"error: {error}\n")


def _embed_with_localiser(arguments: argparse.Namespace) -> Path:
    old = sha256(arguments.model)
    measured = runs_of_file(arguments.run, old)
    with TemporaryDirectory() as work:
        copy = Path(work) / arguments.model.name
        add_localiser(arguments.model, copy, arguments.data, arguments.splits, version=arguments.model_version)
        target = embed(copy, Path(fracture_edge.models.__file__).parent)
    info = read_info(str(target), open_session(str(target), target.read_bytes(), None))
    update_runs(measured, old, target, info)
    return target


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


def _in_float(graph: onnx.GraphProto, tensor: str, added: onnx.GraphProto | None = None) -> str:
    """Return the name of a tensor in float32; a node that dequantises it is added if it has 8 bits.

    Args:
        graph: Graph with the tensor.
        tensor: Name of the tensor.
        added: Graph to add the node to; `graph` if ``None``.
    """
    maker = producers(graph)[tensor]
    if maker.op_type != "QLinearConv":
        return tensor
    return _append(added or graph, "DequantizeLinear", [tensor, *maker.input[6:8]], f"of/{tensor}")


def _append(graph: onnx.GraphProto, operator: str, inputs: list[str], name: str, **attributes: Any) -> str:
    """Append a node to a graph and return the name of its output."""
    output = f"{_PREFIX}{name}"
    graph.node.append(helper.make_node(operator, inputs, [output], output, **attributes))
    return output


if __name__ == "__main__":
    main()
