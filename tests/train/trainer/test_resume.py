"""An interrupted and resumed run equals an uninterrupted one."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest

from fracture_edge.preprocess import Preprocessing
from train.architectures import build
from train.data.augment import Augmentation
from train.data.batches import Batches
from train.data.mixing import Mixing
from train.recipes.recipe import Phase, Recipe
from train.trainer import loop
from train.trainer.callbacks import Commit, History, State, best_of, rows_of

#: Everything random or stateful: optimizer moments, averages, schedule, order, mixing, augmentation, dropout.
FULL = Recipe(
    architecture="custom_cnn",
    preprocessing=Preprocessing(32, 32),
    phases=(
        Phase(2, 5e-3, "cosine", warmup_epochs=1, trainable="head"),
        Phase(3, 2e-3, "cosine", warmup_epochs=1),
    ),
    batch_size=8,
    optimizer="adamw",
    weight_decay=0.05,
    label_smoothing=0.05,
    ema_momentum=0.7,
    monitor="val_loss",
    patience=0,
    augmentation=Augmentation(
        rotation=10.0, shift=0.1, flip_horizontal=True, contrast=0.2, gamma=0.2, mixup=0.4, cutmix=1.0
    ),
)
#: 20 images in batches of 8.
STEPS, EPOCHS = 3, 5
#: A learning rate so large that validation gets worse: with this patience the run stops before the eighth epoch.
FAST = Recipe(
    architecture="custom_cnn",
    preprocessing=Preprocessing(32, 32),
    phases=(Phase(8, 0.3),),
    batch_size=8,
    monitor="val_loss",
    patience=2,
)


class Steps(keras.callbacks.Callback):
    """Callback that records the optimizer's step count, and interrupts after `last` steps or an epoch."""

    def __init__(self, last: int | None = None, *, epoch_end: int | None = None) -> None:
        super().__init__()
        self.last, self.epoch_end = last, epoch_end
        self.iterations: list[int] = []
        self.epochs = 0

    def on_train_batch_end(self, batch: int, logs: dict[str, float] | None = None) -> None:
        self.iterations.append(int(self.model.optimizer.iterations))
        if len(self.iterations) == self.last:
            raise KeyboardInterrupt

    def on_epoch_end(self, epoch: int, logs: dict[str, float] | None = None) -> None:
        self.epochs += 1
        if self.epochs == self.epoch_end:
            raise KeyboardInterrupt


def _fit(folder: Path, recipe: Recipe, steps: Steps, *, seed: int = 5) -> tuple[keras.Model, History]:
    """Reset the global state to that of a new process."""
    folder.mkdir(exist_ok=True)
    keras.utils.set_random_seed(seed)
    model = build("custom_cnn", 32, 32, filters=(4, 6, 8), units=10)
    random = np.random.default_rng(1)
    labels = random.integers(0, 2, 28).tolist()
    pixels = np.stack([random.integers(60 * y, 60 * y + 120, (32, 32, 1), np.uint8) for y in labels])
    training = Batches(
        pixels[:20],
        labels[:20],
        batch_size=recipe.batch_size,
        weights={0: 0.8, 1: 1.3},
        seed=seed,
        mixing=Mixing.of(recipe.augmentation, seed),
    )
    validation = Batches(pixels[20:], labels[20:], batch_size=8)
    history = loop.fit(model, recipe, training, validation, folder=folder, seed=seed, callbacks=[steps])
    return model, history


def _figures(history: History) -> list[list[float]]:
    return [[float(value) for name, value in row.items() if name != "seconds"] for row in history.rows]


def _same(found: tuple[keras.Model, History], expected: tuple[keras.Model, History]) -> None:
    # Threads may add float32 numbers in another order; six decimals are kept.
    np.testing.assert_allclose(_figures(found[1]), _figures(expected[1]), rtol=1e-4, atol=1e-5)
    assert [row["learning_rate"] for row in found[1].rows] == [row["learning_rate"] for row in expected[1].rows]
    for variable, value in zip(found[0].weights, expected[0].get_weights(), strict=True):
        np.testing.assert_allclose(variable.numpy(), value, rtol=1e-3, atol=1e-5, err_msg=variable.path)


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> tuple[keras.Model, History, list[int]]:
    """Uninterrupted run."""
    steps = Steps()
    return *_fit(tmp_path_factory.mktemp("whole") / "run", FULL, steps), steps.iterations


@pytest.fixture
def die_after_commit(monkeypatch: pytest.MonkeyPatch) -> Callable[[int], None]:
    """`die_after_commit(n)`: the process ends when epoch n has been committed."""

    def arm(epoch: int) -> None:
        commit = Commit.on_epoch_end

        def fatal(self: Commit, *arguments: Any) -> None:
            commit(self, *arguments)
            if len(self.history.rows) == epoch:
                raise KeyboardInterrupt

        monkeypatch.setattr(Commit, "on_epoch_end", fatal)

    return arm


@pytest.mark.slow
def test_the_uninterrupted_run(whole: tuple[keras.Model, History, list[int]]) -> None:
    _, history, iterations = whole
    assert [(row["epoch"], row["phase"]) for row in history.rows] == [(1, 1), (2, 1), (3, 2), (4, 2), (5, 2)]
    # Each phase has an optimizer of its own.
    assert iterations == [*range(1, 2 * STEPS + 1), *range(1, 3 * STEPS + 1)]
    assert len({row["val_loss"] for row in history.rows}) == EPOCHS


@pytest.mark.slow
@pytest.mark.parametrize("step", [2, 7, 14])
def test_cut_off_within_an_epoch(whole: tuple[keras.Model, History, list[int]], step: int, tmp_path: Path) -> None:
    # In the first epoch, the first of phase 2, and the last.
    with pytest.raises(KeyboardInterrupt):
        _fit(tmp_path, FULL, Steps(step))
    done = (step - 1) // STEPS
    state = State.read(tmp_path)
    assert (len(state.rows) if state else 0) == done
    steps = Steps()
    _same(_fit(tmp_path, FULL, steps), whole[:2])
    # Only complete epochs count, and the optimizer continues from its state.
    assert steps.iterations == whole[2][STEPS * done :]


@pytest.mark.slow
def test_cut_off_before_the_commit(whole: tuple[keras.Model, History, list[int]], tmp_path: Path) -> None:
    epoch = 2
    # History and weights of the epoch are written by then, but do not count.
    with pytest.raises(KeyboardInterrupt):
        _fit(tmp_path, FULL, Steps(epoch_end=epoch))
    assert (tmp_path / f"state-{epoch:04d}.weights.h5").is_file()
    assert len((tmp_path / "history.csv").read_text().splitlines()) == epoch + 1
    steps = Steps()
    _same(_fit(tmp_path, FULL, steps), whole[:2])
    assert len(steps.iterations) == STEPS * (EPOCHS - epoch + 1)


@pytest.mark.slow
@pytest.mark.parametrize("epoch", [2, 5])
def test_cut_off_after_the_commit(
    whole: tuple[keras.Model, History, list[int]],
    epoch: int,
    tmp_path: Path,
    die_after_commit: Callable[[int], None],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    die_after_commit(epoch)
    with pytest.raises(KeyboardInterrupt):
        _fit(tmp_path, FULL, Steps())
    monkeypatch.undo()
    state = State.read(tmp_path)
    assert state is not None
    best = best_of(rows_of(state.rows, state.phase), FULL.monitor)
    assert best is not None
    assert (state.phase, len(state.rows), state.kept) == (int(epoch > 2), epoch, best["epoch"])
    assert [path.name for path in tmp_path.glob("state-*")] == [f"state-{epoch:04d}.weights.h5"]
    assert [path.name for path in tmp_path.glob("kept-*")] == [f"kept-{state.kept:04d}.weights.h5"]
    steps = Steps()
    _same(_fit(tmp_path, FULL, steps), whole[:2])
    assert len(steps.iterations) == STEPS * (EPOCHS - epoch)


@pytest.mark.slow
def test_cut_off_within_the_commit_of_a_phases_first_epoch(
    whole: tuple[keras.Model, History, list[int]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # The weights of epoch 3 are kept, its state is not: phase 2 must start from phase 1's weights all the same.
    write = State.write

    def fatal(self: State, folder: Path) -> None:
        if len(self.rows) == 3:
            raise KeyboardInterrupt
        write(self, folder)

    monkeypatch.setattr(State, "write", fatal)
    with pytest.raises(KeyboardInterrupt):
        _fit(tmp_path, FULL, Steps())
    monkeypatch.undo()
    assert list(tmp_path.glob("kept-*.weights.h5"))
    _same(_fit(tmp_path, FULL, Steps()), whole[:2])


@pytest.mark.slow
def test_the_seed_decides_the_history(whole: tuple[keras.Model, History, list[int]], tmp_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt):
        _fit(tmp_path, FULL, Steps(STEPS + 1), seed=6)
    state = State.read(tmp_path)
    assert state is not None
    assert abs(state.rows[0]["loss"] - whole[1].rows[0]["loss"]) > 1e-3


@pytest.fixture(scope="module")
def stopped_early(tmp_path_factory: pytest.TempPathFactory) -> tuple[keras.Model, History]:
    return _fit(tmp_path_factory.mktemp("early") / "run", FAST, Steps())


@pytest.mark.slow
def test_early_stopping(stopped_early: tuple[keras.Model, History]) -> None:
    losses = [row["val_loss"] for row in stopped_early[1].rows]
    # Two epochs after the best one; none before had two worse ones behind it.
    assert len(losses) < 8
    assert losses.index(min(losses)) == len(losses) - 3


@pytest.mark.slow
@pytest.mark.parametrize("missing", [1, 0])
def test_early_stopping_is_decided_alike(
    missing: int,
    stopped_early: tuple[keras.Model, History],
    tmp_path: Path,
    die_after_commit: Callable[[int], None],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    # Cut off one epoch before the run stops by itself, and right after the epoch that stalled.
    die_after_commit(len(stopped_early[1].rows) - missing)
    with pytest.raises(KeyboardInterrupt):
        _fit(tmp_path, FAST, Steps())
    monkeypatch.undo()
    steps = Steps()
    _same(_fit(tmp_path, FAST, steps), stopped_early)
    assert len(steps.iterations) == STEPS * missing
