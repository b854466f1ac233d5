"""Try the oldest and the newest versions of the dependencies: `python -m benchmarks.studies bounds`.

Each part of the package gets an environment of its own with the lowest versions that `pyproject.toml` allows, and
one with the newest. In each, `fracture-edge doctor` predicts the images whose predictions are known, and a small
set of tests runs.
"""

import os
import subprocess
import sys
import tomllib
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, NamedTuple

import typer
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from fracture_edge.console import say
from fracture_edge.errors import EXIT_FAILED

app = typer.Typer(add_completion=False, rich_markup_mode=None)
_REPOSITORY = Path(__file__).resolve().parents[3]
#: Settings by which uv trusts the certificates of the system, in older and in newer versions.
_SYSTEM_CERTIFICATES = {"UV_NATIVE_TLS": "1", "UV_SYSTEM_CERTS": "1"}
#: What the tests need beside the extras.
_TOOLS = ("pytest>=8.3", "pydicom-data>=1.0", "hypothesis>=6.100")
_DEVICE_TESTS = (
    "tests/fracture_edge/batch/test_completeness.py",
    "tests/fracture_edge/batch/test_moving.py",
    "tests/fracture_edge/batch/test_records.py",
    "tests/fracture_edge/images/test_colour.py",
    "tests/fracture_edge/images/test_dicom.py",
    "tests/fracture_edge/images/test_image_file.py",
    "tests/fracture_edge/test_policy.py",
)
_TRAINING_TESTS = (
    "tests/train/data/test_augment.py",
    "tests/train/data/test_batches.py",
    "tests/train/data/test_dataset.py",
    "tests/train/data/test_folders.py",
    "tests/train/data/test_scan.py",
    "tests/train/data/test_splits.py",
    "tests/train/recipes",
    "tests/train/trainer/test_loop.py",
    "tests/train/trainer/test_weights_file.py",
)
_PACS_TESTS = (
    "tests/fracture_edge/pacs/results/test_results.py",
    "tests/fracture_edge/pacs/gateway/test_answering.py",
    "tests/fracture_edge/pacs/gateway/test_receiver.py",
    "tests/fracture_edge/pacs/gateway/test_sending.py",
)
_SERVE_TESTS = "tests/fracture_edge/serve"


@dataclass(frozen=True, slots=True)
class Part:
    """Part of the package that is installed and tested together.

    Attributes:
        extras: Extras to install.
        tests: Tests to run.
        without_conftest: Whether the tests run without ``tests/conftest.py``, which imports the training code.
    """

    extras: tuple[str, ...]
    tests: tuple[str, ...]
    without_conftest: bool


PARTS = {
    # HEIC asks for a newer Pillow than the others: without it the lowest bound of Pillow is tried.
    "device": Part(("dicom", "dicom-gpl"), _DEVICE_TESTS, without_conftest=True),
    "heic": Part(("dicom", "dicom-gpl", "heic"), _DEVICE_TESTS, without_conftest=True),
    # The tests of DICOM results, gateway and server need the conftest, and so the training code.
    "training": Part(
        ("pacs", "serve", "train", "tune"), (*_TRAINING_TESTS, *_PACS_TESTS, _SERVE_TESTS), without_conftest=False
    ),
}


class Outcome(NamedTuple):
    """Result of one environment.

    Attributes:
        name: Name of the part, and oldest or newest.
        versions: Installed versions of the direct dependencies, by name.
        failures: What failed; empty if nothing did.
    """

    name: str
    versions: dict[str, str]
    failures: list[str]


def direct_dependencies(extras: tuple[str, ...]) -> list[str]:
    """Return the names of the dependencies that ``pyproject.toml`` states for the package and the extras."""
    project = tomllib.loads((_REPOSITORY / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    lines = list(project["dependencies"])
    for extra in extras:
        lines += project["optional-dependencies"][extra]
    names = {canonicalize_name(Requirement(line).name) for line in lines}
    return sorted(names - {canonicalize_name(project["name"])})


def examine(name: str, part: Part, folder: Path, *, newest: bool) -> Outcome:
    """Make an environment, install the package, and run the checks.

    Args:
        name: Name of the outcome.
        part: Part of the package.
        folder: Folder of the environment.
        newest: Whether to install the newest versions, not the oldest.
    """
    python = folder / ("Scripts" if os.name == "nt" else "bin") / "python"
    package = f"{_REPOSITORY}[{','.join(part.extras)}]"
    resolution = "highest" if newest else "lowest-direct"
    steps = {
        "environment": _uv("venv", "--clear", "--python", sys.executable, str(folder)),
        # uv would take the wheel of an earlier run for that of this checkout.
        "installation": _uv(
            *("pip", "install", "--refresh-package", "fracture-edge", "--python", str(python)),
            *("--resolution", resolution, package, *_TOOLS),
        ),
    }
    for step, command in steps.items():
        if not _succeeds(command):
            return Outcome(name, {}, [step])
    tests = [str(_REPOSITORY / path) for path in part.tests]
    conftest = ("--noconftest",) if part.without_conftest else ()
    checks = {
        "doctor": (str(python), "-m", "fracture_edge", "doctor"),
        "tests": (str(python), "-m", "pytest", "-q", "-p", "no:cacheprovider", *conftest, *tests),
    }
    failures = [check for check, command in checks.items() if not _succeeds(command)]
    return Outcome(name, _versions(python, direct_dependencies(part.extras)), failures)


def table(outcomes: list[Outcome]) -> str:
    """Format the installed versions of all environments as a Markdown table."""
    names = sorted({name for outcome in outcomes for name in outcome.versions})
    lines = [["dependency", *(outcome.name for outcome in outcomes)], ["---"] * (len(outcomes) + 1)]
    lines += [[name, *(outcome.versions.get(name, "") for outcome in outcomes)] for name in names]
    lines.append(["failed", *(", ".join(outcome.failures) or "nothing" for outcome in outcomes)])
    return "".join(f"| {' | '.join(cells)} |\n" for cells in lines)


def _uv(*arguments: str) -> tuple[str, ...]:
    return (sys.executable, "-m", "uv", *arguments)


def _succeeds(command: tuple[str, ...]) -> bool:
    say(f"$ {' '.join(command)}")
    # What is installed is tested, not the checkout.
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    done = subprocess.run(  # noqa: S603
        command, cwd=_REPOSITORY / "build", env=environment | _SYSTEM_CERTIFICATES, check=False, stdout=sys.stderr
    )
    return done.returncode == 0


def _versions(python: Path, names: list[str]) -> dict[str, str]:
    code = "import sys; from importlib.metadata import version as v; print(*(v(n) for n in sys.argv[1:]))"
    done = subprocess.run(  # noqa: S603
        [python, "-c", code, *names], check=True, capture_output=True, text=True
    )
    return dict(zip(names, done.stdout.split(), strict=True))


@app.command()
def bounds(
    part: Annotated[
        list[str] | None, typer.Option(help=f"Part to try, may be repeated: {', '.join(PARTS)}. Default: all.")
    ] = None,
    folder: Annotated[Path, typer.Option(help="Folder of the environments.")] = Path("build/bounds"),
) -> None:
    """Try the oldest and the newest versions of every dependency.

    Needs uv (pip install uv), which resolves to the lowest versions, and a package index.

    Exit status: 0 if everything works with both, 1 otherwise.
    """
    if unknown := set(part or ()) - set(PARTS):
        raise typer.BadParameter(f"no part {unknown.pop()!r}; must be one of: {', '.join(PARTS)}")
    (_REPOSITORY / "build").mkdir(exist_ok=True)
    outcomes = [
        examine(f"{name}, {word}", PARTS[name], folder.resolve() / f"{name}-{word}", newest=word == "newest")
        for name in part or PARTS
        for word in ("oldest", "newest")
    ]
    print(table(outcomes), end="")
    if any(outcome.failures for outcome in outcomes):
        raise typer.Exit(EXIT_FAILED)
