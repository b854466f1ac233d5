"""What an exported file is made of: the version of its operators, and how many there are of each kind."""

from collections import Counter
from pathlib import Path
from typing import Any

import onnx


def operators(path: Path) -> dict[str, Any]:
    """Describe an ``.onnx`` or ``.tflite`` file.

    Returns:
        ``operators``: counts by kind; ``opset`` for ONNX.
    """
    if path.suffix == ".onnx":
        model = onnx.load(path)
        opset = next(entry.version for entry in model.opset_import if entry.domain in ("", "ai.onnx"))
        return {"opset": opset, "operators": _counted(node.op_type for node in model.graph.node)}
    from ai_edge_litert.interpreter import Interpreter, OpResolverType

    # Without delegates, so that the file's own operators are listed.
    plain = OpResolverType.BUILTIN_WITHOUT_DEFAULT_DELEGATES
    interpreter = Interpreter(model_path=str(path), experimental_op_resolver_type=plain)
    return {"operators": _counted(entry["op_name"] for entry in interpreter._get_ops_details())}


def _counted(kinds: Any) -> dict[str, int]:
    return dict(sorted(Counter(kinds).items()))
