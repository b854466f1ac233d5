"""Callbacks: epoch that is kept, early stopping, and seeds of an epoch."""

import json
import math
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest

from fracture_edge.errors import FractureEdgeError
from fracture_edge.preprocess import Preprocessing
from train.architectures import build
from train.data.batches import Batches
from train.recipes.recipe import Phase, Recipe
from train.trainer import loop
from train.trainer.callbacks import History, Seeds, State, best_of, rows_of, stalled

Rows = list[dict[str, Any]]


def _recipe(**values: Any) -> Recipe:
    defaults = {"architecture": "custom_cnn", "preprocessing": Preprocessing(32, 32), "phases": (Phase(1, 1e-3),)}
    return Recipe(**(defaults | values))


def _rows(*losses: float, phase: int = 1, start: int = 1) -> Rows:
    return [
        {"epoch": epoch, "phase": phase, "val_loss": loss, "val_auroc": 1 - loss}
        for epoch, loss in enumerate(losses, start)
    ]


def test_rows_of_a_phase() -> None:
    rows = _rows(0.1, 0.2) + _rows(0.3, phase=2, start=3)
    assert [row["epoch"] for row in rows_of(rows, 0)] == [1, 2]
    assert [row["epoch"] for row in rows_of(rows, 1)] == [3]
    assert rows_of(rows, 2) == []


@pytest.mark.parametrize("monitor", ["val_loss", "val_auroc"])
def test_the_best_epoch(monitor: str) -> None:
    best = best_of(_rows(0.5, 0.3, 0.3, 0.4), monitor)
    # The earliest of equals.
    assert best is not None
    assert best["epoch"] == 2
    best = best_of(_rows(math.nan, 0.7, math.inf), monitor)
    assert best is not None
    assert best["epoch"] == 2
    assert best_of(_rows(math.nan), monitor) is None
    assert best_of([], monitor) is None


@pytest.mark.parametrize(
    ("losses", "patience", "stops"),
    [
        ((0.5, 0.4, 0.3), 1, False),
        ((0.5, 0.6), 1, True),
        ((0.5, 0.6), 2, False),
        ((0.5, 0.6, 0.7), 2, True),
        # Equal is not better.
        ((0.5, 0.5, 0.5), 2, True),
        ((0.5, 0.6, 0.4, 0.5), 2, False),
        # All NaN: patience counts from the first epoch.
        ((math.nan, math.nan), 3, False),
        ((math.nan, math.nan, math.nan), 3, True),
        ((0.5, math.nan, math.nan), 2, True),
        ((0.5, *[0.6] * 100), 0, False),
        ((math.nan,) * 100, 0, False),
    ],
)
def test_patience(losses: tuple[float, ...], patience: int, stops: bool) -> None:
    assert stalled(_rows(*losses), _recipe(patience=patience, monitor="val_loss")) is stops
    # Counted within the phase, wherever it begins.
    assert stalled(_rows(*losses, phase=2, start=9), _recipe(patience=patience, monitor="val_loss")) is stops


def test_state_round_trip(tmp_path: Path) -> None:
    assert State.read(tmp_path) is None
    for name in ("state-0001", "state-0002", "state-0003", "kept-0001"):
        (tmp_path / f"{name}.weights.h5").write_text("")
    state = State(1, _rows(0.5) + _rows(math.nan, phase=2, start=2), 1)
    state.write(tmp_path)
    found = State.read(tmp_path)
    assert found is not None
    assert (found.phase, found.kept, len(found.rows)) == (1, 1, 2)
    assert found.rows[0] == state.rows[0]
    assert math.isnan(found.rows[1]["val_loss"])
    # Older and uncommitted weights go, the kept ones stay.
    assert sorted(path.name for path in tmp_path.glob("*.h5")) == ["kept-0001.weights.h5", "state-0002.weights.h5"]
    assert json.loads((tmp_path / "state.json").read_text())["phase"] == 1


def _batches() -> tuple[Batches, Batches]:
    random = np.random.default_rng(0)
    pixels, labels = random.integers(0, 256, (16, 32, 32, 1), np.uint8), [0, 1] * 8
    return Batches(pixels[:10], labels[:10], batch_size=5, seed=0), Batches(pixels[10:], labels[10:], batch_size=6)


@pytest.fixture
def cnn() -> keras.Model:
    keras.utils.set_random_seed(0)
    return build("custom_cnn", 32, 32, filters=(4, 6, 8), units=10)


@pytest.mark.parametrize("keep", ["best", "last"])
def test_the_weights_that_are_kept(keep: str, cnn: keras.Model, tmp_path: Path) -> None:
    # So fast that validation gets worse, and without patience.
    recipe = _recipe(phases=(Phase(5, 0.1),), monitor="val_loss", patience=0, keep=keep)
    training, validation = _batches()
    rows = loop.fit(cnn, recipe, training, validation, folder=tmp_path, seed=0).rows
    assert len(rows) == 5
    best = best_of(rows, "val_loss")
    assert best is not None
    assert best["epoch"] < 5
    loop.compile_phase(cnn, recipe, recipe.phases[0], steps=1)
    loss = cnn.evaluate(validation, verbose=0, return_dict=True)["loss"]
    # Six decimals are kept; another graph of the same float32 operations.
    assert loss == pytest.approx((best if keep == "best" else rows[-1])["val_loss"], rel=1e-4)


@pytest.mark.parametrize("keep", ["best", "last"])
@pytest.mark.parametrize("monitor", ["val_loss", "val_auroc"])
def test_divergence_is_reported(keep: str, monitor: str, cnn: keras.Model, tmp_path: Path) -> None:
    recipe = _recipe(phases=(Phase(1, 1e30),), monitor=monitor, keep=keep)
    with pytest.raises(FractureEdgeError, match=r"training diverged: .* a smaller learning rate may help"):
        loop.fit(cnn, recipe, *_batches(), folder=tmp_path, seed=0)


def test_the_random_numbers_of_an_epoch_depend_on_its_number(cnn: keras.Model, tmp_path: Path) -> None:
    training, _ = _batches()
    history = History(tmp_path / "history.csv")
    seeds = Seeds(history, training, 7)
    seeds.set_model(loop.with_augmentation(cnn, _recipe(), seed=7))
    states = [variable for variable in seeds.model.variables if variable.path.endswith("seed_generator_state")]
    # Two layers of augmentation and four of dropout.
    assert len(states) == 6

    def drawn(number: int) -> tuple[bytes, ...]:
        history.rows = [{}] * number
        # Keras counts epochs within a phase; that number is not used.
        seeds.on_epoch_begin(0)
        return training.order.tobytes(), *(state.numpy().tobytes() for state in states)

    first, second = drawn(0), drawn(1)
    assert len({*first, *second}) == 14
    assert drawn(0) == first
    seeds.seed = 8
    assert not set(drawn(0)[1:]) & set(first)
