"""Overriding values of a recipe by `--epochs`, `--set` and similar options."""

from dataclasses import replace

import pytest

from fracture_edge.errors import FractureEdgeError
from fracture_edge.preprocess import Preprocessing
from train.data.augment import Augmentation
from train.recipes.recipe import Phase, Recipe, override
from train.recipes.tables import RecipeError

RECIPE = Recipe(
    architecture="edge",
    preprocessing=Preprocessing(64, 96, pad=3),
    phases=(Phase(1, 1e-3, "cosine", warmup_epochs=1, trainable="head"), Phase(4, 2e-4, last_layers=3)),
    options={"filters": 0.5},
)


def test_nothing() -> None:
    assert override(RECIPE) == RECIPE


def test_epochs_are_those_of_every_phase() -> None:
    changed = override(RECIPE, epochs=9)
    assert changed == replace(RECIPE, phases=tuple(replace(phase, epochs=9) for phase in RECIPE.phases))
    with pytest.raises(RecipeError, match=r"recipe\.phases\.epochs: must be at least 1, not 0"):
        override(RECIPE, epochs=0)


def test_learning_rates_keep_their_ratio() -> None:
    changed = override(RECIPE, learning_rate=5e-3)
    assert [phase.learning_rate for phase in changed.phases] == pytest.approx([5e-3, 1e-3], rel=1e-12)
    assert [replace(phase, learning_rate=1.0) for phase in changed.phases] == [
        replace(phase, learning_rate=1.0) for phase in RECIPE.phases
    ]


@pytest.mark.parametrize("rate", [0.0, -1e-3])
def test_a_learning_rate_of_zero(rate: float) -> None:
    with pytest.raises(RecipeError, match=r"recipe\.phases\.learning_rate: must be above 0, not"):
        override(RECIPE, learning_rate=rate)


def test_batch_size_and_image_size() -> None:
    changed = override(RECIPE, batch_size=7, image_size=128)
    assert changed == replace(RECIPE, batch_size=7, preprocessing=Preprocessing(128, 128, pad=3))
    with pytest.raises(RecipeError, match=r"recipe\.batch_size: must be at least 1, not 0"):
        override(RECIPE, batch_size=0)
    with pytest.raises(FractureEdgeError, match="size 0x0 is not between 1 and 4096"):
        override(RECIPE, image_size=0)


@pytest.mark.parametrize(
    ("setting", "change"),
    [
        ("patience=7", {"patience": 7}),
        (" patience = 7 ", {"patience": 7}),
        ("optimizer=adamw", {"optimizer": "adamw"}),
        ('optimizer="adamw"', {"optimizer": "adamw"}),
        ("weight_decay=1e-2", {"weight_decay": 0.01}),
        # An integer is accepted as a float.
        ("weight_decay=1", {"weight_decay": 1.0}),
        ("calibrate=false", {"calibrate": False}),
        ("augmentation.mixup=0.2", {"augmentation": Augmentation(mixup=0.2)}),
        ("augmentation.flip_vertical=true", {"augmentation": Augmentation(flip_vertical=True)}),
        ("augmentation={ rotation = 3 }", {"augmentation": Augmentation(rotation=3.0)}),
        ("preprocessing.framing=stretch", {"preprocessing": Preprocessing(64, 96, "stretch", pad=3)}),
        ("options.dropout=0.4", {"options": {"filters": 0.5, "dropout": 0.4}}),
        ("options.filters=[1, 2]", {"options": {"filters": [1, 2]}}),
        ("phases.1.epochs=6", {"phases": (RECIPE.phases[0], replace(RECIPE.phases[1], epochs=6))}),
        ("phases.0.trainable=all", {"phases": (replace(RECIPE.phases[0], trainable="all"), RECIPE.phases[1])}),
        ("phases.-1.last_layers=0", {"phases": (RECIPE.phases[0], replace(RECIPE.phases[1], last_layers=0))}),
        (
            "phases.1={ epochs = 2, learning_rate = 0.5 }",
            {"phases": (RECIPE.phases[0], Phase(epochs=2, learning_rate=0.5))},
        ),
        ("phases=[{ epochs = 2, learning_rate = 0.5 }]", {"phases": (Phase(2, 0.5),)}),
        # The value may contain the separator of key and value.
        ("weights=/data/a=b.npz", {"weights": "/data/a=b.npz"}),
    ],
)
def test_settings(setting: str, change: dict[str, object]) -> None:
    assert override(RECIPE, settings=[setting]) == replace(RECIPE, **change)


def test_settings_come_last_and_in_order() -> None:
    changed = override(RECIPE, epochs=9, settings=["phases.0.epochs=2", "patience=1", "patience=4"])
    assert [phase.epochs for phase in changed.phases] == [2, 9]
    assert changed.patience == 4


def test_the_recipe_itself_stays_as_it_is() -> None:
    changed = override(RECIPE, settings=["options.filters=0.25"])
    assert (RECIPE.options, changed.options) == ({"filters": 0.5}, {"filters": 0.25})


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ("patients=3", "recipe: unknown key 'patients'; must be one of: architecture, augmentation"),
        (
            "augmentation.mix=0.2",
            "recipe.augmentation: unknown key 'mix'; must be one of: brightness, contrast, cutmix",
        ),
        ("phases.1.epoch=3", "recipe.phases[1]: unknown key 'epoch'; must be one of: epochs, last_layers"),
        ("phases.2.epochs=3", "recipe: no key 'phases.2.epochs'"),
        ("phases.2=3", "recipe: no key 'phases.2'"),
        ("phases.last.epochs=3", "recipe: no key 'phases.last.epochs'"),
        ("phases.last=3", "recipe: no key 'phases.last'"),
        ("augment.mixup=3", "recipe: no key 'augment.mixup'"),
        ("patience.epochs=3", "recipe: no key 'patience.epochs'"),
        ("patience.epochs.more=3", "recipe: no key 'patience.epochs.more'"),
        ("patience=few", "recipe.patience: expected int, got 'few'"),
        ("patience=2.5", "recipe.patience: expected int, got 2.5"),
        ("patience=true", "recipe.patience: expected int, got True"),
        ("patience=", "recipe.patience: expected int, got ''"),
        ("calibrate=1", "recipe.calibrate: expected bool, got 1"),
        ("optimizer=sgd", "recipe.optimizer: must be one of: 'adam', 'adamw'; not 'sgd'"),
        ("monitor=loss", "recipe.monitor: must be one of: 'val_auroc', 'val_loss'; not 'loss'"),
        ("phases=3", "recipe.phases: expected a list, got 3"),
        ("phases=[]", "recipe.phases: must not be empty"),
        ("phases.0=3", "recipe.phases[0]: expected a table, got 3"),
        ("augmentation=3", "recipe.augmentation: expected a table, got 3"),
        ("patience", "patience: expected key=value"),
        ("", ": expected key=value"),
        ("patience=-1", "recipe.patience: must be at least 0, not -1"),
        ("phases.0.last_layers=-1", "recipe.phases.last_layers: must be at least 0, not -1"),
        ("phases.1.learning_rate=0", "recipe.phases.learning_rate: must be above 0, not 0.0"),
        ("phases.1.epochs=0", "recipe.phases.epochs: must be at least 1, not 0"),
        ("phases.1.warmup_epochs=-1", "recipe.phases.warmup_epochs: must be at least 0, not -1"),
        ("label_smoothing=1", "recipe.label_smoothing: must be from 0 to below 1, not 1.0"),
        ("weight_decay=-1", "recipe.weight_decay: must be at least 0, not -1.0"),
        ("augmentation.cutmix=1.5", "augmentation.cutmix must not be above 1"),
    ],
)
def test_wrong_settings(setting: str, message: str) -> None:
    with pytest.raises(FractureEdgeError) as caught:
        override(RECIPE, settings=[setting])
    assert str(caught.value).startswith(message)


def test_a_negative_augmentation() -> None:
    with pytest.raises(FractureEdgeError, match=r"augmentation\.cutmix must not be negative"):
        override(RECIPE, settings=["augmentation.cutmix=-0.1"])


def test_classes_are_in_the_record_if_there_are_any() -> None:
    changed = override(RECIPE, settings=['classes=["sound", "spiral"]'])
    assert changed == replace(RECIPE, classes=("sound", "spiral"))
    assert changed.to_dict()["classes"] == ("sound", "spiral")
    assert "classes" not in RECIPE.to_dict()
    for wrong in ('["one"]', '["twice", "twice"]'):
        with pytest.raises(RecipeError, match=r"recipe\.classes: must be at least two different names of folders"):
            override(RECIPE, settings=[f"classes={wrong}"])
