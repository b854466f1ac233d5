from collections.abc import Callable
from pathlib import Path

import pytest

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
