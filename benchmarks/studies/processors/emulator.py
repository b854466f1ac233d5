"""Classify images in a separate Python process, on the native processor or an emulated one."""

import ctypes
import json
import os
import platform
import shutil
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from importlib import import_module
from pathlib import Path
from statistics import median
from types import MappingProxyType
from typing import Any

from benchmarks.studies.processors.debian_root import DebianRoot
from fracture_edge._version import installed
from fracture_edge.errors import FractureEdgeError

ROOT_VARIABLE = "FRACTURE_EDGE_ARM64_ROOT"


class Architecture(StrEnum):
    """Architectures that can be emulated, by the names of the emulators."""

    X86_64 = "x86_64"
    AARCH64 = "aarch64"


#: Default processors: Intel with AVX2 but without AVX-512 and VNNI; Arm with all features that qemu supports, dot
#: products and i8mm included.
DEFAULT_CPUS: Mapping[str, str] = MappingProxyType(
    {Architecture.X86_64: "Haswell-v4", Architecture.AARCH64: "max"}
)
_CHILD = "from benchmarks.studies.processors.emulator import classify_stdin; classify_stdin()"
#: Constants of Linux's asm/hwcap.h and elf.h for arm64; onnxruntime checks for i8mm, NumPy does not.
_AT_HWCAP2, _HWCAP2_I8MM = 26, 1 << 13


@dataclass(frozen=True, slots=True)
class Interpreter:
    """Python interpreter, emulated or not.

    Attributes:
        command: Command line of the interpreter, which starts with the emulator if there is one.
        packages: Folders to put on the import path, after this project.
    """

    command: tuple[str, ...] = (sys.executable,)
    packages: tuple[Path, ...] = ()


@dataclass(frozen=True, slots=True)
class PredictionRecord:
    """Values of a `fracture_edge.Prediction`.

    Attributes:
        path: Path of the image.
        status: ``ok``, or the reason why the image was refused; decision and probability are ``None`` then.
        decision: Decision of the model.
        probability: P(fractured).
        elapsed_ms: Time from file to decision, in milliseconds.
    """

    path: str
    status: str
    decision: str | None
    probability: float | None
    elapsed_ms: float

    @classmethod
    def of(cls, record: Mapping[str, Any]) -> "PredictionRecord":
        """Read them from a record of `classify`."""
        return cls(**{name: record[name] for name in cls.__dataclass_fields__})


@dataclass(frozen=True, slots=True)
class ProcessResult:
    """Predictions of one process for all images.

    Attributes:
        cpu_features: Instruction sets that the process detects, by NumPy's names.
        versions: Versions of the packages.
        records: Predictions in the order of the images.
    """

    cpu_features: tuple[str, ...]
    versions: dict[str, str]
    records: tuple[PredictionRecord, ...]

    @property
    def milliseconds(self) -> float:
        """Median time of one image, in milliseconds."""
        return median(record.elapsed_ms for record in self.records)


def emulated(arch: str, cpu: str, root: Path | None) -> Interpreter:
    """Return an emulated interpreter: the current one on another x86_64, or that of a Debian for arm64.

    Args:
        arch: Architecture, a key of `DEFAULT_CPUS`.
        cpu: Processor, one of those that ``qemu-<arch> -cpu help`` lists.
        root: Folder of a root that `python -m benchmarks.studies arm64 --root` has made; for aarch64 only.

    Raises:
        FractureEdgeError: The emulator or the root is missing, or the current interpreter is not for x86_64.
    """
    emulator = shutil.which(f"qemu-{arch}")
    if emulator is None:
        raise FractureEdgeError(f"qemu-{arch} is missing: install it with `apt-get install qemu-user`")
    if arch == "x86_64":
        if platform.machine() != "x86_64":
            raise FractureEdgeError(
                f"an emulated x86_64 runs the current Python, and this one is for {platform.machine()}"
            )
        return Interpreter((emulator, "-cpu", cpu, sys.executable))
    if root is None:
        raise FractureEdgeError(
            f"aarch64 needs --root FOLDER (or {ROOT_VARIABLE}); "
            "`python -m benchmarks.studies arm64 --root FOLDER` makes one"
        )
    debian = DebianRoot(root)
    return Interpreter((emulator, "-cpu", cpu, "-L", str(root), str(debian.interpreter)), (debian.packages,))


def classify_in(python: Interpreter, model: Path, images: Sequence[Path], *, plain: bool = False) -> ProcessResult:
    """Classify images in a new process.

    Args:
        python: Interpreter to run.
        model: Path of the model file.
        images: Paths of image files.
        plain: Whether to open the model as another program would, without the wider sums that `FractureClassifier`
            sets on x86 without VNNI.

    Raises:
        FractureEdgeError: The process failed; the message ends with the last line that it wrote.
    """
    # Imported late: the new process imports this module too, and has only the dependencies of the device package.
    from train.json_records import from_plain

    ours = Path(__file__).resolve().parents[3]
    done = subprocess.run(  # noqa: S603
        [*python.command, "-c", _CHILD],
        input=json.dumps({"model": str(model), "images": [str(image) for image in images], "plain": plain}),
        # The environment of the caller is not passed on: OPENBLAS_CORETYPE, for example, would make NumPy use
        # instructions that the emulated processor lacks.
        env={
            "OPENBLAS_NUM_THREADS": "1",
            "PYTHONUTF8": "1",
            "PYTHONPATH": os.pathsep.join(map(str, (ours, *python.packages))),
        },
        capture_output=True,
        check=False,
        encoding="utf-8",
    )
    if done.returncode:
        last = (done.stderr.strip().splitlines() or ["it wrote nothing"])[-1]
        raise FractureEdgeError(f"{Path(python.command[0]).name} ended with {done.returncode}: {last}")
    header, *records = map(json.loads, done.stdout.splitlines())
    return from_plain(ProcessResult, header | {"records": records}, "output of the process")


def classify_stdin() -> None:
    """Classify the images named on stdin, in the process that `classify_in` starts.

    Writes JSON lines to stdout: first the processor and versions, then one line for each image.
    """
    from fracture_edge.classifier import FractureClassifier
    from fracture_edge.runtimes import session

    request = json.load(sys.stdin)
    if request["plain"]:
        setattr(session, "exact_int8_sums", lambda: True)  # noqa: B010 (imported by `session`, not defined there)
    classifier = FractureClassifier(request["model"], threads=1)
    print(json.dumps({"cpu_features": cpu_features(), "versions": installed("onnxruntime", "numpy", "pillow")}))
    for prediction in classifier.predict_many(request["images"]):
        print(json.dumps(prediction.record()), flush=True)


def cpu_features() -> list[str]:
    """List the instruction sets that this process may use, by NumPy's names.

    They come from ``cpuid`` or the kernel, as in onnxruntime: under emulation ``/proc/cpuinfo`` may still show the
    real processor.
    """
    # Imported by name because this module of NumPy has no type stubs.
    known: dict[str, bool] = import_module("numpy._core._multiarray_umath").__cpu_features__
    found = [name for name, there in known.items() if there]
    if platform.machine() == "aarch64" and ctypes.CDLL(None).getauxval(_AT_HWCAP2) & _HWCAP2_I8MM:
        found.append("I8MM")
    return sorted(found)
