"""Which layers lose most by quantisation, found with onnxruntime's debugging tools for QDQ models."""

import math
from collections.abc import Mapping
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
from onnxruntime.quantization import qdq_loss_debug

from export.onnx_passes.storage import as_int8_weights
from export.quantise import prepare
from fracture_edge.modelfile import INPUT_NAME

_WITH_WEIGHTS = ("Conv", "MatMul", "Gemm")
#: Share of all weights that may stay in float: with 2 % of them at full size and the rest at a quarter, a file
#: still has less than 0.27 of its float32 size.
FLOAT_SHARE = 0.02


def most_sensitive(float_model: Path, int8_model: Path, images: npt.NDArray[np.uint8]) -> list[str]:
    """Names of the layers with weights, the one that quantisation disturbs most first.

    A layer's disturbance is the ratio of quantisation noise to signal in its input and in its weights, added:
    both are gone when the layer stays in float.

    Args:
        float_model: The float32 ``.onnx`` file.
        int8_model: The QDQ file made of it.
        images: A few training images, uint8 [N, H, W, 1]; all their activations are held in memory.

    Returns:
        Node names of the float model as `export.quantise.prepare` leaves it; layers that together have more than
        `FLOAT_SHARE` of all weights are passed over.
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
        # Scalars and biases are matched too; the ratio is not defined for the first and not asked of the others.
        kernels = {name: match for name, match in matches.items() if np.ndim(match["dequantized"]) > 1}
        weights = {name: _noise(decibel) for name, decibel in qdq_loss_debug.compute_weight_error(kernels).items()}
        graph = onnx.load(prepared).graph
    sizes = {entry.name: math.prod(entry.dims) for entry in graph.initializer}
    scores = {
        node.name: (
            sum(activations.get(name, 0.0) + weights.get(name, 0.0) for name in node.input),
            sum(sizes.get(name, 0) for name in node.input),
        )
        for node in graph.node
        # A layer without quantised weights is in float already.
        if node.op_type in _WITH_WEIGHTS and any(name in weights for name in node.input)
    }
    return _within(scores, FLOAT_SHARE * sum(sizes.values()))


def _within(scores: Mapping[str, tuple[float, int]], most: float) -> list[str]:
    """Names by falling score, leaving out each whose size would bring the sum of sizes above `most`."""
    chosen: list[str] = []
    total = 0
    for name, (_, size) in sorted(scores.items(), key=lambda item: -item[1][0]):
        if total + size <= most:
            chosen.append(name)
            total += size
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
    """Noise power by signal power of a signal-to-noise ratio in decibel."""
    return float(10 ** (-decibel / 10))
