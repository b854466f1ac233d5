"""The wheel and its dependencies alone, in an empty environment, as a user installs them."""

import hashlib
import json
import os
import shutil
import subprocess
import sys
import venv
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
from PIL import Image

pytestmark = pytest.mark.slow

BUILT = "fracture_edge/web/built"
#: Maximum size of the wheel with the page inside, in bytes.
MOST_BYTES = 7_500_000
#: Neither these nor what a fresh environment has anyway; the versions are pip's choice.
TOO_HEAVY = {"tensorflow", "keras", "onnx", "scipy", "scikit-learn", "matplotlib", "pandas", "pydicom", "pydantic"}


def run(*command: object, cwd: Path) -> str:
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    done = subprocess.run(
        [str(part) for part in command], cwd=cwd, env=environment, capture_output=True, check=False, text=True
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory, repository: Path) -> Path:
    folder = tmp_path_factory.mktemp("wheel")
    # Built from a copy, because a build in the working tree leaves build/ and *.egg-info there.
    source = folder / "source"
    files = run("git", "ls-files", "--cached", "--others", "--exclude-standard", cwd=repository).splitlines()
    for name in files:
        if (repository / name).is_file():
            (source / name).parent.mkdir(parents=True, exist_ok=True)
            (source / name).write_bytes((repository / name).read_bytes())
    # What `make web` has built is not in git, and belongs into the wheel.
    built = repository / BUILT
    if built.is_dir():
        shutil.copytree(built, source / BUILT)
    run(sys.executable, "-m", "build", "--wheel", "--outdir", folder, source, cwd=folder)
    (path,) = folder.glob("*.whl")
    return path


@pytest.fixture(scope="module")
def python(wheel: Path) -> Path:
    folder = wheel.parent / "venv"
    venv.create(folder, with_pip=True)
    executable = folder / ("Scripts" if os.name == "nt" else "bin") / "python"
    run(executable, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", wheel, cwd=wheel.parent)
    return executable


def test_wheel_has_the_packages_and_their_data(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        names = {name for name in archive.namelist() if ".dist-info/" not in name}
    assert {name.partition("/")[0] for name in names} == {"fracture_edge", "train", "export", "benchmarks"}
    assert {
        "fracture_edge/py.typed",
        "fracture_edge/models/edge-int8.onnx",
        "fracture_edge/models/edge-int8.json",
        "fracture_edge/models/README.md",
    } <= names
    assert any(name.startswith("train/recipes/") and name.endswith(".toml") for name in names)


def test_wheel_carries_the_page_where_it_is_built(wheel: Path, repository: Path) -> None:
    assert wheel.stat().st_size <= MOST_BYTES
    with zipfile.ZipFile(wheel) as archive:
        carried = {name for name in archive.namelist() if name.startswith(BUILT)}
    there = (repository / BUILT).glob("*.xz")
    assert carried == {f"{BUILT}/{path.name}" for path in there}


def test_environment_has_only_the_dependencies(python: Path) -> None:
    listed = json.loads(run(python, "-m", "pip", "list", "--format=json", cwd=python.parent))
    names = {entry["name"].lower() for entry in listed}
    assert {"fracture-edge", "numpy", "pillow", "onnxruntime", "typer"} <= names
    assert names.isdisjoint(TOO_HEAVY)


def test_it_classifies(
    python: Path, wheel: Path, bone: Callable[..., npt.NDArray[np.uint8]], repository: Path
) -> None:
    path = wheel.parent / "x.png"
    Image.fromarray(bone(1, True)).save(path)
    script = python.with_name("fracture-edge" + python.suffix)
    (row,) = json.loads(run(script, "classify", path, "--json", cwd=wheel.parent))
    model = repository / "fracture_edge" / "models" / "edge-int8.onnx"
    assert (row["path"], row["status"], row["model"]) == (str(path), "ok", "edge-int8 0.7")
    assert row["model_sha256"] == hashlib.sha256(model.read_bytes()).hexdigest()
    assert row["decision"] in ("fractured", "not_fractured", "uncertain")
    assert 0 <= row["probability"] <= 1


def test_training_names_its_extra(python: Path, wheel: Path) -> None:
    done = subprocess.run(
        [python, "-m", "fracture_edge", "train", "edge", "--data", ".", "--splits", "x.csv"],
        cwd=wheel.parent,
        capture_output=True,
        check=False,
        text=True,
    )
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr == "fracture-edge: 'train' needs keras: pip install 'fracture-edge[train]'\n"
