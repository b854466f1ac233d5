from pathlib import Path

import pytest

from fracture_edge.preprocess import Preprocessing
from train.data.augment import Augmentation
from train.recipes.recipe import Phase, Recipe, load_recipe, recipe_of
from train.recipes.tables import RecipeError

MINIMAL = """
architecture = "edge"
[preprocessing]
height = 64
width = 96
[[phases]]
epochs = 2
learning_rate = 1e-3
"""


def _load(tmp_path: Path, text: str, model: str = "edge") -> Recipe:
    file = tmp_path / "own.toml"
    file.write_text(text)
    return load_recipe(model, str(file))


def test_own_file_and_defaults(tmp_path: Path) -> None:
    recipe = _load(tmp_path, MINIMAL)
    assert recipe == Recipe(
        "edge", Preprocessing(64, 96), (Phase(2, 1e-3),), augmentation=Augmentation(), options={}
    )
    assert recipe.to_dict()["phases"] == (
        {
            "epochs": 2,
            "learning_rate": 1e-3,
            "schedule": "constant",
            "warmup_epochs": 0,
            "trainable": "all",
            "last_layers": 0,
        },
    )


def test_integers_are_accepted_as_floats(tmp_path: Path) -> None:
    recipe = _load(tmp_path, "weight_decay = 1\n" + MINIMAL.replace("1e-3", "1"))
    assert (recipe.weight_decay, recipe.phases[0].learning_rate) == (1.0, 1.0)
    assert isinstance(recipe.weight_decay, float)


def test_options_are_free(tmp_path: Path) -> None:
    assert _load(tmp_path, MINIMAL + "[options]\nfilters = 0.5\n").options == {"filters": 0.5}


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        (
            "epochs = 2",
            "epoch = 2",
            "recipe.phases[0]: unknown key 'epoch'; must be one of: epochs, last_layers, learning_rate",
        ),
        ('"edge"', '"edge"\nbatchsize = 3', "recipe: unknown key 'batchsize'"),
        ("height = 64", "height = 64\nnoise = 1", "recipe.preprocessing: unknown key 'noise'"),
        ("epochs = 2", "epochs = 2.5", "recipe.phases[0].epochs: expected int, got 2.5"),
        ("epochs = 2", "epochs = true", "recipe.phases[0].epochs: expected int, got True"),
        ("1e-3", "false", "recipe.phases[0].learning_rate: expected float, got False"),
        ("1e-3", '"fast"', "recipe.phases[0].learning_rate: expected float, got 'fast'"),
        ('"edge"', "7", "recipe.architecture: expected str, got 7"),
        ("height = 64\n", "", "recipe.preprocessing: key 'height' is missing"),
        ("learning_rate = 1e-3\n", "", "recipe.phases[0]: key 'learning_rate' is missing"),
        ('architecture = "edge"\n', "", "recipe: key 'architecture' is missing"),
        ("[[phases]]", "[phases]", "recipe.phases: expected a list, got {'epochs': 2"),
        ("[preprocessing]\n", "preprocessing = 3\n", "recipe: unknown key 'height'"),
        ('"edge"', '"edge"\naugmentation = 3', "recipe.augmentation: expected a table, got 3"),
        ('"edge"', '"edge"\noptimizer = "sgd"', "recipe.optimizer: must be one of: 'adam', 'adamw'; not 'sgd'"),
        ('"edge"', '"edge"\nmonitor = ["val_loss"]', "'val_auroc', 'val_loss'; not ['val_loss']"),
        ("height = 64", "height = 0", "preprocessing: size 0x96 is not between 1 and 4096"),
        ("height = 64", 'height = 64\nfilter = "nearest"', "recipe.preprocessing.filter: must be one of: 'box', "),
        ("epochs = 2", "epochs = 0", "recipe.phases.epochs: must be at least 1, not 0"),
        ('"edge"', '"edge"\nbatch_size = 0', "recipe.batch_size: must be at least 1, not 0"),
        ('"edge"', '"edge"\naugmentation = {scale = -0.1}', "augmentation.scale must not be negative"),
        ('"edge"', '"custom_cnn"', "is for 'custom_cnn', not for 'edge'"),
        ('"edge"', '"edge"\n"edge"', "Expected '=' after a key"),
    ],
)
def test_errors_name_the_file_and_the_key(tmp_path: Path, old: str, new: str, message: str) -> None:
    assert old in MINIMAL
    with pytest.raises(RecipeError) as caught:
        _load(tmp_path, MINIMAL.replace(old, new))
    assert str(caught.value).startswith("own.toml: ")
    assert message in str(caught.value)


def test_no_phase() -> None:
    values = {"architecture": "edge", "preprocessing": {"height": 64, "width": 64}, "phases": []}
    with pytest.raises(RecipeError, match="phases: must not be empty"):
        recipe_of(values)


def test_a_file_that_is_no_text(tmp_path: Path) -> None:
    (tmp_path / "own.toml").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(RecipeError, match=r"^own\.toml: "):
        load_recipe("edge", str(tmp_path / "own.toml"))


@pytest.mark.parametrize(
    ("model", "name"), [("edge", "fast"), ("alexnet", "corrected"), ("custom_cnn", "finetune")]
)
def test_missing_recipe(model: str, name: str) -> None:
    with pytest.raises(RecipeError) as caught:
        load_recipe(model, name)
    found, shipped = str(caught.value).split("; must be one of: ")
    assert found == f"no recipe '{name}' for '{model}'"
    assert {"edge-corrected", "edge-finetune", "edge-robust", "vgg16-notebook"} <= set(shipped.split(", "))


def test_missing_file(tmp_path: Path) -> None:
    with pytest.raises(RecipeError) as caught:
        load_recipe("edge", str(tmp_path / "gone.toml"))
    assert str(caught.value) == f"{tmp_path / 'gone.toml'}: No such file or directory"
