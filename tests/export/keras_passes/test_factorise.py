from typing import Any

import keras
import numpy as np
import pytest

from export.keras_passes.factorise import LEAST_IMPORTANCE, factorise
from export.keras_passes.fold_batch_norms import fold_batch_norms
from fracture_edge.errors import FractureEdgeError
from train.architectures import build

UNITS = 12


@pytest.fixture(scope="module")
def model() -> keras.Model:
    keras.utils.set_random_seed(0)
    return build("custom_cnn", 36, 36, filters=(4, 4, 6), units=UNITS)


@pytest.fixture(scope="module")
def pixels() -> Any:
    # Not a multiple of the batch size, and more images than units.
    return np.random.default_rng(1).integers(0, 256, (45, 36, 36, 1), np.uint8)


def _sums(model: keras.Model, pixels: Any) -> Any:
    """Pre-activations of `hidden`, float64 [N, units]."""
    hidden = model.get_layer("hidden")
    kernel, bias = hidden.get_weights()
    features = np.asarray(keras.Model(model.input, hidden.input)(pixels, training=False), np.float64)
    return features @ kernel + bias


def test_full_rank_changes_nothing(model: keras.Model, pixels: Any) -> None:
    factorised = factorise(model, pixels, UNITS)
    # An orthonormal matrix and its transpose in float32.
    np.testing.assert_allclose(
        factorised(pixels, training=False), np.asarray(model(pixels, training=False)), atol=2e-6
    )


def _importance(model: keras.Model, sums: Any) -> Any:
    """Root mean square of the derivative of the log-odds by each unit's sum, by hand."""
    gamma, _, _, variance = model.get_layer("hidden_norm").get_weights()
    deviation = np.sqrt(variance + model.get_layer("hidden_norm").epsilon)
    slopes = (sums > 0) * (gamma / deviation * model.get_layer("probability").get_weights()[0][:, 0])
    importance = np.sqrt(np.mean(slopes**2, axis=0))
    # Some units of this network are never active: they count as little as is allowed.
    assert importance.min() == 0
    return np.maximum(importance, LEAST_IMPORTANCE * importance.max())


@pytest.mark.parametrize("rank", [1, 3, 7])
def test_error_is_that_of_the_discarded_singular_values(model: keras.Model, pixels: Any, rank: int) -> None:
    sums = _sums(model, pixels)
    importance = _importance(model, sums)
    singular = np.linalg.svd((sums - sums.mean(axis=0)) * importance, compute_uv=False)
    error = (_sums(factorise(model, pixels, rank), pixels) - sums) * importance
    # Eckart and Young: no approximation of that rank is nearer. float32 kernels give 1e-6 of the sums.
    assert np.linalg.norm(error) == pytest.approx(np.linalg.norm(singular[rank:]), rel=1e-4)


def test_the_mean_over_the_training_images_is_exact(model: keras.Model, pixels: Any) -> None:
    error = _sums(factorise(model, pixels, 2), pixels) - _sums(model, pixels)
    np.testing.assert_allclose(error.mean(axis=0), 0, atol=1e-5)


def test_names_parameters_and_source(model: keras.Model, pixels: Any) -> None:
    before = [weight.copy() for weight in model.get_weights()]
    factorised = factorise(model, pixels, 3)
    names = [layer.name for layer in model.layers]
    place = names.index("hidden")
    assert [layer.name for layer in factorised.layers] == [*names[:place], "hidden_factor", *names[place:]]
    inputs = model.get_layer("hidden").kernel.shape[0]
    assert model.count_params() - factorised.count_params() == inputs * UNITS - 3 * (inputs + UNITS)
    assert factorised.get_layer("hidden_factor").bias is None
    assert factorised.get_layer("hidden").activation is keras.activations.relu
    for left, right in zip(before, model.get_weights(), strict=True):
        np.testing.assert_array_equal(left, right)


def test_works_on_a_folded_model_and_is_folded_after(model: keras.Model, pixels: Any) -> None:
    first, second = factorise(fold_batch_norms(model), pixels, 4), fold_batch_norms(factorise(model, pixels, 4))
    assert [layer.name for layer in first.layers] == [layer.name for layer in second.layers]
    # The same directions from sums that differ by rounding.
    np.testing.assert_allclose(
        first(pixels, training=False), np.asarray(second(pixels, training=False)), atol=1e-5
    )


def test_fewer_images_than_rank_are_enough(model: keras.Model, pixels: Any) -> None:
    error = _sums(factorise(model, pixels[:4], 6), pixels[:4]) - _sums(model, pixels[:4])
    # Four images vary in three directions only.
    np.testing.assert_allclose(error, 0, atol=1e-5)


def test_bad_ranks_and_models_are_named(model: keras.Model, pixels: Any) -> None:
    for rank in (0, UNITS + 1):
        with pytest.raises(FractureEdgeError, match=f"rank {rank}: give 1 to {UNITS}, the units of 'hidden'"):
            factorise(model, pixels, rank)
    with pytest.raises(FractureEdgeError, match="custom_cnn is factorised already"):
        factorise(factorise(model, pixels, 2), pixels, 2)
    with pytest.raises(FractureEdgeError, match="edge has no Dense layer 'hidden'"):
        factorise(build("edge", 32, 32, filters=0.25), pixels, 2)
