"""Batch norm statistics recomputed without dropout."""

from pathlib import Path

import keras
import numpy as np
import pytest

from fracture_edge.preprocess import Preprocessing
from train.architectures import build
from train.data.batches import Batches
from train.recipes.recipe import Phase, Recipe
from train.trainer import loop
from train.trainer.batch_norm import BATCHES, RefitBatchNorms

NORMS = ("norm1", "norm2", "norm3", "hidden_norm")


def _pixels(count: int) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (count, 32, 32, 1), np.uint8)


@pytest.fixture
def cnn() -> keras.Model:
    keras.utils.set_random_seed(0)
    return build("custom_cnn", 32, 32, filters=(4, 6, 8), units=10)


def _seen(model: keras.Model, norm: str, pixels: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Mean and variance of the inputs of a batch norm at inference."""
    values = keras.Model(model.input, model.get_layer(norm).input).predict(pixels, verbose=0)
    axes = tuple(range(values.ndim - 1))
    return values.mean(axes), values.var(axes)


def test_statistics_are_those_without_dropout(cnn: keras.Model) -> None:
    pixels = _pixels(16)
    # One batch: exactly its statistics.
    RefitBatchNorms(cnn, Batches(pixels, [0, 1] * 8, batch_size=16)).on_test_begin()
    for name in NORMS:
        _, _, mean, variance = cnn.get_layer(name).get_weights()
        expected_mean, expected_variance = _seen(cnn, name, pixels)
        # float32 sums in another order.
        np.testing.assert_allclose(mean, expected_mean, rtol=1e-4, atol=1e-6)
        np.testing.assert_allclose(variance, expected_variance, rtol=1e-3, atol=1e-6)


def test_all_batches_have_the_same_weight(cnn: keras.Model) -> None:
    pixels = _pixels(24)
    training = Batches(pixels, [0, 1] * 12, batch_size=8, seed=1)
    RefitBatchNorms(cnn, training).on_test_begin()
    # The first batch norm alone: the inputs of later ones depend on the statistics of the batch.
    _, _, mean, variance = cnn.get_layer("norm1").get_weights()
    parts = [_seen(cnn, "norm1", pixels[training.order[start : start + 8]]) for start in (0, 8, 16)]
    np.testing.assert_allclose(mean, np.mean([part[0] for part in parts], axis=0), rtol=1e-4, atol=1e-6)
    np.testing.assert_allclose(variance, np.mean([part[1] for part in parts], axis=0), rtol=1e-3, atol=1e-6)


def test_only_the_statistics_change(cnn: keras.Model) -> None:
    before = {layer.name: layer.get_weights() for layer in cnn.layers if layer.weights}
    RefitBatchNorms(cnn, Batches(_pixels(16), [0, 1] * 8, batch_size=8)).on_test_begin()
    for name, weights in before.items():
        after = cnn.get_layer(name).get_weights()
        same = [np.array_equal(a, b) for a, b in zip(weights, after, strict=True)]
        assert same == ([True, True, False, False] if name in NORMS else [True, True])
    assert {cnn.get_layer(name).momentum for name in NORMS} == {0.99}


def test_full_batches_in_the_order_of_the_epoch(cnn: keras.Model) -> None:
    training = Batches(_pixels(20 * BATCHES // 4), [0, 1] * (10 * BATCHES // 4), batch_size=4, seed=3)
    refit = RefitBatchNorms(cnn, training)
    taken: list[np.ndarray] = []
    refit.probe = taken.append
    refit.on_test_begin()
    assert len(taken) == BATCHES
    np.testing.assert_array_equal(np.concatenate(taken), training.pixels[training.order[: 4 * BATCHES]])
    # Fewer images than a batch: what there is.
    short = RefitBatchNorms(cnn, Batches(_pixels(3), [0, 1, 0], batch_size=8))
    taken.clear()
    short.probe = taken.append
    short.on_test_begin()
    assert [len(images) for images in taken] == [3]


def test_the_kept_weights_have_them(cnn: keras.Model, tmp_path: Path) -> None:
    pixels, labels = _pixels(16), [0, 1] * 8
    recipe = Recipe("custom_cnn", Preprocessing(32, 32), (Phase(2, 1e-3),), refit_norms=True, keep="last")
    training = Batches(pixels, labels, batch_size=16, seed=0)
    loop.fit(cnn, recipe, training, Batches(pixels, labels, batch_size=16), folder=tmp_path, seed=0)
    _, _, mean, _ = cnn.get_layer("norm1").get_weights()
    expected, _ = _seen(cnn, "norm1", pixels)
    # Those of the weights that are kept, not of an earlier epoch's; float32 sums in another order.
    np.testing.assert_allclose(mean, expected, rtol=1e-4, atol=1e-6)
