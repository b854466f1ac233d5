import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from fracture_edge.cli import main
from fracture_edge.errors import FractureEdgeError
from train import run
from train.dataset import DataError
from train.recipe import load_recipe

Train = Callable[..., Path]


@pytest.fixture
def existing(tmp_path: Path) -> Path:
    folder = tmp_path / "custom_cnn"
    folder.mkdir()
    (folder / "model.keras").write_text("mine")
    return folder


def _is_untouched(existing: Path) -> bool:
    return {path.name: path.read_text() for path in existing.iterdir()} == {"model.keras": "mine"}


def test_an_existing_folder_is_refused(train_data: Path, train_tiny: Train, existing: Path) -> None:
    with pytest.raises(FractureEdgeError, match=r"custom_cnn exists already; give --force to replace it"):
        train_tiny(train_data, "custom_cnn", existing.parent)
    assert _is_untouched(existing)
    assert [path.name for path in existing.parent.iterdir()] == ["custom_cnn"]


def test_a_finished_folder_takes_the_place_of_the_old_one(existing: Path) -> None:
    working = existing.with_name(".custom_cnn.unfinished")
    working.mkdir()
    (working / "training.json").write_text("new")
    run._publish(working, existing)
    assert [path.name for path in existing.iterdir()] == ["training.json"]
    assert [path.name for path in existing.parent.iterdir()] == ["custom_cnn"]


@pytest.mark.parametrize("step", ["loop.fit", "draw_curves", "write_record"])
def test_an_interruption_leaves_the_old_folder_whole(
    train_data: Path, train_tiny: Train, existing: Path, monkeypatch: pytest.MonkeyPatch, step: str
) -> None:
    def interrupt(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    if step != "loop.fit":
        # Training itself is beside the point here.
        rows = [{"epoch": 1, "phase": 1, "val_loss": 0.5}]
        history = type("History", (), {"rows": rows, "best": lambda *_: rows[0]})()
        monkeypatch.setattr(run.loop, "fit", lambda *_, **__: history)
        monkeypatch.setattr(run, "draw_curves", lambda *_, **__: None)
    monkeypatch.setattr(f"train.run.{step}", interrupt)
    with pytest.raises(KeyboardInterrupt):
        train_tiny(train_data, "custom_cnn", existing.parent, force=True)
    assert _is_untouched(existing)


def test_a_failed_rename_leaves_the_old_folder_in_place(existing: Path) -> None:
    # The finished folder is gone when it should be put in place.
    with pytest.raises(FractureEdgeError, match=r"custom_cnn: No such file or directory; the result is in"):
        run._publish(existing.with_name("gone"), existing)
    assert _is_untouched(existing)


@pytest.mark.parametrize("split", ["train", "val"])
def test_a_split_without_a_class(train_data: Path, tmp_path: Path, split: str) -> None:
    lines = (train_data / "splits.csv").read_text().splitlines()
    splits = tmp_path / "splits.csv"
    splits.write_text("\n".join(line for line in lines if f",1,{split}," not in line))
    recipe = load_recipe("custom_cnn", str(train_data / "custom_cnn.toml"))
    with pytest.raises(DataError, match=rf"splits\.csv: the {split} split lacks a class"):
        run.train_model(recipe, data=train_data / "data", splits=splits, out=tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_command_line(
    train_data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    calls = []

    def pretend(recipe: Any, **options: Any) -> Path:
        calls.append((recipe, options))
        return tmp_path / "edge"

    monkeypatch.setattr(run, "train_model", pretend)
    toml = str(train_data / "edge.toml")
    arguments = f"train edge --data d --splits s.csv --recipe {toml} --epochs 7 --seed 9 --image-size 96"
    monkeypatch.setattr(sys, "argv", ["fracture-edge", *arguments.split(), "--artifacts", str(tmp_path)])
    with pytest.raises(SystemExit) as caught:
        main()
    assert caught.value.code in (0, None)
    assert capsys.readouterr().out == f"{tmp_path / 'edge'}\n"
    ((recipe, options),) = calls
    assert (recipe.phases[0].epochs, recipe.preprocessing.height, recipe.preprocessing.width) == (7, 96, 96)
    assert options == {
        "data": Path("d"),
        "splits": Path("s.csv"),
        "out": tmp_path,
        "weights": "none",
        "recipe_name": toml,
        "seed": 9,
        "force": False,
    }
