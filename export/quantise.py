"""Static int8 quantisation of an ONNX model: per channel, QDQ, calibrated with training images.

Static because dynamic quantisation of convolutions is slower and less accurate; per channel because depthwise
convolutions have kernels of very different size; QDQ because every onnxruntime backend understands it.
"""

import logging
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from types import MappingProxyType
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

from fracture_edge.errors import FractureEdgeError
from fracture_edge.modelfile import INPUT_NAME

METHODS = MappingProxyType(
    {
        "minmax": CalibrationMethod.MinMax,
        "entropy": CalibrationMethod.Entropy,
        "percentile": CalibrationMethod.Percentile,
    }
)


#: The histogram methods of onnxruntime keep every intermediate tensor of every image in memory.
MOST_IMAGES = MappingProxyType({"minmax": 4096, "entropy": 32, "percentile": 32})


@dataclass(frozen=True, slots=True)
class Target:
    """What a kind of processor wants of an int8 model.

    Attributes:
        activations: ``uint8`` or ``int8``.
        reduce_range: Weights in 7 bits: x86 processors without VNNI add products in 16 bits, which
            overflow with 8-bit weights.
    """

    activations: str
    reduce_range: bool


TARGETS = MappingProxyType(
    {
        "x86": Target("uint8", reduce_range=False),
        "safe": Target("uint8", reduce_range=True),
        "arm64": Target("int8", reduce_range=False),
    }
)


def quantise(
    source: Path,
    target: Path,
    images: npt.NDArray[np.uint8],
    *,
    processor: str = "x86",
    method: str = "minmax",
) -> None:
    """Quantise a float32 ONNX file.

    Args:
        source: The float32 file.
        target: The int8 file to write.
        images: Training images for the ranges of the activations, uint8 [N, H, W, 1].
        processor: A key of `TARGETS`.
        method: A key of `METHODS`.

    Raises:
        FractureEdgeError: No such target or method.
    """
    check_settings(processor, method)
    chosen = TARGETS[processor]
    # onnxruntime's tools log advice that is followed here already.
    logging.getLogger().setLevel(logging.ERROR)
    with TemporaryDirectory() as folder:
        prepared = Path(folder) / "prepared.onnx"
        # Folds batch norms and shapes; symbolic shape inference fails on a dynamic batch.
        quant_pre_process(str(source), str(prepared), skip_symbolic_shape=True)
        quantize_static(
            str(prepared),
            str(target),
            _Images(images),
            quant_format=QuantFormat.QDQ,
            per_channel=True,
            reduce_range=chosen.reduce_range,
            activation_type=QuantType.QUInt8 if chosen.activations == "uint8" else QuantType.QInt8,
            weight_type=QuantType.QInt8,
            calibrate_method=METHODS[method],
            nodes_to_exclude=single_channel_nodes(onnx.load(prepared)),
        )


def check_settings(processor: str, method: str) -> None:
    """Refuse a target or a calibration method that does not exist.

    Raises:
        FractureEdgeError: It does not; the text names those that do.
    """
    if processor not in TARGETS or method not in METHODS:
        raise FractureEdgeError(
            f"int8 target '{processor}' or calibration '{method}' unknown; there are "
            f"{', '.join(TARGETS)} and {', '.join(METHODS)}"
        )


def single_channel_nodes(model: onnx.ModelProto) -> list[str]:
    """Names of the nodes whose output has one channel: log-odds and probability, and the grey input.

    They stay float32. They cost nothing, and in 8 bits a probability could only take 256 values.

    Args:
        model: With inferred shapes; channels are the second axis.
    """
    infos = [*model.graph.value_info, *model.graph.output]
    shapes = {info.name: [d.dim_value for d in info.type.tensor_type.shape.dim] for info in infos}
    return [
        node.name
        for node in model.graph.node
        if any(len(shapes.get(name, ())) > 1 and shapes[name][1] == 1 for name in node.output)
    ]


class _Images(CalibrationDataReader):
    """Hands out images one by one."""

    def __init__(self, images: npt.NDArray[np.uint8]) -> None:
        self._batches: Iterator[npt.NDArray[np.uint8]] = (images[row : row + 1] for row in range(len(images)))

    def get_next(self) -> dict[str, Any] | None:
        """The next input, or ``None`` at the end."""
        batch = next(self._batches, None)
        return None if batch is None else {INPUT_NAME: batch}
