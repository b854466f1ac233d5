"""An aarch64 Python with the device's packages in a folder, for `benchmarks.studies.processors.emulation`.

Debian's packages are unpacked, never installed: the machine's own packages and their lists stay as they are.
"""

import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from types import MappingProxyType

from fracture_edge._version import installed
from fracture_edge.errors import FractureEdgeError

#: What the wheels do not bring themselves: an interpreter, and the C++ library for onnxruntime.
_DEBIAN = ("python3", "libstdc++6")
_WHEELS = ("numpy", "pillow", "onnxruntime")
#: From old to new; a wheel for any of them runs on Debian 12 and later.
_PLATFORMS = ("manylinux2014_aarch64", "manylinux_2_27_aarch64", "manylinux_2_28_aarch64")
_SITE = "site"
#: One core of a Raspberry Pi 4. onnxruntime asks these files for names and numbers of cores, and crashes on import
#: where they describe an x86; which instructions there are it asks the (emulated) kernel.
_MACHINE = MappingProxyType(
    {
        "proc/cpuinfo": "processor\t: 0\nFeatures\t: fp asimd\nCPU implementer\t: 0x41\nCPU architecture: 8\n"
        "CPU variant\t: 0x0\nCPU part\t: 0xd08\nCPU revision\t: 3\n\n",
        "sys/devices/system/cpu/possible": "0\n",
        "sys/devices/system/cpu/present": "0\n",
    }
)


def find_python(folder: Path) -> tuple[Path, Path]:
    """The interpreter in `folder` and the folder of its packages.

    Raises:
        FractureEdgeError: `folder` is not, or not wholly, prepared.
    """
    interpreters = sorted((folder / "usr" / "bin").glob("python3.[0-9]*[0-9]"))
    if not interpreters or not (folder / _SITE / "onnxruntime").is_dir():
        raise FractureEdgeError(
            f"{folder}: no aarch64 Python; `python -m benchmarks.studies emulation --prepare {folder}` makes it"
        )
    return interpreters[-1], folder / _SITE


def prepare(folder: Path) -> None:
    """Unpack Debian's Python for arm64 and wheels of the versions that are installed here.

    Args:
        folder: Is made; may be an earlier, incomplete attempt. Takes about 300 MB.

    Raises:
        FractureEdgeError: A tool is missing or failed; the text ends with the last line it wrote.
    """
    for package in _download(folder.resolve() / "apt"):
        _run("dpkg-deb", "--extract", package, folder)
    for name, text in _MACHINE.items():
        described = folder / name
        described.parent.mkdir(parents=True, exist_ok=True)
        described.write_text(text)
    interpreter = next((folder / "usr" / "bin").glob("python3.[0-9]*[0-9]"))
    _run(
        *(sys.executable, "-m", "pip", "install", "--quiet", "--upgrade", "--target", folder / _SITE),
        *(
            "--only-binary=:all:",
            "--implementation=cp",
            "--python-version",
            interpreter.name.removeprefix("python"),
        ),
        *(f"--platform={name}" for name in _PLATFORMS),
        *(f"{name}=={version}" for name, version in installed(*_WHEELS).items()),
    )


def _download(apt: Path) -> Sequence[Path]:
    """Debian packages for arm64 with all they depend on, by way of a package data base of our own in `apt`."""
    archives = apt / "cache" / "archives"
    for made in (apt / "state" / "lists" / "partial", archives / "partial"):
        made.mkdir(parents=True, exist_ok=True)
    # Nothing is installed, so everything is downloaded.
    status = apt / "status"
    status.touch()
    settings = {
        "APT::Architecture": "arm64",
        "APT::Architectures": "arm64",
        "APT::Sandbox::User": "",
        "Dir::State": apt / "state",
        "Dir::State::status": status,
        "Dir::Cache": apt / "cache",
    }
    command = ["apt-get", "--quiet", *(f"--option={name}={value}" for name, value in settings.items())]
    _run(*command, "update")
    _run(*command, "install", "--yes", "--download-only", "--no-install-recommends", *_DEBIAN)
    return sorted(archives.glob("*.deb"))


def _run(*command: object) -> None:
    try:
        done = subprocess.run(  # noqa: S603
            [str(part) for part in command], capture_output=True, check=False, encoding="utf-8"
        )
    except FileNotFoundError as error:
        raise FractureEdgeError(f"{command[0]} is missing: prepare the sysroot on a Debian system") from error
    if done.returncode:
        last = (done.stderr.strip().splitlines() or ["it wrote nothing"])[-1]
        raise FractureEdgeError(f"{Path(str(command[0])).name} ended with {done.returncode}: {last}")
