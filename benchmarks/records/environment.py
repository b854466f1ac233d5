"""Under what something was measured: processor, memory, system, versions."""

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
    """A machine and what is installed there, without a path or a host's name.

    Attributes:
        cpu: Name of the processor.
        cpu_family: Number of its family; empty where the system does not tell.
        cores: Cores that the process may use.
        cpu_flags: Instructions of `fracture_edge.machine.FLAGS` that it has.
        memory_gb: Physical memory in GiB; ``None`` where the system does not tell.
        os: Name and version of the system.
        python: Version of Python.
        versions: Installed versions by package.
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
        """Describe this machine."""
        found = environment()
        return cls(**found | {"cpu_flags": tuple(found["cpu_flags"])})


def environment() -> dict[str, Any]:
    """Describe this machine as plain values, for JSON."""
    return describe(*_PACKAGES)
