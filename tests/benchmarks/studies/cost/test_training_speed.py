"""Contents of the training speed record; the speed itself is not tested."""

import json
import os
import statistics
from collections.abc import Callable
from pathlib import Path

import pytest

from benchmarks.studies.cost import training_speed as module
from benchmarks.studies.cost.training_speed import NetworkSpeed, training_speed
from fracture_edge.preprocess import Preprocessing
from train.data.augment import Augmentation
from train.device import Device
from train.json_records import to_plain
from train.recipes.recipe import Phase, Recipe

RECIPE = Recipe(
    architecture="custom_cnn",
    preprocessing=Preprocessing(32, 48),
    phases=(Phase(1, 1e-3, trainable="head"), Phase(1, 1e-3, "cosine", trainable="head", last_layers=2)),
    batch_size=4,
    optimizer="adamw",
    weight_decay=0.01,
    ema_momentum=0.5,
    augmentation=Augmentation(rotation=5.0, mixup=0.2),
    options={"filters": [4, 6, 8], "units": 10},
)


@pytest.mark.slow
def test_speed_of_a_tiny_network() -> None:
    # The median of an odd number of values is one of them, rounded or not.
    result = training_speed(RECIPE, Device("CPU", 1, "float32"), batches=2, rounds=3)
    assert {name: getattr(result, name) for name in ("model", "input", "batch_size", "trainable")} == {
        "model": "custom_cnn",
        "input": "32x48",
        "batch_size": 4,
        "trainable": "head and last 2 layers",
    }
    assert len(result.ratios) == 3
    assert result.ratio == statistics.median(result.ratios)
    assert min(result.ratios) > 0
    assert result.images_per_second > 0
    assert result.images_per_second_constant_batch > 0
    json.dumps(to_plain(result))


def test_the_command_writes_its_measurements(
    study: Callable[..., tuple[int, str, str]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = []

    def measure(recipe: Recipe, device: Device, *, batches: int, rounds: int) -> NetworkSpeed:
        asked.append((recipe.architecture, batches, rounds))
        return NetworkSpeed(
            model=recipe.architecture,
            input="32x48",
            batch_size=4,
            trainable="all",
            images_per_second=1.0,
            images_per_second_constant_batch=1.0,
            ratio=1.0,
            ratios=(1.0,),
            device=device.name,
            precision=device.precision,
        )

    monkeypatch.setattr(module, "training_speed", measure)
    code, out, _ = study(
        "training-speed", "custom_cnn", "edge:float32", "--batches", 3, "--output", tmp_path / "x.json"
    )
    assert code == 0
    assert asked == [("custom_cnn", 3, 5), ("edge", 3, 5)]
    written = json.loads((tmp_path / "x.json").read_text())
    assert (written["batches"], written["rounds"]) == (3, 5)
    assert [row["model"] for row in written["models"]] == ["custom_cnn", "edge"]
    assert {row["precision"] for row in written["models"]} == {"float32"}
    assert all(row["device"].endswith("with tensorflow") for row in written["models"])
    assert [json.loads(line) for line in out.splitlines()] == written["models"]
    assert written["onednn"] == os.environ.get("TF_ENABLE_ONEDNN_OPTS")
    assert {"cpu", "cores", "versions"} <= set(written["environment"])
