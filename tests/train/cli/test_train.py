"""Error messages of `fracture-edge train`: one line, and no file is changed."""

import errno
import os
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

Cli = Callable[..., tuple[int, str, str]]

RECIPE = """
architecture = "custom_cnn"
batch_size = 4
options = { filters = [4, 6, 8], units = 10 }
preprocessing = { height = 32, width = 32 }
phases = [{ epochs = 1, learning_rate = 1e-3 }]
"""


@pytest.fixture
def project(tmp_path: Path, write_bones: Callable[..., Path]) -> Path:
    """data/, splits.csv, tiny.toml, and artifacts/ with a model that must survive."""
    data = write_bones(tmp_path / "data", 6, height=48, width=32)
    lines = ["path,label,split,group"]
    for path in sorted(data.rglob("bone*")):
        number = int(path.stem.removeprefix("bone")) % 6
        split = "train" if number < 3 else "val" if number < 5 else "test"
        lines.append(
            f"{path.relative_to(data).as_posix()},{int(path.parent.name == 'fractured')},{split},{path.stem}"
        )
    (tmp_path / "splits.csv").write_text("\n".join(lines))
    (tmp_path / "tiny.toml").write_text(RECIPE)
    (tmp_path / "artifacts/custom_cnn").mkdir(parents=True)
    (tmp_path / "artifacts/custom_cnn/model.keras").write_text("mine")
    return tmp_path


def _refused(project: Path, cli: Cli, *arguments: object, model: str = "custom_cnn", code: int = 1) -> str:
    """Run the command with --force over a finished model; return the last line of stderr."""
    given = {str(argument) for argument in arguments}
    defaults = {
        "--data": project / "data",
        "--splits": project / "splits.csv",
        "--recipe": project / "tiny.toml",
        "--artifacts": project / "artifacts",
    }
    rest = [word for name, value in defaults.items() if name not in given for word in (name, value)]
    found, out, err = cli("train", model, *arguments, *rest, "--force")
    assert (found, out) == (code, ""), err
    assert "Traceback" not in err
    kept = {path.name: path.read_bytes() for path in (project / "artifacts/custom_cnn").iterdir()}
    assert kept == {"model.keras": b"mine"}
    return err.strip().splitlines()[-1]


def test_unknown_recipe(project: Path, cli: Cli) -> None:
    message = _refused(project, cli, "--recipe", "fast")
    assert message.startswith(
        "fracture-edge: no recipe 'fast' for 'custom_cnn'; must be one of: custom_cnn-corrected, "
    )


def test_unknown_model(project: Path, cli: Cli) -> None:
    message = _refused(project, cli, "--recipe", "corrected", model="alexnet")
    assert message.startswith(
        "fracture-edge: no recipe 'corrected' for 'alexnet'; must be one of: custom_cnn-corrected"
    )
    (project / "tiny.toml").write_text(RECIPE.replace("custom_cnn", "alexnet"))
    message = _refused(project, cli, model="alexnet")
    assert message.startswith(
        "fracture-edge: no architecture 'alexnet'; must be one of: resnet50, vgg16, custom_cnn"
    )


def test_a_recipe_for_another_model(project: Path, cli: Cli) -> None:
    message = _refused(project, cli, model="vgg16")
    assert message == "fracture-edge: tiny.toml: is for 'custom_cnn', not for 'vgg16'"


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("batch_size = 4", 'batch_size = "4"', "tiny.toml: recipe.batch_size: expected int, got '4'"),
        ("epochs = 1", "epochs = 0", "tiny.toml: recipe.phases.epochs: must be at least 1, not 0"),
        ("1e-3", "-1e-3", "tiny.toml: recipe.phases.learning_rate: must be above 0, not -0.001"),
    ],
)
def test_a_wrong_value_in_a_recipe(project: Path, cli: Cli, old: str, new: str, message: str) -> None:
    (project / "tiny.toml").write_text(RECIPE.replace(old, new))
    assert _refused(project, cli) == f"fracture-edge: {message}"


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ("patients=3", "recipe: unknown key 'patients'; must be one of: architecture, augmentation"),
        ("augmentation.mix=0.2", "recipe.augmentation: unknown key 'mix'; must be one of: brightness"),
        ("phases.1.epochs=3", "recipe: no key 'phases.1.epochs'"),
        ("patience=many", "recipe.patience: expected int, got 'many'"),
        ("patience", "patience: expected key=value"),
        ("options.depth=3", "architecture 'custom_cnn': "),
        # Of the right type, but rejected by Keras.
        ("options.units=-1", ""),
        ("options.filters=[4, 6]", ""),
        ("ema_momentum=1.5", ""),
        ("augmentation.cutmix=1.5", ""),
        ("phases.0.warmup_epochs=-1", ""),
        ("phases.0.learning_rate=nan", ""),
    ],
)
def test_a_wrong_setting(project: Path, cli: Cli, setting: str, message: str) -> None:
    assert _refused(project, cli, "--set", setting).startswith(f"fracture-edge: {message}")


@pytest.mark.parametrize("arguments", [("--epochs", 0), ("--batch-size", 0), ("--image-size", 8), ("--folds", 2)])
def test_numbers_out_of_range(project: Path, cli: Cli, arguments: tuple[object, ...]) -> None:
    # Typer's own exit code for a wrong command line.
    assert str(arguments[0]) in _refused(project, cli, *arguments, code=2)


def test_a_learning_rate_of_zero(project: Path, cli: Cli) -> None:
    message = _refused(project, cli, "--learning-rate", 0)
    assert message == "fracture-edge: recipe.phases.learning_rate: must be above 0, not 0.0"


def test_an_unknown_precision(project: Path, cli: Cli) -> None:
    message = _refused(project, cli, "--precision", "half")
    assert message == (
        "fracture-edge: precision: must be one of: auto, float32, mixed_float16, mixed_bfloat16; not 'half'"
    )


def test_distribution_without_jax(project: Path, cli: Cli) -> None:
    message = _refused(project, cli, "--distribute")
    assert message == "fracture-edge: --distribute needs KERAS_BACKEND=jax; the backend is tensorflow"


def test_no_data_folder(project: Path, cli: Cli) -> None:
    message = _refused(project, cli, "--data", project / "gone")
    assert message == f"fracture-edge: {project / 'gone'}: no such folder"


@pytest.mark.parametrize("empty", [True, False])
def test_one_class_only(project: Path, cli: Cli, *, empty: bool) -> None:
    folder = project / "data/fractured"
    for path in folder.iterdir():
        path.unlink()
    if not empty:
        folder.rmdir()
    message = _refused(project, cli)
    assert message == f"fracture-edge: {project / 'data'}: no image of the class 'fractured'"


def test_an_unreadable_image(project: Path, cli: Cli) -> None:
    (project / "data/fractured/bone0000.png").write_bytes(b"\x89PNG\r\n\x1a\ncut off")
    message = _refused(project, cli)
    assert message.startswith(
        f"fracture-edge: 1 images cannot be read, first: {project / 'data/fractured/bone0000.png'}: "
    )
    assert message.endswith("`fracture-edge data split` leaves such images out")


def test_a_split_file_that_names_missing_images(project: Path, cli: Cli) -> None:
    (project / "data/fractured/bone0001.jpg").unlink()
    message = _refused(project, cli)
    assert message == (
        f"fracture-edge: {project / 'splits.csv'}: 1 images are not in {project / 'data'}, "
        "first: fractured/bone0001.jpg"
    )


def test_a_split_file_that_is_not_there(project: Path, cli: Cli) -> None:
    message = _refused(project, cli, "--splits", project / "gone.csv")
    assert message == f"fracture-edge: {project / 'gone.csv'}: No such file or directory"


def test_weights_that_are_not_there(project: Path, cli: Cli) -> None:
    message = _refused(project, cli, "--weights", project / "gone.npz")
    assert message == f"fracture-edge: {project / 'gone.npz'}: no such weights file"


def test_weights_of_another_architecture(project: Path, cli: Cli) -> None:
    message = _refused(project, cli, "--weights", "embedded")
    assert message == "fracture-edge: --weights embedded fits 'edge' only, not 'custom_cnn'"


def test_an_existing_model_without_force(project: Path, cli: Cli) -> None:
    artifacts = project / "artifacts"
    code, out, err = cli(
        "train",
        "custom_cnn",
        "--data",
        project / "data",
        "--recipe",
        project / "tiny.toml",
        "--artifacts",
        artifacts,
    )
    assert (code, out) == (1, "")
    assert err == f"fracture-edge: {artifacts / 'custom_cnn'} exists already; give --force to replace it\n"
    assert (artifacts / "custom_cnn/model.keras").read_text() == "mine"


def test_training_replaces_the_model_when_it_is_done(project: Path, cli: Cli) -> None:
    # Without --splits: new grouped splits are made.
    for number in range(24):
        grey = np.random.default_rng(number).integers(0, 256, (8, 8), np.uint8)
        folder = project / "data" / ("fractured" if number % 2 else "not fractured")
        Image.fromarray(grey).resize((48, 48)).save(folder / f"more{number}.png")
    artifacts = project / "artifacts"
    arguments = ("--data", project / "data", "--recipe", project / "tiny.toml", "--artifacts", artifacts)
    code, out, err = cli("train", "custom_cnn", *arguments, "--force")
    assert (code, out) == (0, f"{artifacts / 'custom_cnn'}\n"), err
    assert "splits: made now, grouped and stratified; give --splits to choose them" in err
    assert (artifacts / "custom_cnn/model.keras").read_bytes()[:2] == b"PK"
    assert sorted(path.name for path in artifacts.iterdir()) == ["custom_cnn"]


def test_full_disk_is_one_line(project: Path, cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "posix_fallocate", full, raising=False)
    message = _refused(project, cli)
    assert re.fullmatch(r"fracture-edge: .*/state-0001\.weights\.h5: No space left on device", message)


def test_no_retracing_warning_with_several_models(run_python: Callable[..., Any]) -> None:
    code = (
        "from train.quiet_tensorflow import quiet_tensorflow; quiet_tensorflow()\n"
        "import tensorflow as tf\n"
        "f = tf.function(lambda x: x)\n"
        "for number in range(9): f(number)\n"
        "tf.get_logger().warning('something else')\n"
    )
    said = run_python("-c", code).stderr.decode()
    assert "retracing" not in said
    assert "something else" in said
