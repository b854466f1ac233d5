"""The search space of `fracture-edge tune`."""

import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import optuna
import pytest

from fracture_edge.errors import FractureEdgeError
from fracture_edge.preprocess import Preprocessing
from train.architectures import ARCHITECTURES
from train.data.augment import Augmentation
from train.recipes.recipe import Phase, Recipe, load_recipe
from train.recipes.search_space import Range, apply, check_space, load_space
from train.recipes.tables import RecipeError

RECIPE = Recipe(
    architecture="custom_cnn",
    preprocessing=Preprocessing(32, 48),
    phases=(Phase(1, 1e-3, trainable="head"), Phase(4, 2e-4, "cosine")),
    options={"filters": [4, 6, 8], "units": 10},
)


def _space(folder: Path, text: str) -> tuple[Range, ...]:
    path = folder / "space.toml"
    path.write_text(text, encoding="utf-8")
    return load_space(path)


@pytest.mark.parametrize("model", ARCHITECTURES)
def test_the_default_space_fits_every_corrected_recipe(model: str) -> None:
    space = load_space(None)
    assert [entry.key for entry in space] == [
        "phases.0.learning_rate",
        "label_smoothing",
        "class_balance",
        "augmentation.rotation",
        "augmentation.scale",
        "augmentation.contrast",
        "augmentation.mixup",
    ]
    check_space(space, load_recipe(model, "corrected"))


def test_the_default_space_is_searched_within_its_ends() -> None:
    (rate, *others) = load_space(None)
    assert rate == Range("phases.0.learning_rate", 1e-5, 3e-3, log=True)
    assert not any(entry.log for entry in others)
    (balance,) = [entry for entry in others if entry.key == "class_balance"]
    assert balance.ends() == ("weights", "none")


def test_a_user_file(tmp_path: Path) -> None:
    space = _space(
        tmp_path,
        """
        patience = { low = 1, high = 9 }
        "phases.1.learning_rate" = { low = 1e-5, high = 1e-2, log = true }
        "options.units" = { low = 4, high = 64, log = true }
        "augmentation.scale" = { low = 0, high = 0.5 }
        optimizer = { choices = ["adam", "adamw"] }
        calibrate = { choices = [true, false] }
        """,
    )
    assert space == (
        Range("patience", 1, 9),
        Range("phases.1.learning_rate", 1e-5, 1e-2, log=True),
        Range("options.units", 4, 64, log=True),
        Range("augmentation.scale", 0, 0.5),
        Range("optimizer", choices=("adam", "adamw")),
        Range("calibrate", choices=(True, False)),
    )
    assert [entry.ends() for entry in space][:1] == [(1, 9)]
    check_space(space, RECIPE)


@pytest.mark.parametrize(
    ("text", "key", "why"),
    [
        ("patience = 3", "patience", "expected low and high (and log), or choices"),
        ("patience = [1, 2]", "patience", "expected low and high (and log), or choices"),
        ("patience = { low = 1, high = 3, step = 1 }", "patience", "expected low and high (and log), or choices"),
        # Without quotes the dot makes nested tables.
        ("[augmentation.scale]\nlow = 0.0\nhigh = 0.5", "augmentation", "expected low and high"),
        ("optimizer = { choices = 'adam' }", "optimizer", "choices must be a list, without low and high"),
        ("optimizer = { choices = [] }", "optimizer", "choices must be a list, without low and high"),
        ("patience = { choices = [1, 2], low = 1 }", "patience", "choices must be a list, without low and high"),
        (
            "patience = { choices = [1, 2], log = true }",
            "patience",
            "choices must be a list, without low and high",
        ),
        ("patience = { low = 1 }", "patience", "expected low and high as numbers"),
        ("patience = { high = 1 }", "patience", "expected low and high as numbers"),
        ("patience = {}", "patience", "expected low and high as numbers"),
        ("patience = { low = '1', high = 3 }", "patience", "expected low and high as numbers"),
        ("patience = { low = false, high = 3 }", "patience", "expected low and high as numbers"),
        ("patience = { low = 1, high = 3, log = 1 }", "patience", "and log as true or false"),
        ("patience = { low = 3, high = 3 }", "patience", "low must be below high, and above 0 with log"),
        ("patience = { low = 4, high = 3 }", "patience", "low must be below high, and above 0 with log"),
        (
            "weight_decay = { low = 0.0, high = 0.1, log = true }",
            "weight_decay",
            "low must be below high, and above 0 with log",
        ),
        (
            "weight_decay = { low = -0.1, high = 0.1, log = true }",
            "weight_decay",
            "low must be below high, and above 0 with log",
        ),
        # TOML has both.
        ("weight_decay = { low = nan, high = 0.1 }", "weight_decay", ""),
        ("weight_decay = { low = 0.0, high = inf }", "weight_decay", ""),
    ],
)
def test_a_malformed_entry(tmp_path: Path, text: str, key: str, why: str) -> None:
    with pytest.raises(RecipeError) as caught:
        _space(tmp_path, text)
    assert str(caught.value).startswith(f"space.toml: '{key}': ")
    assert why in str(caught.value)


def test_a_file_that_cannot_be_read(tmp_path: Path) -> None:
    with pytest.raises(RecipeError) as caught:
        load_space(tmp_path / "gone.toml")
    assert str(caught.value) == f"{tmp_path / 'gone.toml'}: No such file or directory"
    with pytest.raises(RecipeError, match="Is a directory"):
        load_space(tmp_path)
    with pytest.raises(RecipeError, match=re.escape("space.toml: the search space is empty")):
        _space(tmp_path, "# nothing\n")
    with pytest.raises(RecipeError, match=re.escape("space.toml: ")):
        _space(tmp_path, "patience = {")
    (tmp_path / "space.toml").write_bytes(b"patience = '\xff'")
    with pytest.raises(RecipeError, match=re.escape("space.toml: ")):
        load_space(tmp_path / "space.toml")


@pytest.mark.parametrize(
    ("entry", "message"),
    [
        (Range("patients", 1, 3), "patients"),
        (Range("augmentation.mix", 0.0, 0.2), "augmentation: unknown key 'mix'"),
        (Range("phases.2.learning_rate", 1e-4, 1e-3), "phases.2.learning_rate"),
        (Range("phases.0.rate", 1e-4, 1e-3), "rate"),
        (Range("patience.0", 1, 3), "patience.0"),
        # A known key with an invalid end of its range.
        (Range("patience", -1, 3), "patience"),
        (Range("patience", 0.5, 3.0), "patience"),
        (Range("phases.0.learning_rate", 0.0, 1e-3), "learning_rate"),
        (Range("augmentation.scale", -0.1, 0.3), "augmentation.scale must not be negative"),
        (Range("optimizer", choices=("adam", "sgd")), "must be one of: 'adam', 'adamw'; not 'sgd'"),
        (Range("class_balance", 1, 2), "class_balance"),
        (Range("preprocessing.height", 0, 64), "size 0x"),
    ],
)
def test_a_space_that_does_not_fit_the_recipe(entry: Range, message: str) -> None:
    with pytest.raises(FractureEdgeError) as caught:
        check_space((Range("patience", 1, 3), entry), RECIPE)
    assert message in str(caught.value)


def test_apply_to_nested_keys() -> None:
    changed = apply(
        {
            "phases.1.learning_rate": 3.1622776601683795e-05,
            "phases.1.epochs": 7,
            "phases.0.schedule": "cosine",
            "augmentation.flip_horizontal": True,
            "augmentation.scale": 0.25,
            "preprocessing.framing": "stretch",
            "options.units": 12,
            "label_smoothing": 1e-20,
            "calibrate": False,
            "optimizer": "adamw",
        },
        RECIPE,
    )
    assert changed == replace(
        RECIPE,
        phases=(Phase(1, 1e-3, "cosine", trainable="head"), Phase(7, 3.1622776601683795e-05, "cosine")),
        augmentation=Augmentation(flip_horizontal=True, scale=0.25),
        preprocessing=Preprocessing(32, 48, framing="stretch"),
        options={"filters": [4, 6, 8], "units": 12},
        label_smoothing=1e-20,
        calibrate=False,
        optimizer="adamw",
    )
    # What is searched is a copy.
    assert RECIPE.options == {"filters": [4, 6, 8], "units": 10}
    assert apply({}, RECIPE) == RECIPE


def _draws(entry: Range, count: int = 60) -> list[Any]:
    study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=0))
    return [entry.suggest(study.ask()) for _ in range(count)]


def test_integers() -> None:
    drawn = _draws(Range("patience", 1, 4))
    assert {type(value) for value in drawn} == {int}
    # Both ends belong to the range; each value is missed with a probability of 0.75**60.
    assert set(drawn) == {1, 2, 3, 4}


def test_floats() -> None:
    drawn = _draws(Range("augmentation.scale", 0, 0.5))
    assert {type(value) for value in drawn} == {float}
    assert 0 <= min(drawn) < 0.1
    assert 0.4 < max(drawn) <= 0.5


@pytest.mark.parametrize("ends", [(1e-5, 1e-1), (1, 10_000)])
def test_evenly_in_the_logarithm(ends: tuple[float, float]) -> None:
    drawn = np.array(_draws(Range("x", *ends, log=True), 400))
    assert ends[0] <= drawn.min() <= drawn.max() <= ends[1]
    # A quarter in each of four decades, scattering by 0.02; uniformly sampled numbers would lie in the last.
    decades = np.floor(np.log10(drawn / ends[0])).clip(0, 3)
    np.testing.assert_allclose(np.bincount(decades.astype(int)) / 400, 0.25, atol=0.08)


def test_choices() -> None:
    assert set(_draws(Range("optimizer", choices=("adam", "adamw")))) == {"adam", "adamw"}
    assert set(_draws(Range("augmentation.mixup", choices=(0.0, 0.2)))) == {0.0, 0.2}
    assert {type(value) for value in _draws(Range("calibrate", choices=(True, False)))} == {bool}
