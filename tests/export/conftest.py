import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

SIDE = 48
RECIPE = """
architecture = "edge"
batch_size = 8
class_balance = "weights"
monitor = "val_loss"

[preprocessing]
height = 64
width = 64

[[phases]]
epochs = 1
learning_rate = 1e-3

[options]
filters = 0.25
"""


@pytest.fixture(scope="session")
def tiny_recipe(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("recipe") / "tiny.toml"
    path.write_text(RECIPE)
    return path


@pytest.fixture(scope="session")
def trained(tmp_path_factory: pytest.TempPathFactory, write_bones: Callable[..., Path], tiny_recipe: Path) -> Path:
    """Artifacts of a tiny edge, trained for one epoch on generated bones."""
    import csv

    from train.dataset import read_table, write_splits
    from train.options import RunOptions
    from train.recipe import load_recipe
    from train.run import train_model

    base = tmp_path_factory.mktemp("trained")
    data = write_bones(base / "data", 8, splits=("train", "val", "test"))
    splits = base / "splits.csv"
    with splits.open("w", newline="") as stream:
        write_splits(read_table(data), csv.writer(stream))
    options = RunOptions(data=data, splits=splits, out=base / "artifacts")
    train_model(load_recipe("edge", str(tiny_recipe)), options)
    return base / "artifacts"


@dataclass(frozen=True)
class Oracle:
    """A tiny custom CNN that is right by construction: the labels of its images were drawn from its answers.

    Attributes:
        artifacts: Holds ``custom_cnn``, complete with record and split file.
        threshold: The frozen one.
    """

    artifacts: Path
    threshold: float


@pytest.fixture(scope="session")
def oracle(tmp_path_factory: pytest.TempPathFactory, bone: Callable[..., Any]) -> Oracle:
    import keras

    from fracture_edge.preprocess import Preprocessing
    from train.architectures import build
    from train.dataset import read_table, write_splits

    base = tmp_path_factory.mktemp("oracle")
    folder = base / "artifacts" / "custom_cnn"
    folder.mkdir(parents=True)
    random = np.random.default_rng(0)
    keras.utils.set_random_seed(0)
    model = build("custom_cnn", SIDE, SIDE, filters=(8, 12, 16), units=32)
    for layer in model.layers:
        if isinstance(layer, keras.layers.BatchNormalization):
            low, high = (0.5, -0.2, -0.2, 0.5), (1.5, 0.2, 0.2, 1.5)
            layer.set_weights(
                [
                    random.uniform(a, b, weight.shape)
                    for a, b, weight in zip(low, high, layer.get_weights(), strict=True)
                ]
            )
    preprocessing = Preprocessing(SIDE, SIDE)
    greys = [bone(seed, seed % 2 == 1) for seed in range(320)]
    pixels = np.stack([preprocessing(grey) for grey in greys])
    last = model.get_layer("probability")
    kernel, bias = last.get_weights()
    odds = np.log(1 / (1 / np.asarray(model(pixels, training=False), np.float64) - 1))[:, 0]
    # Log-odds of mean 0 and deviation 2: probabilities over the whole range, AUROC about 0.9.
    scale = 2 / odds.std()
    last.set_weights([kernel * scale, (bias - odds.mean()) * scale])
    answers = np.asarray(model(pixels, training=False))[:, 0]
    labels = random.random(len(answers)) < answers
    for number, (grey, label) in enumerate(zip(greys, labels, strict=True)):
        split = "train" if number < 200 else "val"
        place = base / "data" / split / ("fractured" if label else "normal")
        place.mkdir(parents=True, exist_ok=True)
        Image.fromarray(grey).save(place / f"{number:03d}.png")
    model.save(folder / "model.keras")
    with (folder / "splits.csv").open("w", newline="") as stream:
        import csv

        write_splits(read_table(base / "data"), csv.writer(stream))
    record = {
        "schema_version": 1,
        "model": "custom_cnn",
        "threshold": 0.5,
        "uncertain_low": 0.3,
        "uncertain_high": 0.7,
        "temperature": 1.0,
        "intercept": 0.0,
        "validation": {"auroc": 0.9},
        "recipe_name": "oracle",
        "recipe": {"preprocessing": preprocessing.to_dict(), "phases": [{"epochs": 1}]},
        "seed": 0,
        "epochs": 1,
        "best_epoch": 1,
        "initial_weights": "random",
        "device": "CPU",
        "precision": "float32",
        "data": {"root": str(base / "data"), "layout": "split_folders", "fingerprint": "0" * 64},
        "versions": {},
        "created": "2026-01-01T00:00:00+00:00",
    }
    (folder / "training.json").write_text(json.dumps(record))
    return Oracle(base / "artifacts", 0.5)
