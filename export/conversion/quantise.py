"""Static int8 quantisation of an ONNX model: per channel, QDQ, calibrated with training images, biases corrected.

Static because dynamic quantisation of convolutions is slower and less accurate; per channel because the kernels of
depthwise convolutions differ widely in magnitude; QDQ because every onnxruntime backend supports it.
"""

import logging
from collections.abc import Iterable, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
from onnxruntime.quantization import (
    CalibrationDataReader,
    CalibrationMethod,
    QuantFormat,
    QuantType,
    quantize_static,
)
from onnxruntime.quantization.shape_inference import quant_pre_process

from export.onnx_passes.bias_correction import correct_biases
from export.onnx_passes.dynamic_dense import large_dense_nodes, quantise_dynamically
from export.onnx_passes.float_layers import protect_float_layers
from export.onnx_passes.graph import producers, shapes_of
from export.onnx_passes.input_normalisation import dequantise_input, normalisation_nodes
from export.onnx_passes.storage import as_float_biases, as_uint8_weights
from export.recipes import METHODS, Format
from fracture_edge.attributes import CLASSES_NAME
from fracture_edge.attributes import OUTPUTS as ATTRIBUTE_OUTPUTS
from fracture_edge.errors import FractureEdgeError
from fracture_edge.modelfile import ATYPICALITY_NAME, INPUT_NAME

_METHODS = dict(
    zip(METHODS, (CalibrationMethod.MinMax, CalibrationMethod.Percentile, CalibrationMethod.Entropy), strict=True)
)
#: Number of images whose intermediate tensors are held in memory at a time; VGG16 at 224x224 needs 0.1 GB per
#: image.
CHUNK = 4


def quantise(
    source: Path,
    target: Path,
    images: npt.NDArray[np.uint8],
    chosen: Format,
    *,
    method: str = "minmax",
    dynamic_dense: bool = False,
    keep_float: Sequence[str] = (),
    ranges: Path | None = None,
) -> None:
    """Quantise a float32 ONNX file.

    Args:
        source: Path of the float32 file.
        target: Path of the int8 file to write.
        images: Training images for the ranges of the activations, uint8 [N, H, W, 1].
        chosen: Format of the file; its precision is int8 and its runtime ``onnx``.
        method: Calibration method, one of `export.recipes.METHODS`.
        dynamic_dense: Whether to quantise the large Dense layers dynamically, see
            `export.onnx_passes.dynamic_dense`.
        keep_float: Names of additional nodes that stay float32, besides those of `single_channel_nodes`,
            `further_nodes` and `export.onnx_passes.input_normalisation.normalisation_nodes`.
        ranges: Path of a cache of the activation ranges; reused by later calls with the same source, images and
            method, whatever their format.

    Raises:
        FractureEdgeError: `dynamic_dense` is requested, and no Dense layer is large.
    """
    # onnxruntime's tools log advice that this module already follows.
    logging.getLogger().setLevel(logging.ERROR)
    with TemporaryDirectory() as folder:
        prepared = Path(folder) / "prepared.onnx"
        prepare(source, prepared)
        dense = large_dense_nodes(onnx.load(prepared)) if dynamic_dense else []
        if dynamic_dense and not dense:
            raise FractureEdgeError("no Dense layer holds most of the weights")
        quantize_static(
            str(prepared),
            str(target),
            _Images(images),
            quant_format=QuantFormat.QDQ,
            per_channel=True,
            activation_type=QuantType.QUInt8 if chosen.activations == "uint8" else QuantType.QInt8,
            weight_type=QuantType.QInt8,
            calibrate_method=_METHODS[method],
            nodes_to_exclude=[*_always_float(onnx.load(prepared)), *dense, *keep_float],
            calibration_cache_path=ranges,
            # Otherwise the histogram methods would hold every tensor of every image in memory.
            extra_options={"CalibStridedMinMax": min(CHUNK, len(images))},
        )
        model = onnx.load(target)
        dequantise_input(model)
        quantise_dynamically(model, dense, unsigned=chosen.weights == "uint8")
        protect_float_layers(model, keep_float)
        # The zero points of weights are all 0 but are kept: with wider sums (`fracture_edge.runtimes.session`)
        # onnxruntime would create missing ones, in the wrong shape for a layer that it does not fuse, and the file
        # would fail to load.
        as_float_biases(model)
        correct_biases(model, prepared, images)
    if chosen.weights == "uint8":
        as_uint8_weights(model)
    onnx.save(model, target)


def prepare(source: Path, target: Path) -> None:
    """Fold batch norms and infer shapes, as quantisation requires.

    Args:
        source: Path of the float32 file.
        target: Path of the prepared float32 file to write.
    """
    # Symbolic shape inference fails on a dynamic batch.
    quant_pre_process(str(source), str(target), skip_symbolic_shape=True)


def _always_float(model: onnx.ModelProto) -> list[str]:
    return [*single_channel_nodes(model), *further_nodes(model), *normalisation_nodes(model)]


def further_nodes(model: onnx.ModelProto) -> list[str]:
    """Return the names of the nodes used only for ``atypicality``, attributes and classes.

    A distance and the log-odds of labels are too fine for 8 bits, and cost next to nothing in float32.
    """
    makers = producers(model.graph)

    def ancestors(outputs: Iterable[str]) -> set[str]:
        found: set[str] = set()
        ahead = list(outputs)
        while ahead:
            node = makers.get(ahead.pop())
            if node is not None and node.name not in found:
                found.add(node.name)
                ahead += node.input
        return found

    further = (ATYPICALITY_NAME, *ATTRIBUTE_OUTPUTS, CLASSES_NAME)
    others = [entry.name for entry in model.graph.output if entry.name not in further]
    return sorted(ancestors(further) - ancestors(others))


def single_channel_nodes(model: onnx.ModelProto) -> list[str]:
    """Return the names of the nodes whose output has one channel: log-odds, probability and the grey input.

    They stay float32: they cost almost no time, and in 8 bits a probability could take only 256 values.

    Args:
        model: Model with inferred shapes; the second axis is the channel axis.
    """
    shapes = shapes_of(model.graph)
    return [
        node.name
        for node in model.graph.node
        if any(len(shapes.get(name, ())) > 1 and shapes[name][1] == 1 for name in node.output)
    ]


class _Images(CalibrationDataReader):
    """Reader of calibration images, one by one, within a range that onnxruntime sets chunk by chunk."""

    def __init__(self, images: npt.NDArray[np.uint8]) -> None:
        # onnxruntime requires complete chunks.
        self._images = images[: len(images) - len(images) % min(CHUNK, len(images))]
        self.set_range(0, len(self._images))

    def __len__(self) -> int:
        return len(self._images)

    def set_range(self, start_index: int, end_index: int) -> None:
        """Start a chunk."""
        self._rows = iter(range(start_index, end_index))

    def get_next(self) -> dict[str, Any] | None:
        """Return the next input, or ``None`` at the end of the chunk."""
        row = next(self._rows, None)
        return None if row is None else {INPUT_NAME: self._images[row : row + 1]}
