"""Classifying pictures in a Python of its own, on this processor or an emulated one."""

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

from benchmarks.studies.processors.sysroot import find_python
from fracture_edge._version import installed
from fracture_edge.errors import FractureEdgeError

SYSROOT_VARIABLE = "FRACTURE_EDGE_AARCH64_SYSROOT"


class Architecture(StrEnum):
    """Processors that can be emulated, by the names of the emulators."""

    X86_64 = "x86_64"
    AARCH64 = "aarch64"


#: Intel with AVX2 and without AVX-512 or VNNI; and all that qemu knows of Arm, dot products and i8mm included.
DEFAULT_CPUS: Mapping[str, str] = MappingProxyType(
    {Architecture.X86_64: "Haswell-v4", Architecture.AARCH64: "max"}
)
_CHILD = "from benchmarks.studies.processors.emulator import answer; answer()"
#: From Linux's asm/hwcap.h and elf.h for arm64; numpy does not look for it, onnxruntime does.
_AT_HWCAP2, _HWCAP2_I8MM = 26, 1 << 13


@dataclass(frozen=True, slots=True)
class Python:
    """How to start a Python, emulated or not.

    Attributes:
        command: The interpreter, after the emulator if any.
        packages: Folders to import from before our own.
    """

    command: tuple[str, ...] = (sys.executable,)
    packages: tuple[Path, ...] = ()


@dataclass(frozen=True, slots=True)
class Answer:
    """What is taken of a `fracture_edge.Prediction`.

    Attributes:
        path: Path of the picture.
        status: ``ok``, or what was wrong with the picture; the next two are ``None`` then.
        decision: Decision of the model.
        probability: P(fractured).
        elapsed_ms: Milliseconds from the file to the decision.
    """

    path: str
    status: str
    decision: str | None
    probability: float | None
    elapsed_ms: float


@dataclass(frozen=True, slots=True)
class Answers:
    """What one Python says of all images.

    Attributes:
        cpu_features: Instructions that the process finds.
        versions: Of the packages it uses.
        records: Answers in the order of the images.
    """

    cpu_features: tuple[str, ...]
    versions: dict[str, str]
    records: tuple[Answer, ...]

    @property
    def milliseconds(self) -> float:
        """Median time of one image."""
        return median(record.elapsed_ms for record in self.records)


def emulated(arch: str, cpu: str, sysroot: Path | None) -> Python:
    """This Python on another x86_64 processor, or the one of `sysroot` on an aarch64 processor.

    Args:
        arch: A key of `DEFAULT_CPUS`.
        cpu: A model that ``qemu-<arch> -cpu help`` lists.
        sysroot: What `benchmarks.studies.processors.sysroot.prepare` made; for aarch64 only.

    Raises:
        FractureEdgeError: The emulator or the sysroot is missing, or this Python is none for x86_64.
    """
    emulator = shutil.which(f"qemu-{arch}")
    if emulator is None:
        raise FractureEdgeError(f"qemu-{arch} is missing: install it with `apt-get install qemu-user`")
    if arch == "x86_64":
        if platform.machine() != "x86_64":
            raise FractureEdgeError(
                f"an older x86_64 runs this very Python, and this one is for {platform.machine()}"
            )
        return Python((emulator, "-cpu", cpu, sys.executable))
    if sysroot is None:
        raise FractureEdgeError(
            f"aarch64 needs --sysroot FOLDER (or {SYSROOT_VARIABLE}); "
            "`python -m benchmarks.studies emulation --prepare FOLDER` makes one"
        )
    interpreter, packages = find_python(sysroot)
    return Python((emulator, "-cpu", cpu, "-L", str(sysroot), str(interpreter)), (packages,))


def ask(python: Python, model: Path, images: Sequence[Path], *, plain: bool = False) -> Answers:
    """Classify images in a process of its own.

    Args:
        python: Which Python runs it.
        model: A model file.
        images: Picture files.
        plain: Open the model as another program would, without the wider sums that our classifier asks for on x86
            without VNNI.

    Raises:
        FractureEdgeError: The process failed; the text ends with the last line it wrote.
    """
    # The process that is started imports this module, and has nothing but what the device package needs.
    from train.json_records import from_plain

    ours = Path(__file__).resolve().parents[3]
    done = subprocess.run(  # noqa: S603
        [*python.command, "-c", _CHILD],
        input=json.dumps({"model": str(model), "images": [str(image) for image in images], "plain": plain}),
        # Nothing of the caller's: OPENBLAS_CORETYPE, for one, would make numpy use instructions that the emulated
        # processor lacks.
        env={
            "OPENBLAS_NUM_THREADS": "1",
            "PYTHONUTF8": "1",
            "PYTHONPATH": os.pathsep.join(map(str, (*python.packages, ours))),
        },
        capture_output=True,
        check=False,
        encoding="utf-8",
    )
    if done.returncode:
        last = (done.stderr.strip().splitlines() or ["it wrote nothing"])[-1]
        raise FractureEdgeError(f"{Path(python.command[0]).name} ended with {done.returncode}: {last}")
    header, *records = map(json.loads, done.stdout.splitlines())
    return from_plain(Answers, header | {"records": records}, "what the process wrote")


def answer() -> None:
    """The process that `ask` starts: JSON lines on stdout, first the processor, then one for each image."""
    from fracture_edge import session
    from fracture_edge.classifier import FractureClassifier

    question = json.load(sys.stdin)
    if question["plain"]:
        setattr(session, "exact_int8_sums", lambda: True)  # noqa: B010 (a name that it imports)
    classifier = FractureClassifier(question["model"], threads=1)
    print(json.dumps({"cpu_features": cpu_features(), "versions": installed("onnxruntime", "numpy", "pillow")}))
    for prediction in classifier.predict_many(question["images"]):
        print(json.dumps(prediction.record()), flush=True)


def cpu_features() -> list[str]:
    """Instructions this process may use, by numpy's names.

    As ``cpuid`` or the kernel says, which is where onnxruntime looks too: under emulation ``/proc/cpuinfo`` may
    still show the real processor.
    """
    # By name: this module of numpy has no types.
    known: dict[str, bool] = import_module("numpy._core._multiarray_umath").__cpu_features__
    found = [name for name, there in known.items() if there]
    if platform.machine() == "aarch64" and ctypes.CDLL(None).getauxval(_AT_HWCAP2) & _HWCAP2_I8MM:
        found.append("I8MM")
    return sorted(found)
