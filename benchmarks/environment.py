"""Under what something was measured: processor, memory, system, versions."""

from typing import Any

from fracture_edge.machine import describe

_PACKAGES = (
    "fracture-edge",
    "onnxruntime",
    "ai-edge-litert",
    "openvino",
    "keras",
    "tensorflow",
    "numpy",
    "pillow",
    "scikit-learn",
)


def environment() -> dict[str, Any]:
    """Describe the machine and the installed versions, without a path or a host's name."""
    return describe(*_PACKAGES)
