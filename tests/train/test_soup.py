"""Several runs in one history, and the one network that their weights are averaged to."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest

from fracture_edge.preprocess import Preprocessing
from train import loop
from train.architectures import build
from train.augment import Augmentation
from train.callbacks import Commit, History
from train.loading import Batches
from train.recipe import Phase, Recipe, RecipeError
from train.soup import average_members, kept_epochs

SOUP = Recipe(
    architecture="custom_cnn",
    preprocessing=Preprocessing(32, 32),
    phases=(Phase(2, 5e-3), Phase(1, 2e-3, trainable="head")),
    batch_size=8,
    monitor="val_loss",
    frozen_norms=True,
    members=3,
    augmentation=Augmentation(rotation=10.0, flip_horizontal=True),
)
LABELS = np.random.default_rng(1).integers(0, 2, 28).tolist()


def _network() -> keras.Model:
    keras.utils.set_random_seed(5)
    return build("custom_cnn", 32, 32, filters=(4, 6, 8), units=10)


def _batches() -> tuple[Batches, Batches]:
    random = np.random.default_rng(1)
    pixels = np.stack([random.integers(60 * y, 60 * y + 120, (32, 32, 1), np.uint8) for y in LABELS])
    return (
        Batches(pixels[:20], LABELS[:20], batch_size=8, seed=5),
        Batches(pixels[20:], LABELS[20:], batch_size=8),
    )


def _fit(folder: Path, recipe: Recipe = SOUP) -> tuple[keras.Model, History]:
    folder.mkdir(exist_ok=True)
    model = _network()
    return model, loop.fit(model, recipe, *_batches(), folder=folder, seed=5)


def _weights(path: Path) -> list[np.ndarray]:
    model = _network()
    model.load_weights(path)
    return list(model.get_weights())


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> tuple[keras.Model, History, Path]:
    folder = tmp_path_factory.mktemp("soup") / "run"
    return *_fit(folder), folder


def test_the_network_has_the_mean_of_its_members(whole: tuple[keras.Model, History, Path]) -> None:
    model, _, folder = whole
    files = sorted(folder.glob("member-*.weights.h5"))
    assert [path.name for path in files] == [f"member-0{number}.weights.h5" for number in (1, 2, 3)]
    members = [_weights(path) for path in files]
    for found, *each in zip(model.get_weights(), *members, strict=True):
        # One rounding to float32.
        np.testing.assert_allclose(found, np.mean(np.stack(each), axis=0, dtype=np.float64), rtol=1e-6, atol=1e-8)
    # Kernels differ between members, the frozen norms do not.
    spread = [np.ptp(np.stack(each), axis=0).max() for each in zip(*members, strict=True)]
    kinds = [variable.path.split("/")[-1] for variable in model.weights]
    assert min(value for value, kind in zip(spread, kinds, strict=True) if kind == "kernel") > 1e-3
    assert max(value for value, kind in zip(spread, kinds, strict=True) if kind.startswith("moving")) == 0


def test_one_history_counts_phases_and_epochs_through(whole: tuple[keras.Model, History, Path]) -> None:
    _, history, _ = whole
    assert [(row["epoch"], row["phase"]) for row in history.rows] == [
        (1, 1), (2, 1), (3, 2), (4, 3), (5, 3), (6, 4), (7, 5), (8, 5), (9, 6),
    ]  # fmt: skip
    assert kept_epochs(history, SOUP) == [3, 6, 9]
    # Each member draws an order and augmentation of its own.
    assert len({row["val_loss"] for row in history.rows if row["phase"] in (1, 3, 5)}) == 6


def test_every_member_begins_with_the_initial_weights(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    begun = []

    def note(trainer: keras.Model, *arguments: Any, **options: Any) -> None:
        begun.append([np.array(weight) for weight in trainer.get_weights()])
        compile_phase(trainer, *arguments, **options)

    compile_phase = loop.compile_phase
    monkeypatch.setattr(loop, "compile_phase", note)
    _fit(tmp_path, Recipe(**{**_fields(SOUP), "phases": (Phase(1, 5e-3),)}))
    assert len(begun) == 3
    for found in zip(*begun, _network().get_weights(), strict=True):
        for weights in found[:3]:
            np.testing.assert_array_equal(weights, found[3])


def _fields(recipe: Recipe) -> dict[str, Any]:
    return {name: getattr(recipe, name) for name in recipe.__dataclass_fields__}


def test_one_member_is_a_run_like_any_other(tmp_path: Path) -> None:
    model, history = _fit(tmp_path, Recipe(**{**_fields(SOUP), "members": 1}))
    assert not list(tmp_path.glob("member-*")) + list(tmp_path.glob("start*"))
    assert kept_epochs(history, Recipe(**{**_fields(SOUP), "members": 1})) == [history.kept] == [3]
    kept = _weights(tmp_path / "kept-0003.weights.h5")
    for found, expected in zip(model.get_weights(), kept, strict=True):
        np.testing.assert_array_equal(found, expected)


@pytest.mark.parametrize("epoch", [2, 3, 4, 6, 9])
def test_cut_off_and_taken_up_again(
    epoch: int, whole: tuple[keras.Model, History, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Within a member, at its end, and after the first epoch of the next.
    commit: Callable[..., None] = Commit.on_epoch_end

    def fatal(self: Commit, *arguments: Any) -> None:
        commit(self, *arguments)
        if len(self.history.rows) == epoch:
            raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(Commit, "on_epoch_end", fatal)
        with pytest.raises(KeyboardInterrupt):
            _fit(tmp_path)
    model, history = _fit(tmp_path)
    assert [row["phase"] for row in history.rows] == [row["phase"] for row in whole[1].rows]
    for variable, expected in zip(model.weights, whole[0].get_weights(), strict=True):
        # Threads may add float32 numbers in another order.
        np.testing.assert_allclose(variable.numpy(), expected, rtol=1e-3, atol=1e-5, err_msg=variable.path)


def test_norms_take_the_statistics_of_the_mean(tmp_path: Path) -> None:
    recipe = Recipe(**{**_fields(SOUP), "frozen_norms": False, "members": 2})
    random = np.random.default_rng(0)
    models = [_network(), _network()]
    for number, model in enumerate(models, 1):
        model.set_weights([weight + random.normal(0, 0.1, weight.shape) ** 2 for weight in model.get_weights()])
        model.save_weights(tmp_path / f"member-0{number}.weights.h5")
    model, (training, _) = _network(), _batches()
    average_members(model, recipe, training, tmp_path)
    norm = next(layer for layer in model.layers if isinstance(layer, keras.layers.BatchNormalization))
    before = keras.Model(model.input, norm.input)
    # Batches of 8, of which whole ones are taken.
    rows = training.order[:16]
    values = [keras.ops.convert_to_numpy(before(training.pixels[rows[part]])) for part in (slice(8), slice(8, 16))]
    axes = tuple(range(values[0].ndim - 1))
    found = dict(zip((variable.name for variable in norm.weights), norm.get_weights(), strict=True))
    # float32 statistics of two batches.
    np.testing.assert_allclose(
        found["moving_mean"], np.mean([v.mean(axes) for v in values], 0), rtol=1e-3, atol=1e-5
    )
    np.testing.assert_allclose(
        found["moving_variance"], np.mean([v.var(axes) for v in values], 0), rtol=1e-3, atol=1e-5
    )
    gammas = [
        dict(zip((v.name for v in norm.weights), m.get_layer(norm.name).get_weights(), strict=True))["gamma"]
        for m in models
    ]
    np.testing.assert_allclose(found["gamma"], np.mean(gammas, 0), rtol=1e-6)


def test_a_soup_has_members() -> None:
    with pytest.raises(RecipeError, match=r"recipe.members: must be at least 1, not 0"):
        Recipe("edge", Preprocessing(32, 32), (Phase(1, 1e-3),), members=0)
