"""First stage on patches: it changes the start of a run, and an interrupted one is not repeated."""

import csv
import json
from pathlib import Path

import numpy as np
import pytest

from fracture_edge.errors import FractureEdgeError
from train.architectures import build
from train.data.dataset import ImageTable, read_splits
from train.recipes.recipe import Recipe, RecipeError, load_recipe, override
from train.runs.options import RunOptions
from train.runs.train_model import train_model
from train.trainer import loop
from train.trainer.first_stage import train_on_patches

pytestmark = pytest.mark.slow


def _recipe(train_data: Path, *settings: str) -> Recipe:
    return override(load_recipe("edge", str(train_data / "edge.toml")), settings=("patches=2", *settings))


@pytest.fixture
def part(train_data: Path) -> ImageTable:
    return read_splits(train_data / "data", train_data / "splits.csv").where("train")


def test_the_network_is_trained_and_an_interrupted_stage_goes_on(
    train_data: Path, part: ImageTable, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    recipe = _recipe(train_data)
    size = recipe.preprocessing
    model = build("edge", size.height, size.width, **recipe.options)
    before = [value.copy() for value in model.get_weights()]
    train_on_patches(model, recipe, part, folder=tmp_path, seed=0)
    after = model.get_weights()
    kernels = [number for number, value in enumerate(before) if value.ndim == 4]
    assert all(np.abs(after[number] - before[number]).max() > 0 for number in kernels)
    with (tmp_path / "patches/history.csv").open(newline="") as stream:
        assert [row["epoch"] for row in csv.DictReader(stream)] == ["1", "2"]
    # The same call again finds its state and trains nothing.
    monkeypatch.setattr(loop, "compile_phase", lambda trainer, *_, **__: trainer.compile("adam", "mse"))
    again = build("edge", size.height, size.width, **recipe.options)
    train_on_patches(again, recipe, part, folder=tmp_path, seed=0)
    for value, wanted in zip(again.get_weights(), after, strict=True):
        np.testing.assert_array_equal(value, wanted)


def test_a_run_says_what_it_started_from_and_leaves_no_state(train_data: Path, tmp_path: Path) -> None:
    options = RunOptions(
        data=train_data / "data",
        splits=train_data / "splits.csv",
        out=tmp_path,
        recipe_name=str(train_data / "edge.toml"),
    )
    folder = train_model(_recipe(train_data, "patches=1"), options)
    record = json.loads((folder / "training.json").read_text())
    assert record["initial_weights"] == "random, epochs on patches: 1"
    assert record["recipe"]["patches"] == 1
    assert [path.name for path in (folder / "patches").iterdir()] == ["history.csv"]


def test_a_network_without_cells_is_refused(part: ImageTable, tmp_path: Path, train_data: Path) -> None:
    recipe = override(load_recipe("custom_cnn", str(train_data / "custom_cnn.toml")), settings=("patches=1",))
    model = build("custom_cnn", 32, 32, **recipe.options)
    with pytest.raises(FractureEdgeError, match=r"recipe\.patches: is for 'edge', 'custom_cnn' has no cells"):
        train_on_patches(model, recipe, part, folder=tmp_path, seed=0)


def test_recipe() -> None:
    with pytest.raises(RecipeError, match=r"recipe\.patches: must be at least 0, not -1"):
        override(load_recipe("edge", "probed"), settings=("patches=-1",))
    # Records of runs without it stay as they were.
    assert "patches" not in load_recipe("edge", "probed").to_dict()
