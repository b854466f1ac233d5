import csv
import json
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest

from fracture_edge.errors import FractureEdgeError
from fracture_edge.preprocess import Preprocessing
from train import device
from train.architectures import build
from train.data.augment import Augmentation
from train.data.batches import Batches
from train.data.dataset import read_splits
from train.device import prepare
from train.recipes.recipe import Phase, Recipe
from train.runs import train_model as run
from train.trainer import loop
from train.trainer.callbacks import History

Train = Callable[..., Path]


@pytest.fixture(autouse=True)
def float32_again() -> Iterator[None]:
    """The precision is a global of Keras."""
    yield
    keras.config.set_dtype_policy("float32")


@pytest.fixture
def gpus(monkeypatch: pytest.MonkeyPatch) -> Callable[[int], None]:
    """`gpus(n)`: the backend sees n of them."""

    def see(count: int) -> None:
        devices = {"gpu": [f"gpu:{n}" for n in range(count)], "cpu": ["cpu:0"]}
        monkeypatch.setattr(keras.distribution, "list_devices", lambda kind: devices[kind])

    return see


def test_float32_on_a_cpu(gpus: Callable[[int], None]) -> None:
    gpus(0)
    found = prepare()
    assert (found.precision, found.count) == ("float32", 1)
    assert found.name.startswith("CPU (")
    assert found.name.endswith(" with tensorflow")
    assert keras.config.dtype_policy().name == "float32"


def test_half_precision_on_a_gpu(gpus: Callable[[int], None]) -> None:
    gpus(2)
    found = prepare()
    # One of them, unless it is asked for more.
    assert found == device.Device("GPU with tensorflow", 1, "mixed_float16")
    assert keras.config.dtype_policy().name == "mixed_float16"


@pytest.mark.parametrize("precision", ["float32", "mixed_float16", "mixed_bfloat16"])
def test_the_precision_that_is_asked_for(precision: str) -> None:
    assert prepare(precision).precision == precision
    assert keras.config.dtype_policy().name == precision


def test_unknown_precision() -> None:
    with pytest.raises(FractureEdgeError) as caught:
        prepare("float16")
    assert str(caught.value) == (
        "precision: must be one of: auto, float32, mixed_float16, mixed_bfloat16; not 'float16'"
    )
    assert keras.config.dtype_policy().name == "float32"


def test_distribution_needs_jax() -> None:
    with pytest.raises(FractureEdgeError) as caught:
        prepare(distribute=True)
    assert str(caught.value) == "--distribute needs KERAS_BACKEND=jax; the backend is tensorflow"


def test_a_backend_without_the_device(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(kind: str) -> list[str]:
        raise RuntimeError(f"Unknown backend {kind}")

    # JAX raises where others return nothing.
    monkeypatch.setattr(keras.distribution, "list_devices", refuse)
    assert prepare().precision == "float32"


@pytest.mark.slow
def test_training_in_bfloat16(
    train_data: Path, train_tiny: Train, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    trained, outcomes = [], []
    fit, train_once = loop.fit, run.train_once

    def spy_fit(model: keras.Model, *arguments: Any, **options: Any) -> History:
        trained.append(model)
        return fit(model, *arguments, **options)

    def spy_train(*arguments: Any, **options: Any) -> run.Outcome:
        outcomes.append(train_once(*arguments, **options))
        return outcomes[-1]

    monkeypatch.setattr(loop, "fit", spy_fit)
    monkeypatch.setattr(run, "train_once", spy_train)
    folder = train_tiny(train_data, "custom_cnn", tmp_path, precision="mixed_bfloat16", seed=1)

    # The network computed in bfloat16, on weights in float32; its ends stayed in float32.
    (network,) = trained
    assert {layer.compute_dtype for layer in network.layers if layer.name.startswith("conv")} == {"bfloat16"}
    assert network.get_layer("probability").compute_dtype == "float32"
    assert {weight.dtype for weight in network.trainable_weights} == {"float32"}

    # What is saved computes in float32 from end to end, and is what was evaluated.
    (outcome,) = outcomes
    saved = keras.saving.load_model(folder / "model.keras", compile=False)
    for model in (outcome.model, saved):
        assert {layer.dtype_policy.name for layer in model.layers if layer.name != "image"} == {"float32"}
    record = json.loads((folder / "training.json").read_text())
    assert record["precision"] == "mixed_bfloat16"
    table = read_splits(train_data / "data", folder / "splits.csv").where("val")
    pixels = np.stack([Preprocessing(32, 32).load(table.file(item)) for item in table])
    found = np.asarray(saved(pixels))[:, 0]
    assert np.ptp(found) > 1e-3
    np.testing.assert_array_equal(found, np.asarray(outcome.model(pixels))[:, 0])
    with (folder / "predictions-val.csv").open(newline="") as stream:
        written = [float(row["probability"]) for row in csv.DictReader(stream)]
    # Six decimals are written.
    np.testing.assert_allclose(written, found, atol=2e-6)
    for weight, value in zip(
        network.get_layer("conv1").get_weights(), saved.get_layer("conv1").get_weights(), strict=True
    ):
        np.testing.assert_array_equal(weight, value)


class _Stop(keras.callbacks.Callback):
    """Ends the process within its second epoch."""

    def on_epoch_end(self, epoch: int, logs: dict[str, float] | None = None) -> None:
        if epoch == 1:
            raise KeyboardInterrupt


@pytest.mark.slow
def test_resuming_in_float16(tmp_path: Path) -> None:
    """As on a GPU: the loss is scaled, the weights are averaged, and the scale goes on too."""
    prepare("mixed_float16")
    recipe = Recipe(
        architecture="custom_cnn",
        preprocessing=Preprocessing(32, 32),
        phases=(Phase(3, 1e-3, "cosine"),),
        optimizer="adamw",
        weight_decay=0.05,
        ema_momentum=0.7,
        augmentation=Augmentation(flip_horizontal=True),
        patience=0,
    )
    random = np.random.default_rng(0)
    pixels, labels = random.integers(0, 256, (20, 32, 32, 1), np.uint8), [0, 1] * 10

    def fit(folder: Path, *callbacks: keras.callbacks.Callback) -> tuple[keras.Model, History]:
        folder.mkdir(exist_ok=True)
        keras.utils.set_random_seed(0)
        model = build("custom_cnn", 32, 32, filters=(4, 6, 8), units=10)
        training = Batches(pixels[:12], labels[:12], batch_size=4, seed=0)
        validation = Batches(pixels[12:], labels[12:], batch_size=8)
        return model, loop.fit(model, recipe, training, validation, folder=folder, seed=0, callbacks=callbacks)

    model, history = fit(tmp_path / "whole")
    with pytest.raises(KeyboardInterrupt):
        fit(tmp_path / "cut", _Stop())
    again, resumed = fit(tmp_path / "cut")
    assert all(np.isfinite([row["loss"], row["val_loss"]]).all() for row in history.rows)
    for row, expected in zip(resumed.rows, history.rows, strict=True):
        # float16 sums in another order differ by 1e-3.
        assert row["val_loss"] == pytest.approx(expected["val_loss"], rel=1e-2)
        assert row["learning_rate"] == expected["learning_rate"]
    for found, expected in zip(again.get_weights(), model.get_weights(), strict=True):
        np.testing.assert_allclose(found, expected, atol=5e-3)


@pytest.mark.parametrize(
    "module",
    [
        "benchmarks.studies.edge_model.learning_curve",
        "export.conversion.to_onnx",
        "benchmarks.studies.cost.training_speed",
    ],
)
@pytest.mark.parametrize(("before", "after"), [(None, "1"), ("0", "0")])
def test_onednn_is_asked_for_before_tensorflow_is_imported(
    module: str, before: str | None, after: str, run_python: Callable[..., subprocess.CompletedProcess[bytes]]
) -> None:
    script = (
        f"import os, sys\nos.environ.pop('TF_ENABLE_ONEDNN_OPTS', None)\n"
        f"os.environ |= {{}} if {before!r} is None else {{'TF_ENABLE_ONEDNN_OPTS': {before!r}}}\n"
        "class Seen(Exception): pass\n"
        "class Finder:\n"
        "    def find_spec(self, name, path=None, target=None):\n"
        "        if name == 'tensorflow': raise Seen(os.environ.get('TF_ENABLE_ONEDNN_OPTS'))\n"
        "sys.meta_path.insert(0, Finder())\n"
        f"try: import {module}\n"
        "except Seen as seen: print(seen)"
    )
    assert run_python("-c", script).stdout.decode() == f"{after}\n"
