"""Convert a float32 ONNX model to float16: half the size; on CPUs onnxruntime still computes in float32."""

from pathlib import Path

import onnx
from onnxruntime.transformers.float16 import convert_float_to_float16
from onnxruntime.transformers.onnx_model import OnnxModel


def to_float16(source: Path, target: Path) -> None:
    """Write a copy of a file with float16 weights; input and outputs keep their types.

    Args:
        source: Path of the float32 ``.onnx`` file.
        target: Path of the float16 file to write.
    """
    model = OnnxModel(convert_float_to_float16(onnx.load(source), keep_io_types=True))
    # The converter appends its casts in any order, but ONNX requires nodes before their consumers.
    model.topological_sort()
    onnx.checker.check_model(model.model, full_check=True)
    onnx.save(model.model, target)
