"""The machine and the versions that something ran on, without a path or the name of the host."""

import os
import sys
from pathlib import Path
from typing import Any

from fracture_edge._version import installed

#: Instructions that decide how fast int8 and float32 convolutions are, and whether int8 sums are exact.
FLAGS = (
    "avx2",
    "avx512f",
    "avx512_vnni",
    "avx_vnni",
    "avx512_bf16",
    "amx_int8",
    "neon",
    "asimd",
    "asimddp",
    "i8mm",
)
_X86 = frozenset({"x86_64", "AMD64", "i386", "i686", "x86"})


def describe(*packages: str) -> dict[str, Any]:
    """Describe the machine and the installed versions of `packages`."""
    import platform

    cpu = _cpuinfo()
    return {
        "cpu": cpu.get("model name") or _board() or platform.processor() or platform.machine(),
        "cpu_family": cpu.get("cpu family", ""),
        "cores": usable_cores(),
        "cpu_flags": cpu_flags(),
        "memory_gb": memory_gb(),
        "os": f"{platform.system()} {platform.release()} {platform.machine()}",
        "python": platform.python_version(),
        "versions": installed(*packages),
    }


def usable_cores() -> int:
    """Cores that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def cpu_flags() -> list[str]:
    """Those of `FLAGS` that the processor has; empty also where the system does not tell."""
    cpu = _cpuinfo()
    there = (cpu.get("flags") or cpu.get("Features") or "").split()
    return [flag for flag in FLAGS if flag in there]


def exact_int8_sums() -> bool:
    """Whether the processor sums products of 8-bit numbers exactly: ARM does, and x86 with VNNI.

    Other x86 processors add two products in 16 bits (``vpmaddubsw``), which saturate. NumPy has asked the
    processor itself, on every system and under emulation; of AVX-VNNI, which NumPy does not know, only Linux
    tells: glibc, or where it is older than 2.33 or another C library, the kernel. ``False`` where none tells.
    """
    import platform

    if platform.machine() not in _X86:
        return True
    if _numpy_features().get("AVX512VNNI", False):
        return True
    asked = _cpuid_avx_vnni()
    return "avx_vnni" in cpu_flags() if asked is None else asked


def _cpuid_avx_vnni() -> bool | None:
    """Whether the processor has AVX-VNNI, as glibc asked it; ``None`` where glibc does not tell.

    ``/proc/cpuinfo`` would do, but under user-mode emulation it is the host's. CPUID leaf 7, subleaf 1, EAX bit 4
    (Intel SDM, volume 2A, CPUID), through glibc's ``sys/platform/x86.h``, where that leaf is number 6 and a leaf's
    bits as CPUID gives them come first: EAX, EBX, ECX, EDX.
    """
    import ctypes

    try:
        leaf = ctypes.CDLL(None).__x86_get_cpuid_feature_leaf
    except (AttributeError, OSError, TypeError):
        return None
    leaf.argtypes, leaf.restype = [ctypes.c_uint], ctypes.POINTER(ctypes.c_uint32 * 4)
    return bool(leaf(6).contents[0] >> 4 & 1)


def _numpy_features() -> dict[str, bool]:
    from importlib import import_module

    # By name, because it is not public: a NumPy that moves it costs speed, not correctness.
    try:
        features: dict[str, bool] = import_module("numpy._core._multiarray_umath").__cpu_features__
    except (ImportError, AttributeError):
        return {}
    return features


def memory_gb() -> float | None:
    """Physical memory in GiB, or ``None`` where the system does not tell."""
    try:
        return round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30, 1)
    except (ValueError, OSError, AttributeError):
        return None


def peak_memory_mb() -> float | None:
    """Peak resident memory of this process in MB (10^6 bytes), or ``None`` where the system does not tell.

    VmHWM of ``/proc/self/status``; unlike ``ru_maxrss``, which other systems than Linux have to do with, it starts
    anew when a process executes another program.
    """
    try:
        lines = Path("/proc/self/status").read_text(encoding="utf-8").splitlines()
    except OSError:
        lines = []
    for line in lines:
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) * 1024 / 1e6
    try:
        import resource
    except ImportError:
        return None
    # macOS counts in bytes, the others in kibibytes.
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / 1e6


def _cpuinfo() -> dict[str, str]:
    try:
        text = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return {}
    pairs = (line.partition(":") for line in text.partition("\n\n")[0].splitlines())
    return {name.strip(): value.strip() for name, _, value in pairs}


def _board() -> str:
    """Such as ``Raspberry Pi 4 Model B Rev 1.4``: ARM kernels name the board, not the processor."""
    try:
        return Path("/proc/device-tree/model").read_text(encoding="utf-8", errors="replace").strip("\0 \n")
    except OSError:
        return ""
