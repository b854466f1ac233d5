"""Training on JAX and torch: a model has the same predictions on every backend."""

import csv
import importlib.util
import json
import subprocess
from collections.abc import Callable
from pathlib import Path

import keras
import numpy as np
import pytest

from fracture_edge.preprocess import Preprocessing
from train.architectures import build
from train.data.dataset import read_table
from train.recipes.recipe import load_recipe
from train.runs.options import RunOptions
from train.runs.train_model import train_model

pytestmark = pytest.mark.slow

Python = Callable[..., subprocess.CompletedProcess[bytes]]

#: Everything that backends implement differently: decoupled weight decay, moving average, augmentation.
RECIPE = """
architecture = "custom_cnn"
batch_size = 8
optimizer = "adamw"
weight_decay = 0.01
ema_momentum = 0.5
monitor = "val_loss"
patience = 0
options = { filters = [4, 6, 8], units = 10 }
preprocessing = { height = 32, width = 32 }
phases = [{ epochs = 2, learning_rate = 5e-3, schedule = "cosine" }]
augmentation = { rotation = 5, flip_horizontal = true, contrast = 0.1 }
"""

#: For each pair of arguments: write the predictions of a .keras file to an .npy file; the last one has the pixels.
PREDICT = """
import sys
import keras
import numpy as np
from train.architectures import build
*names, pixels = sys.argv[1:]
pixels = np.load(pixels)
print(keras.backend.backend())
for model, answers in zip(names[::2], names[1::2]):
    if model.endswith("new.keras"):
        keras.utils.set_random_seed(5)
        network = build("custom_cnn", 32, 32, filters=(4, 6, 8), units=10)
        network.save(model)
    else:
        network = keras.saving.load_model(model, compile=False)
    np.save(answers, keras.ops.convert_to_numpy(network(pixels)))
"""


def _needs(name: str) -> pytest.MarkDecorator:
    return pytest.mark.skipif(importlib.util.find_spec(name) is None, reason=f"{name} is missing")


BACKENDS = [pytest.param(name, marks=_needs(name)) for name in ("jax", "torch")]
NEEDS_JAX = _needs("jax")


def _environment(backend: str, devices: int = 1) -> dict[str, str]:
    # Without the host's own flags: other ones would change the number of devices.
    flags = f"--xla_force_host_platform_device_count={devices}" if devices > 1 else ""
    return {"KERAS_BACKEND": backend, "TF_CPP_MIN_LOG_LEVEL": "3", "JAX_PLATFORMS": "cpu", "XLA_FLAGS": flags}


@pytest.fixture(scope="module")
def project(
    tmp_path_factory: pytest.TempPathFactory,
    write_bones: Callable[..., Path],
    liven: Callable[..., keras.Model],
) -> Path:
    """data/ (24 training and 24 validation images), tiny.toml, start.keras with varied predictions."""
    root = tmp_path_factory.mktemp("backends")
    write_bones(root / "data", 12, splits=("train", "val"), height=48, width=32)
    (root / "tiny.toml").write_text(RECIPE)
    keras.utils.set_random_seed(0)
    start = build("custom_cnn", 32, 32, filters=(4, 6, 8), units=10)
    liven(start, _pixels(root, "train")).save(root / "start.keras")
    return root


def _train(
    run_python: Python, project: Path, out: str, *more: str, backend: str, devices: int = 1
) -> subprocess.CompletedProcess[bytes]:
    """Train in a separate process; artefacts go to `out` in `project`."""
    start = ["--recipe", "tiny.toml", "--weights", "start.keras", "--seed", "2"]
    arguments = ["--data", "data", "--artifacts", out, *start, *more]
    return run_python(
        *("-m", "fracture_edge", "train", "custom_cnn", *arguments),
        cwd=project,
        environment=_environment(backend, devices),
    )


def _history(folder: Path) -> list[list[float]]:
    with (folder / "history.csv").open(newline="", encoding="utf-8") as stream:
        rows = list(csv.DictReader(stream))
    return [[float(value) for name, value in row.items() if name != "seconds"] for row in rows]


def _answers(model: Path, pixels: np.ndarray) -> np.ndarray:
    """Predict with the backend of this process."""
    network = keras.saving.load_model(model, compile=False)
    return np.asarray(keras.ops.convert_to_numpy(network(pixels)), np.float64)


def _pixels(project: Path, split: str) -> np.ndarray:
    part = read_table(project / "data").where(split)
    return np.stack([Preprocessing(32, 32).load(part.file(item)) for item in part])


@pytest.mark.parametrize("backend", BACKENDS)
def test_saved_models_go_both_ways(
    backend: str, tmp_path: Path, run_python: Python, liven: Callable[..., keras.Model]
) -> None:
    assert keras.backend.backend() == "tensorflow"
    pixels = np.random.default_rng(0).integers(0, 256, (6, 32, 32, 1), np.uint8)
    np.save(tmp_path / "pixels.npy", pixels)
    network = liven(build("custom_cnn", 32, 32, filters=(4, 6, 8), units=10), pixels)
    network.save(tmp_path / "ours.keras")
    names = [str(tmp_path / name) for name in ("ours.keras", "ours.npy", "new.keras", "new.npy", "pixels.npy")]
    done = run_python("-c", PREDICT, *names, environment=_environment(backend))
    assert done.returncode == 0, done.stderr.decode()
    assert done.stdout.decode().split() == [backend]
    for name in ("ours", "new"):
        expected = np.load(tmp_path / f"{name}.npy")
        assert expected.shape == (6, 1)
        assert np.ptp(expected) > 1e-4
        np.testing.assert_allclose(_answers(tmp_path / f"{name}.keras", pixels), expected, atol=1e-4)
    assert np.ptp(np.load(tmp_path / "ours.npy")) > 0.05


@pytest.fixture(scope="module", params=BACKENDS)
def foreign(request: pytest.FixtureRequest, project: Path, run_python: Python) -> Path:
    """Model trained with another backend."""
    done = _train(run_python, project, request.param, backend=request.param)
    assert done.returncode == 0, done.stderr.decode()
    assert done.stdout.decode() == f"{request.param}/custom_cnn\n"
    return project / request.param / "custom_cnn"


@pytest.mark.slow
def test_trained_elsewhere(foreign: Path, project: Path) -> None:
    record = json.loads((foreign / "training.json").read_text())
    backend = foreign.parent.name
    assert (record["backend"], record["precision"], record["epochs"]) == (backend, "float32", 2)
    assert record["device"].endswith(f" with {backend}")
    assert backend in record["versions"]
    history = np.array(_history(foreign))
    assert np.isfinite(history).all()
    # Its recorded validation predictions equal those of its model on TensorFlow.
    with (foreign / "predictions-val.csv").open(newline="") as stream:
        written = [float(row["probability"]) for row in csv.DictReader(stream)]
    found = _answers(foreign / "model.keras", _pixels(project, "val"))[:, 0]
    assert np.ptp(found) > 1e-2
    np.testing.assert_allclose(found, written, atol=1e-4)


@pytest.mark.slow
@pytest.mark.parametrize("backend", BACKENDS)
def test_trained_here(backend: str, project: Path, tmp_path: Path, run_python: Python) -> None:
    recipe = load_recipe("custom_cnn", str(project / "tiny.toml"))
    places = {"data": project / "data", "out": tmp_path, "weights": str(project / "start.keras")}
    folder = train_model(recipe, RunOptions(**places, seed=2, precision="float32"))
    pixels = _pixels(project, "val")
    np.save(tmp_path / "pixels.npy", pixels)
    names = [str(path) for path in (folder / "model.keras", tmp_path / "theirs.npy", tmp_path / "pixels.npy")]
    done = run_python("-c", PREDICT, *names, environment=_environment(backend))
    assert done.returncode == 0, done.stderr.decode()
    assert done.stdout.decode().split() == [backend]
    found = np.load(tmp_path / "theirs.npy")
    assert np.ptp(found) > 1e-2
    np.testing.assert_allclose(found, _answers(folder / "model.keras", pixels), atol=1e-4)


@NEEDS_JAX
@pytest.mark.slow
@pytest.mark.parametrize("foreign", ["jax"], indirect=True)
def test_batches_shared_by_two_devices(project: Path, run_python: Python, foreign: Path) -> None:
    done = _train(run_python, project, "two", "--distribute", backend="jax", devices=2)
    assert done.returncode == 0, done.stderr.decode()
    folder = project / "two/custom_cnn"
    assert json.loads((folder / "training.json").read_text())["device"].endswith(" with jax, batches shared by 2")
    # Halves of a batch are added up in another order.
    np.testing.assert_allclose(_history(folder), _history(foreign), atol=1e-3)


@NEEDS_JAX
@pytest.mark.slow
def test_a_batch_that_cannot_be_shared(project: Path, run_python: Python) -> None:
    # 24 images: three batches of 7, and one of 3.
    done = _train(run_python, project, "odd", "--distribute", "--batch-size", "7", backend="jax", devices=2)
    err = done.stderr.decode()
    assert "Traceback" not in err, err
    if done.returncode:
        assert err.splitlines()[-1].startswith("fracture-edge: ")
        assert not (project / "odd/custom_cnn").exists()
    else:
        assert np.isfinite(_history(project / "odd/custom_cnn")).all()


@NEEDS_JAX
@pytest.mark.slow
def test_a_last_batch_that_cannot_be_shared(project: Path, run_python: Python) -> None:
    # Batches of 8, and a last one of 5; validation and prediction have odd ones too.
    lines = ["path,label,split,group"]
    table = read_table(project / "data")
    for split, count in (("train", 21), ("val", 19)):
        lines += [f"{item.path},{item.label},{split}," for item in list(table.where(split))[:count]]
    (project / "odd.csv").write_text("\n".join(lines))
    done = _train(run_python, project, "last", "--distribute", "--splits", "odd.csv", backend="jax", devices=2)
    assert done.returncode == 0, done.stderr.decode()
    assert np.isfinite(_history(project / "last/custom_cnn")).all()
    with (project / "last/custom_cnn/predictions-val.csv").open(newline="") as stream:
        assert len(list(csv.DictReader(stream))) == 19
