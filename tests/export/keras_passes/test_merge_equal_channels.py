from typing import Any

import keras
import numpy as np
import pytest
from keras import layers

from export.keras_passes.fold_batch_norms import fold_batch_norms
from export.keras_passes.merge_equal_channels import merge_equal_channels
from train.architectures import build

# Only the order of float32 products changes; log-odds of these networks stay below 10.
ROUNDING = 2e-6


@pytest.fixture(scope="module")
def pixels() -> Any:
    return np.random.default_rng(2).integers(0, 256, (6, 40, 32, 1), np.uint8)


def _answers(model: keras.Model, pixels: Any) -> Any:
    return np.asarray(model(pixels, training=False))


@pytest.mark.parametrize("folded", [False, True])
def test_the_first_convolution_reads_one_channel(pixels: Any, folded: bool) -> None:
    keras.utils.set_random_seed(0)
    model = build("custom_cnn", 40, 32, filters=(4, 6, 8), units=8)
    if folded:
        model = fold_batch_norms(model)
    merged = merge_equal_channels(model)
    kernel = model.get_layer("conv1").get_weights()[0]
    assert (kernel.shape, merged.get_layer("conv1").get_weights()[0].shape) == ((3, 3, 3, 4), (3, 3, 1, 4))
    np.testing.assert_allclose(merged.get_layer("conv1").get_weights()[0][:, :, 0], kernel.sum(axis=2), atol=1e-6)
    names = [layer.name for layer in model.layers]
    assert [layer.name for layer in merged.layers] == [name for name in names if name != "three_channels"]
    before = _answers(model, pixels)
    np.testing.assert_allclose(_answers(merged, pixels), before, atol=ROUNDING)
    assert before.std() > 100 * ROUNDING


def test_a_notebook_backbone_reads_one_channel(pixels: Any) -> None:
    # Grey / 255 in every channel; zero padding is black in each.
    model = build("vgg16", 40, 32, normalisation="unit", units=4)
    merged = merge_equal_channels(model)
    assert merged.get_layer("block1_conv1").get_weights()[0].shape == (3, 3, 1, 64)
    np.testing.assert_allclose(_answers(merged, pixels), _answers(model, pixels), atol=ROUNDING)


@pytest.mark.parametrize("name", ["vgg16", "edge"])
def test_other_networks_are_left_alone(name: str) -> None:
    # The means of ImageNet differ by channel; `edge` reads one channel already.
    model = build(name, 32, 32, **({"filters": 0.25} if name == "edge" else {"units": 4}))
    assert merge_equal_channels(model) is model


def test_different_channels_are_left_alone() -> None:
    image = keras.Input((8, 8, 1), dtype="uint8", name="image")
    grey = layers.Rescaling(1.0)(image)
    both = layers.Concatenate()([grey, layers.Rescaling(0.5)(grey)])
    model = keras.Model(image, layers.Conv2D(2, 3)(both))
    assert merge_equal_channels(model) is model
