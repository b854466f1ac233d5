"""Prove the package on ARM: `python -m benchmarks.studies arm64`, or `make arm64`.

Builds the wheel of HEAD, makes a fresh Debian for arm64, installs the wheel by that system's own pip, and runs
there, on emulated cores of the Raspberry Pi 3 and 4, `classify`, `doctor --no-speed`, and the tests whose pictures
were computed by hand. The records are compared with those of this machine for the same pictures, which are drawn
anew each time. As a negative control, a version of onnxruntime that these cores cannot run must die there.
"""

import io
import json
import signal
import sys
import tarfile
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, NamedTuple

import numpy as np
import typer
from PIL import Image

from benchmarks.records.environment import Environment
from benchmarks.studies.page.pictures import bone
from benchmarks.studies.processors.arm64_result import (
    ArmProof,
    ControlRun,
    EmulatedCore,
    table_of,
    unexplained,
)
from benchmarks.studies.processors.comparison import compare
from benchmarks.studies.processors.debian_root import (
    PI_4,
    SUITE,
    DebianRoot,
    checked,
    checked_bytes,
    emulation,
)
from benchmarks.studies.processors.emulator import PredictionRecord
from fracture_edge.classifier import FractureClassifier
from fracture_edge.console import say
from fracture_edge.doctor import known_answers
from fracture_edge.errors import EXIT_FAILED, FractureEdgeError
from train.json_records import write_record

app = typer.Typer(add_completion=False, rich_markup_mode=None)
CHECKOUT = Path(__file__).resolve().parents[3]
#: Cores of the Raspberry Pi 3 and Zero 2 (A53) and of the Pi 4 (A72): neither has instructions for dot products.
CPUS = ("cortex-a53", PI_4)
#: Version of onnxruntime whose wheel for arm64 needs newer cores, for the negative control, and its folder.
CONTROL, _CONTROL_FOLDER = "1.21.0", "/opt/control"
#: Folder of the root for the wheel, the pictures and the tests.
WORK = "srv"
#: Number of drawn pictures.
DRAWN = 40
#: Tests that need nothing but the device package: their pictures and pixels are computed by hand.
TESTS = ("test_resize.py", "test_policy.py", "images/test_levels.py", "images/test_colour.py")
_PACKAGES = ("fracture-edge", "numpy", "onnxruntime", "pillow")
#: Program that describes the interpreter that answers.
_DESCRIBE = (
    "import json, platform, sys\nfrom importlib.metadata import version\n"
    "print(json.dumps([platform.machine(), platform.python_version(), {n: version(n) for n in sys.argv[1:]}]))"
)


class Records(NamedTuple):
    """Records of one processor.

    Attributes:
        checked: Records of `classify`.
        any_image: Records of `classify --any-image`, in the same order.
        models: SHA-256 of the models that the records name.
    """

    checked: list[PredictionRecord]
    any_image: list[PredictionRecord]
    models: frozenset[str]

    @classmethod
    def read(cls, checked_lines: str, any_lines: str) -> "Records":
        """Read the JSON lines of both runs."""
        both = [[json.loads(line) for line in lines.splitlines()] for lines in (checked_lines, any_lines)]
        found = [[PredictionRecord.of(one) for one in run] for run in both]
        return cls(found[0], found[1], frozenset(one["model_sha256"] for run in both for one in run))


def draw(folder: Path, seed: int, number: int) -> list[str]:
    """Write drawn bones of several sizes, PNG and JPEG in turns, and then the known pictures of `doctor`.

    Args:
        folder: Folder for the files; created.
        seed: Seed of the drawings.
        number: Number of drawn bones.

    Returns:
        Names of the files.
    """
    folder.mkdir(parents=True)
    rng = np.random.default_rng(seed)
    drawn = [f"drawn{index:03d}{('.png', '.jpg')[index % 2]}" for index in range(number)]
    for name in drawn:
        Image.fromarray(bone(rng, int(rng.integers(300, 1200)))).save(folder / name)
    known = [f"known{index}.png" for index in range(known_answers.IMAGES)]
    for index, name in enumerate(known):
        (folder / name).write_bytes(known_answers.phantom(index))
    return [*drawn, *known]


def build_wheel(folder: Path) -> Path:
    """Build the wheel of the commit that is checked out, in a folder."""
    with tarfile.open(fileobj=io.BytesIO(checked_bytes("git", "archive", "HEAD", cwd=CHECKOUT))) as archive:
        archive.extractall(folder / "source", filter="data")
    checked(sys.executable, "-m", "build", "--wheel", "--outdir", folder, folder / "source")
    (wheel,) = folder.glob("*.whl")
    return wheel


class _Proof:
    """Proof in progress.

    Attributes:
        root: Debian for arm64.
        seconds: Seconds of each step by name.
    """

    def __init__(self, folder: Path) -> None:
        self.root = DebianRoot(folder)
        self.seconds: dict[str, float] = {}

    @contextmanager
    def step(self, name: str) -> Iterator[None]:
        """Say the name of a step and record its time."""
        say(f"{name} ...")
        started = time.monotonic()
        yield
        self.seconds[name] = round(time.monotonic() - started, 1)

    def install(self, scratch: Path, suite: str) -> str:
        """Build the wheel, make the root and install it there; return the name of the wheel."""
        with self.step("wheel"):
            wheel = build_wheel(scratch)
        with self.step("root"):
            self.root.make(suite)
        constraints = self.root.copy_in(CHECKOUT / "constraints.txt", WORK)
        with self.step("pip install"):
            self.root.install(self.root.copy_in(wheel, WORK), "pytest", options=("-c", constraints))
        with self.step("control"):
            options = ("--target", _CONTROL_FOLDER, "--no-deps")
            self.root.install(f"onnxruntime=={CONTROL}", options=options)
        for test in TESTS:
            self.root.copy_in(CHECKOUT / "tests" / "fracture_edge" / test, f"{WORK}/tests")
        return wheel.name

    def on_core(self, cpu: str, pictures: Sequence[str], native: Records) -> EmulatedCore:
        """Run everything on one core.

        Args:
            cpu: Name of the core.
            pictures: Names of the pictures, which lie in the root.
            native: Records of this machine for them.
        """
        words = [f"/{WORK}/pictures/{name}" for name in pictures]
        with self.step(cpu):
            lines = [
                self.root.checked("fracture-edge", "classify", *words, "--jsonl", *options, cpu=cpu)
                for options in ((), ("--any-image",))
            ]
            doctor = self.root.run("fracture-edge", "doctor", "--no-speed", "--json", cpu=cpu)
            tests = self.root.checked(
                *("python", "-m", "pytest", "-q", "--noconftest", "-p", "no:cacheprovider", f"/{WORK}/tests"),
                cpu=cpu,
            )
            machine, _, _ = json.loads(self.root.checked("python", "-c", _DESCRIBE, cpu=cpu))
        found = Records.read(*lines)
        if found.models != native.models:
            raise FractureEdgeError(f"{cpu}: the records name another model: {', '.join(found.models)}")
        known = slice(-known_answers.IMAGES, None)
        any_image = compare(native.any_image, found.any_image)
        return EmulatedCore(
            cpu=cpu,
            machine=machine,
            healthy=bool(json.loads(doctor.stdout)["healthy"]) and doctor.returncode == 0,
            tests=tests.splitlines()[-1],
            records=compare(native.checked, found.checked),
            any_image=any_image,
            known=compare(native.any_image[known], found.any_image[known]),
            unexplained=unexplained(any_image, FractureClassifier(threads=1).policy),
            seconds=self.seconds[cpu],
        )

    def control(self, cpu: str, picture: str) -> ControlRun:
        """Run `classify` with the onnxruntime of the negative control."""
        more = {"PYTHONPATH": _CONTROL_FOLDER}
        done = self.root.run("fracture-edge", "classify", f"/{WORK}/pictures/{picture}", cpu=cpu, more=more)
        ended = signal.Signals(-done.returncode).name if done.returncode < 0 else f"status {done.returncode}"
        said = done.stderr.strip().rpartition("\n")[2]
        return ControlRun(onnxruntime=CONTROL, cpu=cpu, ended_by=ended, said=said)


def prove(folder: Path, suite: str, seed: int, number: int) -> ArmProof:
    """Make the root in a folder and run everything in it.

    Args:
        folder: Folder for the root, which need not exist, or an empty one.
        suite: Release of Debian.
        seed: Seed of the drawn pictures.
        number: Number of drawn pictures.

    Raises:
        FractureEdgeError: A tool is missing, or a step failed.
    """
    proof, started = _Proof(folder), time.monotonic()
    with tempfile.TemporaryDirectory() as scratch, emulation():
        wheel = proof.install(Path(scratch), suite)
        pictures = draw(Path(scratch) / "pictures", seed, number)
        proof.root.copy_in(Path(scratch) / "pictures", WORK)
        command = (sys.executable, "-m", "fracture_edge", "classify", *pictures, "--jsonl")
        # This checkout, not another one that is installed.
        native = Records.read(
            *(
                checked(*command, *options, cwd=Path(scratch) / "pictures", more={"PYTHONPATH": str(CHECKOUT)})
                for options in ((), ("--any-image",))
            )
        )
        cores = tuple(proof.on_core(cpu, pictures, native) for cpu in CPUS)
        control = tuple(proof.control(cpu, pictures[0]) for cpu in CPUS)
        _, python, versions = json.loads(proof.root.checked("python", "-c", _DESCRIBE, *_PACKAGES))
    (model,) = native.models
    return ArmProof(
        suite=suite,
        python=python,
        versions=versions,
        qemu=checked("qemu-aarch64-static", "--version").partition("\n")[0],
        wheel=wheel,
        model_sha256=model,
        seed=seed,
        cores=cores,
        control=control,
        seconds=proof.seconds | {"all": round(time.monotonic() - started, 1)},
        environment=Environment.here(),
    )


@app.command()
def run(
    root: Annotated[
        Path | None,
        typer.Option(metavar="FOLDER", help="Keep the root in this folder. Default: a temporary one."),
    ] = None,
    suite: Annotated[str, typer.Option(help="Release of Debian: bookworm has Python 3.11, trixie 3.13.")] = SUITE,
    seed: Annotated[int | None, typer.Option(help="Seed of the drawn pictures. Default: from the clock.")] = None,
    count: Annotated[int, typer.Option(min=1, help="Number of drawn pictures.")] = DRAWN,
    output: Annotated[Path | None, typer.Option(metavar="FILE.json", help="Write the JSON here.")] = None,
) -> None:
    """Install the wheel on a fresh Debian for arm64, and compare its answers on emulated cores with those here.

    Needs root on x86_64, a package index, Debian's archive, and: apt-get install mmdebstrap qemu-user-static
    arch-test. Exit status: 0 if everything holds, 1 if not, 2 for wrong usage.
    """
    chosen = time.time_ns() % 2**32 if seed is None else seed
    say(f"seed {chosen}")
    with tempfile.TemporaryDirectory() as scratch:
        result = prove(root or Path(scratch) / "root", suite, chosen, count)
    if output is not None:
        write_record(output, result)
    print(table_of(result))
    if result.failures:
        print("\n".join(result.failures))
        raise typer.Exit(EXIT_FAILED)
    print("everything holds")
