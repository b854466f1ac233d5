"""Description of the machine and its software, without any path or host name."""

import os
import sys
from pathlib import Path
from typing import Any

from fracture_edge._version import installed

#: Instruction sets that determine the speed of int8 and float32 convolutions and whether int8 sums are exact.
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
    """Describe the machine and the installed versions of `packages`, as plain values for JSON."""
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
    """Return the number of cores that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def at_most_cores(asked: int) -> int:
    """Return the number of threads to start when `asked` are asked for: at most one for each usable core.

    More do not make anything faster, and each takes memory.
    """
    return min(asked, usable_cores())


def cpu_flags() -> list[str]:
    """Return those `FLAGS` that the processor has; an empty list also if the system does not report them."""
    cpu = _cpuinfo()
    there = (cpu.get("flags") or cpu.get("Features") or "").split()
    return [flag for flag in FLAGS if flag in there]


def exact_int8_sums() -> bool:
    """Return whether the processor sums products of 8-bit integers exactly, as ARM and x86 with VNNI do.

    Other x86 processors add two products in 16 bits (``vpmaddubsw``), which saturate. NumPy queries the processor
    itself, on every system and under emulation. AVX-VNNI, which NumPy does not know, is reported on Linux only: by
    glibc from version 2.33 on, and otherwise by the kernel. The result is ``False`` if nothing reports it.
    """
    import platform

    if platform.machine() not in _X86:
        return True
    if _numpy_features().get("AVX512VNNI", False):
        return True
    asked = _cpuid_avx_vnni()
    return "avx_vnni" in cpu_flags() if asked is None else asked


def _cpuid_avx_vnni() -> bool | None:
    """Return whether the processor has AVX-VNNI according to glibc; ``None`` if glibc does not report it.

    ``/proc/cpuinfo`` does not suffice: under user-mode emulation it is that of the host. The bit is CPUID leaf 7,
    subleaf 1, EAX bit 4 (Intel SDM, volume 2A, CPUID), read through glibc's ``sys/platform/x86.h``, where that
    leaf has number 6 and the first words of a leaf are the CPUID registers EAX, EBX, ECX, EDX.
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

    # Not a public module: if a future NumPy moves it, int8 sums become slower, but stay correct.
    try:
        features: dict[str, bool] = import_module("numpy._core._multiarray_umath").__cpu_features__
    except (ImportError, AttributeError):
        return {}
    return features


def memory_gb() -> float | None:
    """Return the physical memory in GiB, or ``None`` if the system does not report it."""
    try:
        return round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30, 1)
    except (ValueError, OSError, AttributeError):
        return None


def peak_memory_mb() -> float | None:
    """Return the peak resident memory of this process in MB (10^6 bytes), or ``None`` if it is not known.

    On Linux it is ``VmHWM`` of ``/proc/self/status``, elsewhere ``ru_maxrss``. Unlike the latter, ``VmHWM`` starts
    again at zero when a process executes another program.
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
    # macOS reports bytes, other systems kibibytes.
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
    """Return the name of the board, because ARM kernels do not name the processor.

    An example is ``Raspberry Pi 4 Model B Rev 1.4``; the name is empty on other machines.
    """
    try:
        return Path("/proc/device-tree/model").read_text(encoding="utf-8", errors="replace").strip("\0 \n")
    except OSError:
        return ""
