"""The recipes that ship with the package, against the table of the reference's settings."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from fracture_edge.classifier import FractureClassifier
from fracture_edge.preprocess import Preprocessing
from train.architectures import ARCHITECTURES
from train.data.augment import Augmentation
from train.recipes.recipe import Phase, Recipe, default_recipe, load_recipe, override

AS_PUBLISHED = Preprocessing(224, 224, "stretch", "bilinear")
WHOLE = Preprocessing(224, 224, "letterbox", "bicubic")
AUGMENTATION = Augmentation(
    rotation=15.0, scale=0.1, shift=0.05, flip_horizontal=True, contrast=0.2, brightness=0.1
)
HEAD = Phase(10, 1e-4, trainable="head")


def _shipped() -> list[tuple[str, str]]:
    folder = Path(__file__).resolve().parents[3] / "train/recipes"
    return [tuple(path.stem.split("-")) for path in sorted(folder.glob("*.toml"))]


def _recipe(architecture: str, *phases: Phase, **values: Any) -> Recipe:
    """Return the settings that all of the reference's recipes share."""
    shared = Recipe(architecture, AS_PUBLISHED, phases, batch_size=32, optimizer="adam", monitor="val_loss")
    return replace(shared, **values)


NOTEBOOK = {
    "class_balance": "none",
    "calibrate": False,
    "augmentation": Augmentation(),
    "preprocessing": AS_PUBLISHED,
}
#: Trained for a fixed number of epochs, at ImageNet weights, on grey / 255.
UNIT = {"weights": "imagenet", "options": {"normalisation": "unit"}, "patience": 0, "keep": "last"}
CORRECTED = {
    "class_balance": "weights",
    "calibrate": True,
    "augmentation": AUGMENTATION,
    "preprocessing": WHOLE,
    "patience": 3,
    "keep": "best",
    "options": {},
}
LAST_TEN = replace(HEAD, last_layers=10)


@pytest.mark.parametrize(
    ("model", "name", "expected"),
    [
        (
            "resnet50",
            "notebook",
            _recipe("resnet50", HEAD, replace(LAST_TEN, learning_rate=1e-5), **NOTEBOOK, **UNIT),
        ),
        (
            "resnet50",
            "corrected",
            _recipe("resnet50", HEAD, replace(LAST_TEN, learning_rate=1e-5), weights="imagenet", **CORRECTED),
        ),
        ("vgg16", "notebook", _recipe("vgg16", Phase(10, 1e-4), **NOTEBOOK, **UNIT)),
        ("vgg16", "corrected", _recipe("vgg16", LAST_TEN, weights="imagenet", **CORRECTED)),
        ("custom_cnn", "notebook", _recipe("custom_cnn", Phase(10, 1e-4), patience=5, keep="best", **NOTEBOOK)),
        (
            "custom_cnn",
            "corrected",
            _recipe("custom_cnn", Phase(10, 1e-4), **(CORRECTED | {"refit_norms": True})),
        ),
    ],
)
def test_the_references_recipes(model: str, name: str, expected: Recipe) -> None:
    assert load_recipe(model, name) == expected


def test_there_is_a_corrected_recipe_for_every_architecture() -> None:
    shipped = _shipped()
    assert {model for model, name in shipped if name == "corrected"} == set(ARCHITECTURES)
    assert {model for model, name in shipped if name == "notebook"} == {"resnet50", "vgg16", "custom_cnn"}
    assert [model for model, name in shipped if name == "finetune"] == ["edge"]
    assert [model for model, name in shipped if name == "robust"] == ["edge"]
    assert [model for model, name in shipped if name == "deep"] == ["edge"]
    assert [model for model, name in shipped if name == "probed"] == ["edge"]
    assert [model for model, name in shipped if name == "scratch"] == ["resnet50"]


@pytest.mark.parametrize(("model", "name"), _shipped())
def test_every_shipped_recipe_loads(model: str, name: str) -> None:
    recipe = load_recipe(model, name)
    assert recipe.architecture == model
    # Nothing changes on the way through plain values.
    assert override(recipe) == recipe
    assert (recipe.augmentation.mixup, recipe.augmentation.cutmix) == (0.0, 0.0)
    assert recipe.augmentation.flip_vertical == (name in {"robust", "finetune", "deep"})


@pytest.mark.parametrize(
    ("model", "weights", "expected"),
    [
        ("edge", None, "deep"),
        ("edge", "imagenet", "deep"),
        ("edge", "lite0.npz", "deep"),
        ("edge", "embedded", "finetune"),
        # The weights of a complete network include its head.
        ("edge", "artifacts/edge/model.keras", "finetune"),
        ("edge", "own.weights.h5", "finetune"),
        # Random weights: no features to probe, and no batch norm statistics to keep.
        ("edge", "none", "corrected"),
        *((model, None, "corrected") for model in ARCHITECTURES if model != "edge"),
    ],
)
def test_default_recipe(model: str, weights: str | None, expected: str) -> None:
    assert default_recipe(model, weights) == expected
    recipe = load_recipe(model, expected)
    assert not (recipe.probe and weights == "none")


def test_edge() -> None:
    recipe = load_recipe("edge", "corrected")
    assert recipe.preprocessing == Preprocessing(288, 288, "letterbox", "bicubic")
    assert recipe.phases == (Phase(15, 6e-4, "cosine", warmup_epochs=2),)
    assert (recipe.optimizer, recipe.monitor, recipe.localisation) == ("adamw", "val_auroc", 1.5)
    assert recipe.weights == "imagenet"


def test_from_scratch_all_layers_are_trained() -> None:
    recipe, usual = load_recipe("resnet50", "scratch"), load_recipe("resnet50", "corrected")
    assert (recipe.weights, [phase.trainable for phase in recipe.phases]) == ("none", ["all"])
    assert (recipe.preprocessing, recipe.augmentation) == (usual.preprocessing, usual.augmentation)


def test_finetuning_takes_smaller_steps_from_the_embedded_model() -> None:
    recipe, made_with = load_recipe("edge", "finetune"), load_recipe("edge", "deep")
    assert recipe.weights == "embedded"
    for name in ("preprocessing", "augmentation", "options"):
        assert getattr(recipe, name) == getattr(made_with, name)
    assert recipe.preprocessing == FractureClassifier().info.preprocessing
    assert recipe.phases[0].learning_rate < made_with.phases[0].learning_rate
    assert [phase.trainable for phase in recipe.phases] == ["all"]


def test_probing_keeps_the_features_and_takes_smaller_steps() -> None:
    recipe, usual = load_recipe("edge", "probed"), load_recipe("edge", "corrected")
    assert (recipe.probe, recipe.frozen_norms, recipe.weights) == (True, True, "imagenet")
    assert recipe.phases == (Phase(6, 1e-4, "cosine", warmup_epochs=1),)
    unlike = {"phases", "ema_momentum", "probe", "frozen_norms", "refit_norms"}
    assert {name for name, value in recipe.to_dict().items() if value != usual.to_dict()[name]} == unlike


def test_robust_has_the_strongest_augmentation() -> None:
    recipe, usual = load_recipe("edge", "robust"), load_recipe("edge", "corrected")
    assert (recipe.weights, recipe.options) == ("imagenet", usual.options)
    assert (recipe.probe, recipe.frozen_norms) == (True, True)
    assert [(phase.trainable, phase.schedule) for phase in recipe.phases] == [
        ("all", "constant"),
        ("head", "cosine"),
    ]
    # With both flips, an image rotated by 90 degrees into portrait orientation is like those trained on.
    assert recipe.preprocessing == Preprocessing(320, 256, "letterbox", "bicubic", orientation="portrait")
    assert recipe.augmentation.flip_horizontal
    for name in ("rotation", "scale", "shift", "contrast", "brightness", "gamma", "noise"):
        assert getattr(recipe.augmentation, name) >= getattr(usual.augmentation, name)


def test_deep_has_the_augmentation_of_robust_and_leaves_no_epoch_to_choose() -> None:
    recipe, robust = load_recipe("edge", "deep"), load_recipe("edge", "robust")
    assert recipe.augmentation == robust.augmentation
    assert recipe.options == robust.options | {"deep_evidence": True}
    assert (recipe.probe, recipe.frozen_norms, recipe.calibrate) == (True, True, True)
    assert recipe.phases == (replace(robust.phases[0], epochs=8),)
    assert (recipe.chooses_epochs, robust.chooses_epochs) == (False, True)
    # A multiple of 32, so that all cells are whole.
    assert recipe.preprocessing == Preprocessing(288, 224, "letterbox", "bicubic", orientation="portrait")
