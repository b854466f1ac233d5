"""Create a folder with an aarch64 Python and the device's packages, for `benchmarks.studies.processors.emulation`.

Debian's packages are unpacked, not installed: the packages and package lists of the machine are not changed.
"""

import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from types import MappingProxyType

from fracture_edge._version import installed
from fracture_edge.errors import FractureEdgeError

#: Debian packages that the wheels need: an interpreter, and the C++ library for onnxruntime.
_DEBIAN = ("python3", "libstdc++6")
_WHEELS = ("numpy", "pillow", "onnxruntime")
#: Wheel platforms from old to new; wheels for any of them run on Debian 12 and later.
_PLATFORMS = ("manylinux2014_aarch64", "manylinux_2_27_aarch64", "manylinux_2_28_aarch64")
_SITE = "site"
#: Description of one core of a Raspberry Pi 4. onnxruntime reads names and numbers of cores from these files, and
#: crashes on import if they describe an x86. It gets the instruction sets from the (emulated) kernel.
_MACHINE = MappingProxyType(
    {
        "proc/cpuinfo": "processor\t: 0\nFeatures\t: fp asimd\nCPU implementer\t: 0x41\nCPU architecture: 8\n"
        "CPU variant\t: 0x0\nCPU part\t: 0xd08\nCPU revision\t: 3\n\n",
        "sys/devices/system/cpu/possible": "0\n",
        "sys/devices/system/cpu/present": "0\n",
    }
)


def find_python(folder: Path) -> tuple[Path, Path]:
    """Return the paths of the interpreter in `folder` and of its packages.

    Raises:
        FractureEdgeError: `folder` has not been prepared completely.
    """
    interpreters = sorted((folder / "usr" / "bin").glob("python3.[0-9]*[0-9]"))
    if not interpreters or not (folder / _SITE / "onnxruntime").is_dir():
        raise FractureEdgeError(
            f"{folder}: no aarch64 Python; `python -m benchmarks.studies emulation --prepare {folder}` makes it"
        )
    return interpreters[-1], folder / _SITE


def prepare(folder: Path) -> None:
    """Unpack Debian's Python for arm64, and wheels of the currently installed package versions.

    Args:
        folder: Folder to create, about 300 MB; may contain an earlier, incomplete attempt.

    Raises:
        FractureEdgeError: A tool is missing or failed; the message ends with the last line that it wrote.
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
    """Download Debian packages for arm64 with their dependencies, using a separate package database in `apt`."""
    archives = apt / "cache" / "archives"
    for made in (apt / "state" / "lists" / "partial", archives / "partial"):
        made.mkdir(parents=True, exist_ok=True)
    # With an empty status file no package counts as installed, so all dependencies are downloaded.
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
