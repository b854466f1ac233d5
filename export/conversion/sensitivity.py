"""Rank layers by their sensitivity to quantisation, with onnxruntime's debugging tools for QDQ models."""

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
from onnxruntime.quantization import qdq_loss_debug

from export.conversion.quantise import prepare
from export.onnx_passes.graph import producers
from export.onnx_passes.storage import as_int8_weights
from fracture_edge.modelfile import INPUT_NAME

_WITH_WEIGHTS = ("Conv", "MatMul", "Gemm")
#: Largest share of all weights that may stay in float32: with 2 % of them at full size and the rest at a quarter,
#: a file is still smaller than 0.27 of its float32 size.
FLOAT_SHARE = 0.02


def most_sensitive(float_model: Path, int8_model: Path, images: npt.NDArray[np.uint8]) -> list[list[str]]:
    """Return the layers with weights, the most sensitive to quantisation first.

    The sensitivity of a layer is the sum of the noise-to-signal power ratios of its quantised input and of its
    quantised weights. For both to become 0 the layer must stay float32, and so must what computes its input.

    Args:
        float_model: Path of the float32 ``.onnx`` file.
        int8_model: Path of the QDQ file quantised from it.
        images: A few training images, uint8 [N, H, W, 1]; all their activations are held in memory.

    Returns:
        For each layer the names of the nodes that must stay float32, of the float model after
        `export.conversion.quantise.prepare`. Layers are skipped if they would raise the share of all weights above
        `FLOAT_SHARE`.
    """
    with TemporaryDirectory() as folder:
        prepared, signed = Path(folder) / "prepared.onnx", Path(folder) / "signed.onnx"
        prepare(float_model, prepared)
        quantised = onnx.load(int8_model)
        # The tools subtract the zero point of uint8 weights in uint8.
        as_int8_weights(quantised)
        onnx.save(quantised, signed)
        activations = _activation_noise(prepared, signed, images, Path(folder))
        matches = qdq_loss_debug.create_weight_matching(str(prepared), str(signed))
        # Scalars and biases are matched too, but the ratio is undefined for scalars and not needed for biases.
        kernels = {name: match for name, match in matches.items() if np.ndim(match["dequantized"]) > 1}
        weights = {name: _noise(decibel) for name, decibel in qdq_loss_debug.compute_weight_error(kernels).items()}
        graph = onnx.load(prepared).graph
    sizes = {entry.name: math.prod(entry.dims) for entry in graph.initializer}
    makers = producers(graph)
    scores = {
        node.name: sum(activations.get(name, 0.0) + weights.get(name, 0.0) for name in node.input)
        for node in graph.node
        # A layer without quantised weights is already in float32.
        if node.op_type in _WITH_WEIGHTS and any(name in weights for name in node.input)
    }
    weighed = {node.name: sum(sizes.get(name, 0) for name in node.input) for node in graph.node}
    groups = [
        _with_source(node, makers, sizes)
        for node in sorted(graph.node, key=lambda node: -scores.get(node.name, 0.0))
        if node.name in scores
    ]
    return _within(groups, weighed, FLOAT_SHARE * sum(sizes.values()))


def _with_source(
    node: onnx.NodeProto, makers: Mapping[str, onnx.NodeProto], stored: Mapping[str, int]
) -> list[str]:
    """Return the names of a layer, of the layer before it and of the nodes between.

    The search ends at a node with several inputs; of the first layer nothing but its own name is returned.
    """
    names = [node.name]
    while True:
        sources = [makers[name] for name in node.input if name in makers and name not in stored]
        if len(sources) != 1:
            return names if sources else names[:1]
        node = sources[0]
        names.append(node.name)
        if node.op_type in _WITH_WEIGHTS:
            return names


def _within(groups: Sequence[list[str]], weighed: Mapping[str, int], most: float) -> list[list[str]]:
    """Return the groups of nodes in order, except those that would raise the number of weights above `most`."""
    chosen: list[list[str]] = []
    taken: set[str] = set()
    for group in groups:
        if sum(weighed[name] for name in taken.union(group)) <= most:
            chosen.append(group)
            taken.update(group)
    return chosen


def _activation_noise(
    prepared: Path, int8_model: Path, images: npt.NDArray[np.uint8], folder: Path
) -> dict[str, float]:
    found: list[dict[str, Any]] = []
    for number, model in enumerate((int8_model, prepared)):
        augmented = folder / f"augmented{number}.onnx"
        qdq_loss_debug.modify_model_output_intermediate_tensors(str(model), str(augmented))
        batches = [{INPUT_NAME: images[row : row + 1]} for row in range(len(images))]
        found.append(qdq_loss_debug.collect_activations(str(augmented), batches))
    matches = qdq_loss_debug.create_activation_matching(*found)
    return {
        name: _noise(errors["qdq_err"])
        for name, errors in qdq_loss_debug.compute_activation_error(matches).items()
    }


def _noise(decibel: float) -> float:
    """Convert a signal-to-noise ratio in decibels to noise power divided by signal power."""
    return float(10 ** (-decibel / 10))
