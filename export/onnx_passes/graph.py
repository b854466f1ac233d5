"""Helpers for reading and changing ONNX graphs, shared by all passes."""

from collections.abc import Collection, Mapping
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
from onnx import helper, numpy_helper


def initializers(graph: onnx.GraphProto) -> dict[str, onnx.TensorProto]:
    """Return the stored tensors by name."""
    return {entry.name: entry for entry in graph.initializer}


def constants(graph: onnx.GraphProto) -> dict[str, npt.NDArray[Any]]:
    """Return the values of the stored tensors by name."""
    return {entry.name: numpy_helper.to_array(entry) for entry in graph.initializer}


def add_constant(graph: onnx.GraphProto, name: str, value: npt.ArrayLike) -> str:
    """Store a tensor under a new name.

    Returns:
        The name.
    """
    graph.initializer.append(numpy_helper.from_array(np.asarray(value), name))
    return name


def set_constant(tensor: onnx.TensorProto, value: npt.NDArray[Any]) -> None:
    """Replace the value of a stored tensor and keep its name."""
    tensor.CopyFrom(numpy_helper.from_array(value, tensor.name))


def consumers(graph: onnx.GraphProto, name: str) -> list[onnx.NodeProto]:
    """Return the nodes that have a tensor as input."""
    return [node for node in graph.node if name in node.input]


def only_consumer(graph: onnx.GraphProto, name: str) -> onnx.NodeProto | None:
    """Return the one node that has a tensor as input; ``None`` if there are none or several."""
    found = consumers(graph, name)
    return found[0] if len(found) == 1 else None


def producers(graph: onnx.GraphProto) -> dict[str, onnx.NodeProto]:
    """Return the node that has each tensor as output, by the name of the tensor."""
    return {name: node for node in graph.node for name in node.output}


def attributes_of(node: onnx.NodeProto) -> dict[str, Any]:
    """Return the attributes of a node by name."""
    return {entry.name: helper.get_attribute_value(entry) for entry in node.attribute}


def has_input(node: onnx.NodeProto, place: int) -> bool:
    """Return whether a node has an input at a place; optional ones may be missing or have an empty name."""
    return place < len(node.input) and bool(node.input[place])


def replace_input(node: onnx.NodeProto, old: str, new: str) -> None:
    """Replace an input tensor of a node by another."""
    node.input[:] = [new if name == old else name for name in node.input]


def is_output(graph: onnx.GraphProto, name: str) -> bool:
    """Return whether a tensor is an output of the graph."""
    return any(output.name == name for output in graph.output)


def shapes_of(graph: onnx.GraphProto) -> Mapping[str, list[int]]:
    """Return the shapes of inputs, outputs and inferred tensors by name; unknown sizes are 0."""
    infos = [*graph.input, *graph.value_info, *graph.output]
    return {info.name: [size.dim_value for size in info.type.tensor_type.shape.dim] for info in infos}


def drop_outputs(graph: onnx.GraphProto, names: Collection[str]) -> None:
    """Remove outputs of the graph, and the nodes and stored tensors that only they needed."""
    kept = [entry for entry in graph.output if entry.name not in names]
    del graph.output[:]
    graph.output.extend(kept)
    wanted = {entry.name for entry in kept}
    for node in reversed(list(graph.node)):
        if wanted.isdisjoint(node.output):
            graph.node.remove(node)
        else:
            wanted.update(node.input)
    drop_unused_constants(graph)


def drop_unused_constants(graph: onnx.GraphProto) -> None:
    """Remove the stored tensors that are not an input of any node."""
    used = {name for node in graph.node for name in node.input}
    kept = [entry for entry in graph.initializer if entry.name in used]
    del graph.initializer[:]
    graph.initializer.extend(kept)
