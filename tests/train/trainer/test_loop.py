import math
from pathlib import Path

import keras
import numpy as np
import pytest

from fracture_edge.preprocess import Preprocessing
from train.architectures import build, set_trainable
from train.data.augment import Augmentation
from train.data.batches import Batches
from train.evaluation.predict import predict
from train.recipes.recipe import Phase, Recipe
from train.trainer import loop
from train.trainer.callbacks import COLUMNS, History, Progress, best_of, rows_of

STRONG = Augmentation(rotation=20.0, scale=0.2, shift=0.1, contrast=0.3, brightness=0.2, gamma=0.2)


def _recipe(**values: object) -> Recipe:
    defaults = {"architecture": "custom_cnn", "preprocessing": Preprocessing(32, 32), "phases": (Phase(1, 1e-3),)}
    return Recipe(**(defaults | values))


@pytest.fixture
def cnn() -> keras.Model:
    keras.utils.set_random_seed(0)
    return build("custom_cnn", 32, 32, filters=(4, 6, 8), units=10)


def _bytes(count: int) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (count, 32, 32, 1), np.uint8)


def _trained(model: keras.Model) -> set[str]:
    variables = {id(variable) for variable in model.trainable_variables}
    return {layer.name for layer in model.layers if any(id(v) in variables for v in layer.weights)}


def test_head_of_custom_cnn(cnn: keras.Model) -> None:
    set_trainable(cnn, "head")
    assert _trained(cnn) == {"hidden", "hidden_norm", "probability"}
    set_trainable(cnn, "all")
    assert _trained(cnn) == {layer.name for layer in cnn.layers if layer.weights}


def test_head_of_edge() -> None:
    model = build("edge", 32, 32, filters=0.25, depth=0.5)
    set_trainable(model, "head")
    # `cells` starts at random like the rest of the head: frozen, its strongest cell would be noise.
    assert _trained(model) == {"cells", "pooled_evidence", "probability"}
    set_trainable(model, "all")
    assert _trained(model) == {layer.name for layer in model.layers if layer.weights}


def test_frozen_layers_stay_as_they_are(cnn: keras.Model, tmp_path: Path) -> None:
    recipe = _recipe(phases=(Phase(1, 1e-2, trainable="head"),), patience=1)
    before = {layer.name: layer.get_weights() for layer in cnn.layers if layer.weights}
    labels = [0, 1] * 6
    batches = [Batches(_bytes(12), labels, batch_size=6, seed=seed) for seed in (0, None)]
    loop.fit(cnn, recipe, *batches, folder=tmp_path, seed=0)
    changed = {
        name
        for name, weights in before.items()
        if any((a != b).any() for a, b in zip(weights, cnn.get_layer(name).get_weights(), strict=True))
    }
    # Neither kernels nor the running means of frozen norms move.
    assert changed == {"hidden", "hidden_norm", "probability"}
    # All are trainable again: kernel and bias, or gamma and beta, of nine layers.
    assert len(cnn.trainable_variables) == 18
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "history.csv",
        "kept-0001.weights.h5",
        "state-0001.weights.h5",
        "state.json",
    ]


def test_the_moving_average_is_kept(cnn: keras.Model, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    steps = []
    monkeypatch.setattr(
        Progress,
        "on_train_batch_end",
        lambda *_, **__: steps.append(cnn.get_layer("probability").get_weights()[0]),
    )
    batches = [Batches(_bytes(12), [0, 1] * 6, batch_size=4, seed=seed) for seed in (0, None)]
    recipe = _recipe(ema_momentum=0.75, phases=(Phase(1, 1e-2),))
    loop.fit(cnn, recipe, *batches, folder=tmp_path, seed=0)
    # The average starts at the first step's weights.
    average = steps[0]
    for weights in steps[1:]:
        average = 0.75 * average + 0.25 * weights
    assert len(steps) == 3
    assert np.abs(average - steps[-1]).max() > 1e-3
    # float32 sums.
    np.testing.assert_allclose(cnn.get_layer("probability").get_weights()[0], average, atol=1e-6)


def _rates(phase: Phase, steps: int) -> list[float]:
    rate = loop.learning_rate(phase, steps)
    return [float(rate(step)) if callable(rate) else rate for step in range(phase.epochs * steps + 1)]


def test_constant_rate() -> None:
    assert loop.learning_rate(Phase(3, 2e-4), 7) == 2e-4


def test_warmup_to_a_constant_rate() -> None:
    rates = _rates(Phase(3, 1e-3, warmup_epochs=1), 10)
    # A straight line from 1 % to all of it over the first ten steps; float32.
    assert rates[:11] == pytest.approx([1e-5 + 99e-5 * k / 10 for k in range(11)], rel=1e-5)
    assert rates[11:] == pytest.approx([1e-3] * 20, rel=1e-6)


@pytest.mark.parametrize("warmup", [0, 2])
def test_cosine_rate(warmup: int) -> None:
    rates = _rates(Phase(6, 1e-3, "cosine", warmup_epochs=warmup), 10)
    start, end = 10 * warmup, 60
    for k in range(start):
        assert rates[k] == pytest.approx(1e-5 + 99e-5 * k / start, rel=1e-4)
    for k in range(start, end + 1):
        share = 0.5 * (1 + math.cos(math.pi * (k - start) / (end - start)))
        # float32; 1 % of the peak is left at the end.
        assert rates[k] == pytest.approx(1e-3 * (0.99 * share + 0.01), rel=1e-4)


def test_class_weights_reach_the_loss(cnn: keras.Model) -> None:
    images, labels = _bytes(10), [0, 0, 1, 0, 0, 1, 0, 0, 1, 0]
    trainer = loop.with_augmentation(cnn, _recipe(), seed=0)
    loop.compile_phase(trainer, _recipe(), Phase(1, 1e-3), steps=2)
    p = predict(cnn, images)
    losses = -np.log(np.where(labels, p, 1 - p))
    for weights in (None, {0: 0.25, 1: 4.0}):
        batches = Batches(images, labels, batch_size=4, weights=weights)
        found = trainer.evaluate(batches, verbose=0, return_dict=True)["loss"]
        weight_of = np.array([(weights or {0: 1, 1: 1})[label] for label in labels])
        expected = np.mean(weight_of * losses)
        # float32 cross-entropy.
        assert found == pytest.approx(expected, rel=1e-4)


def test_label_smoothing_reaches_the_loss(cnn: keras.Model) -> None:
    recipe = _recipe(label_smoothing=0.2)
    trainer = loop.with_augmentation(cnn, recipe, seed=0)
    loop.compile_phase(trainer, recipe, Phase(1, 1e-3), steps=1)
    p = predict(cnn, _bytes(2))
    found = trainer.evaluate(_bytes(2), np.array([[0.0], [1.0]]), verbose=0, return_dict=True)["loss"]
    targets = np.array([0.1, 0.9])
    assert found == pytest.approx(np.mean(-targets * np.log(p) - (1 - targets) * np.log(1 - p)), rel=1e-4)


def test_weight_decay_is_for_kernels_only(cnn: keras.Model) -> None:
    recipe = _recipe(optimizer="adamw", weight_decay=0.5)
    loop.compile_phase(cnn, recipe, Phase(1, 0.1), steps=1)
    variables = cnn.trainable_variables
    before = [np.asarray(variable) + 0.5 for variable in variables]
    for variable, value in zip(variables, before, strict=True):
        variable.assign(value)
    # Without a gradient Adam does not move: what is left is decay, 0.1 * 0.5.
    cnn.optimizer.apply([keras.ops.zeros_like(variable) for variable in variables], variables)
    for variable, value in zip(variables, before, strict=True):
        factor = 0.95 if variable.name == "kernel" else 1.0
        np.testing.assert_allclose(np.asarray(variable), factor * value, rtol=1e-6, err_msg=variable.path)


@pytest.mark.parametrize(("momentum", "used"), [(0.0, False), (0.9, True)])
def test_optimizers(cnn: keras.Model, momentum: float, *, used: bool) -> None:
    loop.compile_phase(cnn, _recipe(ema_momentum=momentum), Phase(1, 3e-4), steps=1)
    assert (type(cnn.optimizer).__name__, cnn.optimizer.use_ema) == ("Adam", used)
    assert float(cnn.optimizer.learning_rate) == pytest.approx(3e-4, rel=1e-6)


def test_augmentation_is_for_training_only(cnn: keras.Model) -> None:
    trainer = loop.with_augmentation(cnn, _recipe(augmentation=STRONG), seed=0)
    images = _bytes(4)
    np.testing.assert_allclose(trainer(images, training=False), cnn(images, training=False), atol=1e-7)
    assert [v.path for v in trainer.trainable_variables] == [v.path for v in cnn.trainable_variables]
    # Dropout off, so that only augmentation can tell two passes apart.
    for layer in cnn.layers:
        if isinstance(layer, keras.layers.Dropout):
            layer.rate = 0.0
    first, second = (np.asarray(trainer(images, training=True)) for _ in range(2))
    assert np.abs(first - second).max() > 1e-4


def test_masks_are_hidden_from_the_network() -> None:
    model = build("edge", 64, 64, filters=0.25, depth=0.5)
    recipe = _recipe(architecture="edge", localisation=2.0)
    trainer = loop.with_augmentation(model, recipe, seed=0, masks=True)
    images = np.random.default_rng(0).integers(0, 256, (2, 64, 64, 2), np.uint8)
    assert trainer.input_shape == (None, 64, 64, 2)
    # Another graph of the same float32 operations.
    np.testing.assert_allclose(trainer(images, training=False), model(images[..., :1]), atol=1e-6)


def test_history_file_and_best_row(tmp_path: Path) -> None:
    history = History(tmp_path / "history.csv")
    history.set_model(keras.Sequential([keras.layers.Input((1,)), keras.layers.Dense(1)]))
    history.model.compile(keras.optimizers.Adam(0.25))
    for phase, values in ((0, [(0.9, 0.1)]), (1, [(0.6, 0.5), (0.7, 0.4), (0.7, 0.3), (0.5, 0.3)])):
        history.phase = phase
        for auroc, loss in values:
            history.on_epoch_begin(0)
            history.on_epoch_end(0, {"val_auroc": auroc, "val_loss": loss, "loss": 1.0})
    # The last phase counts; of equals the earliest.
    assert best_of(history.of_phase(), "val_auroc")["epoch"] == 3
    assert best_of(history.of_phase(), "val_loss")["epoch"] == 4
    assert [row["epoch"] for row in rows_of(history.rows, 0)] == [1]
    lines = (tmp_path / "history.csv").read_text().splitlines()
    assert lines[0] == ",".join(COLUMNS)
    assert [line.split(",")[:4] for line in lines[1:]] == [
        [str(epoch), phase, "0.25", "1.0"] for epoch, phase in enumerate("12222", start=1)
    ]
    assert [line.split(",")[8] for line in lines[1:]] == ["0.9", "0.6", "0.7", "0.7", "0.5"]


def test_predict(cnn: keras.Model) -> None:
    images = _bytes(5)
    found = predict(cnn, images, batch_size=2)
    assert (found.dtype, found.shape) == (np.float64, (5,))
    np.testing.assert_allclose(found, np.asarray(cnn(images))[:, 0], atol=1e-6)


@pytest.mark.parametrize(("count", "sizes"), [(5, [2, 2, 2]), (4, [2, 2]), (1, [1])])
def test_no_batch_has_a_size_of_its_own(
    cnn: keras.Model, count: int, sizes: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = []
    answer = cnn.predict_on_batch
    monkeypatch.setattr(cnn, "predict_on_batch", lambda images: asked.append(len(images)) or answer(images))
    assert predict(cnn, _bytes(count), batch_size=2).shape == (count,)
    assert asked == sizes
