"""Channels of a layer get ranges of the same size, and the network's answers stay the same."""

from typing import Any

import keras
import numpy as np
import pytest
from keras import layers

from export.keras_passes.equalise_channels import equalise_channels
from export.keras_passes.fold_batch_norms import fold_batch_norms
from train.architectures import build

# Factors change only the rounding of float32 products; log-odds of these networks stay below 10.
ROUNDING = 2e-6
PIXELS: Any = np.random.default_rng(0).integers(0, 256, (6, 40, 32, 1), np.uint8)


def _ranges(model: keras.Model, name: str) -> Any:
    found = keras.Model(model.inputs, model.get_layer(name).output).predict(PIXELS, verbose=0)
    return found.max(axis=(0, 1, 2))


def _answers(model: keras.Model) -> Any:
    return np.asarray(model(PIXELS, training=False))


def test_large_channels_come_down_to_the_median() -> None:
    keras.utils.set_random_seed(0)
    model = fold_batch_norms(build("custom_cnn", 40, 32, filters=(4, 6, 8), units=8))
    kernel, bias = model.get_layer("conv2").get_weights()
    model.get_layer("conv2").set_weights([kernel * np.array([30, 1, 1, 1, 1, 1], np.float32), bias])
    before, ranges = _answers(model), _ranges(model, "conv2")
    equalised, factors = equalise_channels(model, PIXELS)
    np.testing.assert_allclose(_answers(equalised), before, atol=ROUNDING)
    assert before.std() > 100 * ROUNDING
    np.testing.assert_allclose(_ranges(equalised, "conv2"), np.minimum(ranges, np.median(ranges)), rtol=1e-5)
    expected = np.minimum(1, np.median(ranges) / np.maximum(ranges, 1e-9))
    np.testing.assert_allclose(factors["conv2"], expected, rtol=1e-5)
    # The Dense layer behind a convolution takes factors, but none of its own outputs gets any.
    assert set(factors) == {"conv1", "conv2", "conv3"}
    np.testing.assert_array_equal(_answers(model), before)


def _with_norms(
    *, residual: bool = False, scale: bool = True, relu: dict[str, float] | None = None
) -> keras.Model:
    """Build two convolutions with a batch norm between them, as in a residual block."""
    keras.utils.set_random_seed(1)
    image = keras.Input((40, 32, 1), dtype="uint8", name="image")
    x = layers.Rescaling(1 / 255, dtype="float32")(image)
    x = layers.Conv2D(4, 3, name="first")(x)
    x = layers.BatchNormalization(name="norm", scale=scale)(x)
    x = before = layers.ReLU(**(relu or {}), name="relu")(x)
    x = layers.Conv2D(4, 3, padding="same", activation="relu", name="second")(x)
    x = layers.Add()([x, before]) if residual else x
    x = layers.GlobalAveragePooling2D()(x)
    model = keras.Model(image, layers.Dense(1, activation="sigmoid", name="probability")(x))
    rng = np.random.default_rng(2)
    norm = model.get_layer("norm")
    norm.set_weights([rng.uniform(0.5, 1.5, 4).astype(np.float32) for _ in norm.weights])
    return model


def test_batch_norms_take_the_factors_of_the_activation_behind_them() -> None:
    model = _with_norms()
    before, ranges = _answers(model), _ranges(model, "relu")
    # Frozen layers have no trainable variables.
    model.trainable = False
    equalised, factors = equalise_channels(model, PIXELS)
    np.testing.assert_allclose(_answers(equalised), before, atol=ROUNDING)
    np.testing.assert_allclose(_ranges(equalised, "relu"), np.minimum(ranges, np.median(ranges)), rtol=1e-5)
    np.testing.assert_array_equal(factors["relu"], factors["norm"])
    for found, expected in zip(
        equalised.get_layer("first").get_weights(), model.get_layer("first").get_weights(), strict=True
    ):
        np.testing.assert_array_equal(found, expected)


@pytest.mark.parametrize(
    ("options", "left"),
    [
        # Two layers use the output of the first activation, an addition that of the second one.
        ({"residual": True}, {"norm", "second"}),
        ({"scale": False}, {"norm"}),
        ({"relu": {"max_value": 6.0}}, {"norm"}),
        ({"relu": {"negative_slope": 0.1}}, {"norm"}),
    ],
)
def test_what_does_not_commute_with_factors_is_left_alone(options: dict[str, Any], left: set[str]) -> None:
    model = _with_norms(**options)
    equalised, factors = equalise_channels(model, PIXELS)
    assert not factors.keys() & left
    np.testing.assert_allclose(_answers(equalised), _answers(model), atol=ROUNDING)


def test_layers_of_silent_channels_are_left_alone() -> None:
    model = _with_norms()
    kernel, bias = model.get_layer("second").get_weights()
    bias[:3] = -1e6
    model.get_layer("second").set_weights([kernel, bias])
    _, factors = equalise_channels(model, PIXELS)
    assert "second" not in factors
