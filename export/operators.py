"""Count the operators of an exported file."""

from collections import Counter
from pathlib import Path
from typing import Any

import onnx

from export.results import Converted


def operators(path: Path) -> Converted:
    """Count the operators of an ``.onnx`` or ``.tflite`` file by kind, and read the opset version of ONNX."""
    if path.suffix == ".onnx":
        model = onnx.load(path)
        opset = next(entry.version for entry in model.opset_import if entry.domain in ("", "ai.onnx"))
        return Converted(_counted(node.op_type for node in model.graph.node), opset)
    from ai_edge_litert.interpreter import Interpreter, OpResolverType

    # Without delegates, which would replace the operators of the file.
    plain = OpResolverType.BUILTIN_WITHOUT_DEFAULT_DELEGATES
    interpreter = Interpreter(model_path=str(path), experimental_op_resolver_type=plain)
    return Converted(_counted(entry["op_name"] for entry in interpreter._get_ops_details()))


def _counted(kinds: Any) -> dict[str, int]:
    return dict(sorted(Counter(kinds).items()))
