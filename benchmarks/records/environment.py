"""Hardware and package versions of a measurement."""

from collections.abc import Mapping
from dataclasses import dataclass
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


@dataclass(frozen=True, slots=True, kw_only=True)
class Environment:
    """Machine and installed packages, without paths or host names.

    Attributes:
        cpu: Name of the processor.
        cpu_family: Family number of the processor; empty if the system does not report it.
        cores: Number of cores that the process may use.
        cpu_flags: Instruction sets of `fracture_edge.machine.FLAGS` that the processor supports.
        memory_gb: Physical memory in GiB; ``None`` if the system does not report it.
        os: Name and version of the operating system.
        python: Version of Python.
        versions: Versions of the installed packages by name.
    """

    cpu: str
    cpu_family: str
    cores: int
    cpu_flags: tuple[str, ...]
    memory_gb: float | None
    os: str
    python: str
    versions: Mapping[str, str]

    @classmethod
    def here(cls) -> "Environment":
        """Describe the current machine."""
        found = environment()
        return cls(**found | {"cpu_flags": tuple(found["cpu_flags"])})


def environment() -> dict[str, Any]:
    """Describe the current machine as plain values, for JSON."""
    return describe(*_PACKAGES)
