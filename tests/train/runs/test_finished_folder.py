import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from fracture_edge.cli import main
from fracture_edge.errors import FractureEdgeError
from train.data.dataset import DataError
from train.runs import train_model as run
from train.runs.options import RunOptions
from train.trainer import loop
from train.trainer.callbacks import State

Train = Callable[..., Path]


@pytest.fixture
def existing(tmp_path: Path) -> Path:
    folder = tmp_path / "custom_cnn"
    folder.mkdir()
    (folder / "model.keras").write_text("mine")
    return folder


def _is_untouched(existing: Path) -> bool:
    return {path.name: path.read_text() for path in existing.iterdir()} == {"model.keras": "mine"}


def _interrupt(*_: object, **__: object) -> None:
    raise KeyboardInterrupt


def _one_epoch(*_: object, folder: Path, **__: object) -> Any:
    """Instead of `loop.fit`: training itself is beside the point here."""
    row = {"epoch": 1, "phase": 1, "val_loss": 0.5, "seconds": 0.0}
    State(0, [row], 1).write(folder)
    return type("History", (), {"rows": [row], "kept": 1})()


def _cut_off(*_: object, folder: Path, **__: object) -> None:
    _one_epoch(folder=folder)
    raise KeyboardInterrupt


def test_an_existing_folder_is_refused(train_data: Path, train_tiny: Train, existing: Path) -> None:
    with pytest.raises(FractureEdgeError, match=r"custom_cnn exists already; give --force to replace it"):
        train_tiny(train_data, "custom_cnn", existing.parent)
    assert _is_untouched(existing)
    assert [path.name for path in existing.parent.iterdir()] == ["custom_cnn"]


@pytest.mark.parametrize("step", ["loop.fit", "plot_training", "write_record", "evaluate_predictions"])
def test_an_interruption_leaves_the_old_folder_whole(
    train_data: Path, train_tiny: Train, existing: Path, monkeypatch: pytest.MonkeyPatch, step: str
) -> None:
    if step == "loop.fit":
        monkeypatch.setattr(loop, "fit", _interrupt)
    else:
        monkeypatch.setattr(loop, "fit", _one_epoch)
        if step == "evaluate_predictions":
            monkeypatch.setattr(run, "plot_training", lambda *_, **__: None)
        monkeypatch.setattr(run, step, _interrupt)
    with pytest.raises(KeyboardInterrupt):
        train_tiny(train_data, "custom_cnn", existing.parent, force=True)
    assert _is_untouched(existing)
    # What is needed to go on lies beside it, where there is anything; the lock does not.
    beside = [] if step == "loop.fit" else [".custom_cnn.unfinished"]
    assert sorted(path.name for path in existing.parent.iterdir()) == [*beside, "custom_cnn"]


def test_a_resumed_run_must_be_the_same_run(
    train_data: Path, train_tiny: Train, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(loop, "fit", _cut_off)
    with pytest.raises(KeyboardInterrupt):
        train_tiny(train_data, "custom_cnn", tmp_path, seed=3)
    start = r"\.custom_cnn\.unfinished: was started with another "
    with pytest.raises(FractureEdgeError, match=start + r"seed \(3, now 4\)"):
        train_tiny(train_data, "custom_cnn", tmp_path, seed=4, resume=True)
    recipe = (train_data / "custom_cnn.toml").read_text()
    (train_data / "custom_cnn.toml").write_text(recipe.replace("batch_size = 8", "batch_size = 4"))
    try:
        with pytest.raises(FractureEdgeError, match=start + r"recipe\.batch_size \(8, now 4\)"):
            train_tiny(train_data, "custom_cnn", tmp_path, seed=3, resume=True)
    finally:
        (train_data / "custom_cnn.toml").write_text(recipe)
    # As it was, it goes on, up to the interruption.
    with pytest.raises(KeyboardInterrupt):
        train_tiny(train_data, "custom_cnn", tmp_path, seed=3, resume=True)


def test_a_resumed_run_needs_the_same_images(
    train_data: Path, train_tiny: Train, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(loop, "fit", _cut_off)
    with pytest.raises(KeyboardInterrupt):
        train_tiny(train_data, "custom_cnn", tmp_path)
    splits = tmp_path / "splits.csv"
    header, *rows = (train_data / "splits.csv").read_text().splitlines()
    splits.write_text("\n".join([header, *rows[1:]]))
    with pytest.raises(FractureEdgeError, match="was started with another data "):
        train_tiny(train_data, "custom_cnn", tmp_path, splits=splits, resume=True)


def test_nothing_to_resume(train_data: Path, train_tiny: Train, tmp_path: Path) -> None:
    with pytest.raises(FractureEdgeError, match="no unfinished run to resume; leave --resume out to start one"):
        train_tiny(train_data, "custom_cnn", tmp_path / "out", resume=True)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("split", ["train", "val"])
def test_a_split_without_a_class(train_data: Path, train_tiny: Train, tmp_path: Path, split: str) -> None:
    lines = (train_data / "splits.csv").read_text().splitlines()
    splits = tmp_path / "splits.csv"
    splits.write_text("\n".join(line for line in lines if f",1,{split}," not in line))
    with pytest.raises(DataError, match=rf"splits\.csv: the {split} split lacks the class 'fractured'"):
        train_tiny(train_data, "custom_cnn", tmp_path / "out", splits=splits)
    assert not (tmp_path / "out").exists()


def _command(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, *arguments: str) -> tuple[Any, RunOptions]:
    """What `train_model` is called with."""
    calls = []

    def pretend(recipe: Any, options: RunOptions) -> Path:
        calls.append((recipe, options))
        return tmp_path / "edge"

    monkeypatch.setattr(run, "train_model", pretend)
    monkeypatch.setattr(sys, "argv", ["fracture-edge", "train", "edge", "--data", "d", *arguments])
    with pytest.raises(SystemExit) as caught:
        main()
    assert caught.value.code in (0, None)
    (call,) = calls
    return call


def test_command_line(
    train_data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    toml = str(train_data / "edge.toml")
    arguments = (
        f"--splits s.csv --recipe {toml} --epochs 7 --batch-size 3 --learning-rate 1e-3 --image-size 96 --seed 9 "
        f"--set patience=2 --set augmentation.mixup=0.2 --precision float32 --tensorboard logs --resume "
        f"--artifacts {tmp_path}"
    )
    recipe, options = _command(monkeypatch, tmp_path, *arguments.split())
    assert capsys.readouterr().out == f"{tmp_path / 'edge'}\n"
    assert (recipe.phases[0].epochs, recipe.phases[0].learning_rate, recipe.batch_size) == (7, 1e-3, 3)
    assert (recipe.preprocessing.height, recipe.preprocessing.width) == (96, 96)
    assert (recipe.patience, recipe.augmentation.mixup) == (2, 0.2)
    assert options == RunOptions(
        data=Path("d"),
        splits=Path("s.csv"),
        out=tmp_path,
        weights=None,
        recipe_name=toml,
        seed=9,
        precision="float32",
        tensorboard=Path("logs"),
        resume=True,
    )


@pytest.mark.parametrize(
    ("arguments", "name", "weights"),
    [
        ((), "deep", "imagenet"),
        (("--weights", "embedded"), "finetune", "embedded"),
        (("--weights", "none"), "corrected", "imagenet"),
        (("--weights", "lite0.npz"), "deep", "imagenet"),
        (("--weights", "none", "--recipe", "finetune"), "finetune", "embedded"),
    ],
)
def test_the_recipe_that_is_taken(
    arguments: tuple[str, ...], name: str, weights: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    recipe, options = _command(monkeypatch, tmp_path, *arguments)
    assert (options.recipe_name, recipe.weights, options.splits) == (name, weights, None)
    assert options.weights == (arguments[1] if arguments else None)
