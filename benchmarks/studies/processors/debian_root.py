"""A fresh Debian for arm64 in a folder, whose own pip installs the package, run under user-mode emulation.

It needs root, x86_64, and the Debian packages mmdebstrap, qemu-user-static and arch-test.
"""

import os
import platform
import shutil
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType

from fracture_edge.errors import FractureEdgeError

SUITE = "bookworm"
#: Debian packages of the root: an interpreter with venv, and the C++ library that onnxruntime needs.
_DEBIAN = ("python3", "python3-venv", "libstdc++6")
_TOOLS = MappingProxyType(
    {"mmdebstrap": "mmdebstrap", "qemu-aarch64-static": "qemu-user-static", "arch-test": "arch-test"}
)
#: Environment in the root into which the package is installed.
_VENV = "opt/fracture-edge"
#: Core of the Raspberry Pi 4, by qemu's name.
PI_4 = "cortex-a72"
#: Description of one such core. onnxruntime reads names and numbers of cores from these files, and
#: crashes on import if they describe an x86. It gets the instruction sets from the (emulated) kernel.
_MACHINE = MappingProxyType(
    {
        "proc/cpuinfo": "processor\t: 0\nFeatures\t: fp asimd\nCPU implementer\t: 0x41\nCPU architecture: 8\n"
        "CPU variant\t: 0x0\nCPU part\t: 0xd08\nCPU revision\t: 3\n\n",
        "sys/devices/system/cpu/possible": "0\n",
        "sys/devices/system/cpu/present": "0\n",
    }
)
#: Files of this machine that the root gets, so that pip there reaches what pip here does.
_CERTIFICATES = "etc/ssl/certs/ca-certificates.crt"
_NETWORK = ("etc/resolv.conf", "etc/hosts", _CERTIFICATES)
_BINFMT = Path("/proc/sys/fs/binfmt_misc")
#: How the kernel recognises programs for aarch64 and what runs them, from the package qemu-user-static.
_RULE = Path("/usr/lib/binfmt.d/qemu-aarch64.conf")


@dataclass(frozen=True, slots=True)
class DebianRoot:
    """Debian for arm64 in a folder.

    Attributes:
        folder: Folder of the root.
    """

    folder: Path

    @property
    def interpreter(self) -> Path:
        """Path of the root's interpreter.

        Raises:
            FractureEdgeError: The root has not been made completely.
        """
        found = sorted((self.folder / "usr" / "bin").glob("python3.[0-9]*[0-9]"))
        if not found or not self.packages.is_dir():
            raise FractureEdgeError(
                f"{self.folder}: no Python for aarch64 with fracture-edge; "
                "`python -m benchmarks.studies arm64 --root FOLDER` makes it"
            )
        return found[-1]

    @property
    def packages(self) -> Path:
        """Folder of the packages that the root's pip has installed."""
        found = sorted((self.folder / _VENV / "lib").glob("python3.*/site-packages"))
        return found[-1] if found else self.folder / _VENV / "lib"

    def make(self, suite: str = SUITE) -> None:
        """Make the root, about 250 MB.

        Args:
            suite: Release of Debian.

        Raises:
            FractureEdgeError: The folder exists and is not empty, or a step failed.
        """
        if self.folder.exists() and any(self.folder.iterdir()):
            raise FractureEdgeError(f"{self.folder}: not empty; name another folder, or remove it")
        # In a mount namespace of its own: mmdebstrap mounts parts of this machine into the folder, /dev/shm among
        # them. Where it is killed they would stay mounted, and whoever removes the folder would empty them.
        isolated = ("unshare", "--mount", "mmdebstrap", "--quiet", "--architectures=arm64", "--variant=apt")
        checked(*isolated, f"--include={','.join(_DEBIAN)}", suite, self.folder)
        describe_core(self.folder)
        for name in _NETWORK:
            (self.folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(Path("/", name), self.folder / name)
        self.checked("/usr/bin/python3", "-m", "venv", f"/{_VENV}")

    def install(self, *requirements: str, options: Sequence[str] = ()) -> None:
        """Install packages with the root's own pip.

        Args:
            requirements: Requirements, as for pip; paths are those inside the root.
            options: Further options of ``pip install``.
        """
        self.checked(f"/{_VENV}/bin/pip", "install", "--quiet", *options, *requirements, more=_pip_settings())

    def copy_in(self, path: Path, folder: str) -> str:
        """Copy a file or folder into a folder of the root, and return its path inside."""
        target = self.folder / folder / path.name
        target.parent.mkdir(parents=True, exist_ok=True)
        if path.is_dir():
            shutil.copytree(path, target, dirs_exist_ok=True)
        else:
            shutil.copyfile(path, target)
        return f"/{folder}/{path.name}"

    def run(
        self, *command: str, cpu: str = "max", more: Mapping[str, str] = MappingProxyType({})
    ) -> subprocess.CompletedProcess[str]:
        """Run a program of the root and capture what it writes.

        Args:
            command: Command line; a program without a path is that of the environment.
            cpu: Processor to emulate, one of those that ``qemu-aarch64-static -cpu help`` lists.
            more: Further environment variables. Nothing else of this process's environment is passed on.
        """
        program, *arguments = command
        path = program if program.startswith("/") else f"/{_VENV}/bin/{program}"
        settings = {
            "PATH": "/usr/sbin:/usr/bin:/sbin:/bin",
            "HOME": "/root",
            "PYTHONUTF8": "1",
            "OPENBLAS_NUM_THREADS": "1",
            "QEMU_CPU": cpu,
            **more,
        }
        return subprocess.run(  # noqa: S603
            ["chroot", str(self.folder), path, *arguments],  # noqa: S607
            env=settings,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            check=False,
            encoding="utf-8",
        )

    def checked(self, *command: str, cpu: str = "max", more: Mapping[str, str] = MappingProxyType({})) -> str:
        """Run a program of the root as `run` does, and return its output.

        Raises:
            FractureEdgeError: It failed; the message ends with the last line that it wrote.
        """
        done = self.run(*command, cpu=cpu, more=more)
        if done.returncode:
            raise _failed(command[0], done.returncode, f"{done.stdout}\n{done.stderr}")
        return done.stdout


def describe_core(folder: Path) -> None:
    """Write the files of /proc and /sys that describe one core of a Raspberry Pi 4 into a folder."""
    for name, text in _MACHINE.items():
        described = folder / name
        described.parent.mkdir(parents=True, exist_ok=True)
        described.write_text(text)


@contextmanager
def emulation() -> Iterator[None]:
    """Let the kernel run programs for aarch64 in the emulator within this context.

    Raises:
        FractureEdgeError: This is no x86_64, the user is not root, or a tool is missing.
    """
    if platform.machine() != "x86_64":
        raise FractureEdgeError(
            f"emulates an ARM processor on x86_64; on {platform.machine()} run `doctor` itself"
        )
    missing = sorted({package for tool, package in _TOOLS.items() if shutil.which(tool) is None})
    if missing:
        raise FractureEdgeError(f"tools are missing: apt-get install {' '.join(missing)}")
    if os.geteuid() != 0:
        raise FractureEdgeError("only root can make a root for another processor: run it with sudo")
    if not (_BINFMT / "register").exists():
        checked("mount", "-t", "binfmt_misc", "binfmt_misc", _BINFMT)
    ours = not (_BINFMT / _RULE.stem).exists()
    if ours:
        (_BINFMT / "register").write_text(_RULE.read_text(encoding="utf-8"), encoding="utf-8")
    try:
        yield
    finally:
        if ours:
            # -1 removes the rule (the kernel's binfmt-misc documentation).
            (_BINFMT / _RULE.stem).write_text("-1", encoding="utf-8")


def checked(*command: object, cwd: Path | None = None, more: Mapping[str, str] = MappingProxyType({})) -> str:
    """Run a program of this machine, and return its output as text.

    Args:
        command: Command line.
        cwd: Folder to run it in; the current one if ``None``.
        more: Environment variables beside those of this process.

    Raises:
        FractureEdgeError: It failed; the message ends with the last line that it wrote.
    """
    return checked_bytes(*command, cwd=cwd, more=more).decode("utf-8")


def checked_bytes(
    *command: object, cwd: Path | None = None, more: Mapping[str, str] = MappingProxyType({})
) -> bytes:
    """Run a program of this machine as `checked` does, and return its output as it is."""
    words = [str(part) for part in command]
    done = subprocess.run(  # noqa: S603
        words, cwd=cwd, env={**os.environ, **more}, capture_output=True, check=False
    )
    if done.returncode:
        raise _failed(words[0], done.returncode, done.stderr.decode("utf-8", "replace"))
    return done.stdout


def _failed(program: str, status: int, errors: str) -> FractureEdgeError:
    last = (errors.strip().splitlines() or ["it wrote nothing"])[-1]
    return FractureEdgeError(f"{Path(program).name} ended with {status}: {last}")


def _pip_settings() -> dict[str, str]:
    """Return the settings with which pip in the root reaches the package index that pip here uses."""
    settings = {
        "PIP_CERT": f"/{_CERTIFICATES}",
        "PIP_DISABLE_PIP_VERSION_CHECK": "1",
        "PIP_DEFAULT_TIMEOUT": "180",
    }
    for name in ("index-url", "trusted-host", "proxy"):
        asked = subprocess.run(  # noqa: S603
            [sys.executable, "-m", "pip", "config", "get", f"global.{name}"],
            capture_output=True,
            check=False,
            encoding="utf-8",
        )
        if asked.returncode == 0:
            settings[f"PIP_{name.replace('-', '_').upper()}"] = asked.stdout.strip()
    passed_on = ("PIP_INDEX_URL", "PIP_TRUSTED_HOST", "PIP_PROXY", "HTTPS_PROXY", "https_proxy")
    return settings | {name: os.environ[name] for name in passed_on if name in os.environ}
