"""float32 ONNX to float16: half the size; on CPUs onnxruntime computes in float32 all the same."""

from pathlib import Path

import onnx
from onnxruntime.transformers.float16 import convert_float_to_float16
from onnxruntime.transformers.onnx_model import OnnxModel


def to_float16(source: Path, target: Path) -> None:
    """Write a copy with float16 weights; input and outputs keep their types.

    Args:
        source: A float32 ``.onnx`` file.
        target: The float16 file.
    """
    model = OnnxModel(convert_float_to_float16(onnx.load(source), keep_io_types=True))
    # The converter puts its casts where there is room, ONNX wants them before they are used.
    model.topological_sort()
    onnx.checker.check_model(model.model, full_check=True)
    onnx.save(model.model, target)
