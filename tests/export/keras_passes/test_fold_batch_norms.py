from typing import Any

import keras
import numpy as np
import pytest
from keras import layers

from export.keras_passes.fold_batch_norms import fold_batch_norms, layer_inputs, output_scales
from fracture_edge.errors import FractureEdgeError
from train.architectures import build

# Folding changes only the order of float32 products; log-odds of these networks stay below 10.
ROUNDING = 2e-6


def _shake_norms(model: keras.Model, seed: int, *, least: float = 0.5) -> None:
    """Norms as training leaves them: nothing at 0 or 1."""
    rng = np.random.default_rng(seed)
    for layer in model.layers:
        if isinstance(layer, layers.BatchNormalization):
            count = layer.gamma.shape[0]
            mean, variance = rng.normal(0, 0.3, count), rng.uniform(0.3, 2, count)
            layer.set_weights([rng.uniform(least, 1.5, count), rng.normal(0, 0.5, count), mean, variance])


@pytest.fixture
def model() -> keras.Model:
    keras.utils.set_random_seed(0)
    model = build("custom_cnn", 40, 32, filters=(4, 6, 8), units=8)
    _shake_norms(model, 1)
    return model


@pytest.fixture(scope="module")
def pixels() -> Any:
    return np.random.default_rng(2).integers(0, 256, (6, 40, 32, 1), np.uint8)


def _answers(model: keras.Model, pixels: Any) -> Any:
    return np.asarray(model(pixels, training=False))


def test_custom_cnn_answers_the_same_without_norms_and_dropout(model: keras.Model, pixels: Any) -> None:
    before = _answers(model, pixels)
    folded = fold_batch_norms(model)
    np.testing.assert_allclose(_answers(folded, pixels), before, atol=ROUNDING)
    assert before.std() > 100 * ROUNDING
    gone = (layers.BatchNormalization, layers.Dropout)
    assert [layer.name for layer in folded.layers] == [
        layer.name for layer in model.layers if not isinstance(layer, gone)
    ]
    assert (folded.name, folded.input.name, folded.input.dtype) == ("custom_cnn", "image", "uint8")
    assert folded.get_layer("grey_levels").get_config()["scale"] == 1.0
    np.testing.assert_array_equal(_answers(model, pixels), before)


def test_the_layer_before_takes_the_scale_and_the_next_one_the_shift(model: keras.Model) -> None:
    folded = fold_batch_norms(model)
    gamma, beta, mean, variance = model.get_layer("norm1").get_weights()
    scale = gamma / np.sqrt(variance + model.get_layer("norm1").epsilon)
    for found, before in zip(
        folded.get_layer("conv1").get_weights(), model.get_layer("conv1").get_weights(), strict=True
    ):
        np.testing.assert_allclose(found, before * scale, rtol=1e-6)
    np.testing.assert_allclose(output_scales(model)["conv1"], scale, rtol=1e-6)
    kernel, bias = model.get_layer("conv2").get_weights()
    own = output_scales(model)["conv2"]
    moved = np.tensordot(kernel, beta - mean * scale, axes=([2], [0])).sum(axis=(0, 1))
    np.testing.assert_allclose(folded.get_layer("conv2").get_weights()[0], kernel * own, rtol=1e-6)
    # Sums of 36 products in float32.
    np.testing.assert_allclose(folded.get_layer("conv2").get_weights()[1], (bias + moved) * own, atol=1e-5)


def test_a_silent_channel_does_not_rule_the_next_kernel(model: keras.Model, pixels: Any) -> None:
    # It never fires: variance 0, and a scale of 1 / sqrt(epsilon) = 31.6 against 0.3 to 1.
    norm = model.get_layer("norm2")
    gamma, beta, mean, variance = norm.get_weights()
    gamma[0], variance[0] = 1.0, 0.0
    norm.set_weights([gamma, beta, mean, variance])
    before = np.abs(model.get_layer("conv3").get_weights()[0]).max()
    folded = fold_batch_norms(model)
    own = output_scales(model)["conv3"]
    assert np.abs(folded.get_layer("conv3").get_weights()[0] / own).max() == pytest.approx(before, rel=1e-6)
    np.testing.assert_allclose(_answers(folded, pixels), _answers(model, pixels), atol=ROUNDING)


def test_a_channel_with_the_scale_0_keeps_its_weights(model: keras.Model, pixels: Any) -> None:
    gamma, *others = model.get_layer("norm1").get_weights()
    gamma[2] = 0.0
    model.get_layer("norm1").set_weights([gamma, *others])
    assert output_scales(model)["conv1"][2] == 1.0
    np.testing.assert_allclose(_answers(fold_batch_norms(model), pixels), _answers(model, pixels), atol=ROUNDING)


def test_norm_with_a_negative_scale_stays_only_where_pooling_follows(model: keras.Model, pixels: Any) -> None:
    for name in ("norm2", "hidden_norm"):
        gamma, *others = model.get_layer(name).get_weights()
        gamma[1] = -gamma[1]
        model.get_layer(name).set_weights([gamma, *others])
    folded = fold_batch_norms(model)
    norms = [layer.name for layer in folded.layers if isinstance(layer, layers.BatchNormalization)]
    assert norms == ["norm2"]
    np.testing.assert_allclose(_answers(folded, pixels), _answers(model, pixels), atol=ROUNDING)


def _small(
    padding: str = "valid", *, both: bool = False, bias: bool = True, activation: str = "relu"
) -> keras.Model:
    keras.utils.set_random_seed(3)
    image = keras.Input((12, 12, 1), dtype="uint8", name="image")
    x = layers.Rescaling(1 / 255)(image)
    x = layers.Conv2D(4, 3, activation=activation, name="first")(x)
    x = normed = layers.BatchNormalization(name="norm")(x)
    x = layers.Conv2D(5, 3, padding=padding, use_bias=bias, name="second")(x)
    x = layers.GlobalAveragePooling2D()(x)
    if both:
        x = layers.Concatenate()([x, layers.GlobalAveragePooling2D()(normed)])
    model = keras.Model(image, layers.Dense(1, activation="sigmoid", name="probability")(x))
    _shake_norms(model, 4)
    return model


def test_a_convolution_without_bias_gets_one(pixels: Any) -> None:
    model = _small(bias=False)
    folded = fold_batch_norms(model)
    assert folded.get_layer("second").use_bias
    some = pixels[:, :12, :12]
    np.testing.assert_allclose(_answers(folded, some), _answers(model, some), atol=ROUNDING)


def test_a_scale_goes_forward_where_the_layer_before_has_no_relu(pixels: Any) -> None:
    model = _small(activation="silu")
    assert output_scales(model) == {}
    folded = fold_batch_norms(model)
    np.testing.assert_array_equal(
        folded.get_layer("first").get_weights()[0], model.get_layer("first").get_weights()[0]
    )
    some = pixels[:, :12, :12]
    np.testing.assert_allclose(_answers(folded, some), _answers(model, some), atol=ROUNDING)


def test_padded_convolution_and_branches_keep_their_norm() -> None:
    for model in (_small("same"), _small(both=True)):
        assert fold_batch_norms(model) is model


@pytest.mark.parametrize("name", ["edge", "resnet50"])
def test_norms_directly_behind_convolutions_are_left_to_the_converters(name: str) -> None:
    model = build(name, 32, 32, **({"filters": 0.25} if name == "edge" else {}))
    assert fold_batch_norms(model) is model


def test_layer_inputs_are_named_in_order(model: keras.Model) -> None:
    inputs = layer_inputs(model)
    assert inputs["image"] == []
    assert inputs["three_channels"] == ["grey_levels"] * 3
    assert inputs["probability"] == ["hidden_dropout"]
    shared = layers.Dense(3, name="shared")
    image = keras.Input((3,))
    with pytest.raises(FractureEdgeError, match="layer 'shared' is used 2 times"):
        layer_inputs(keras.Model(image, shared(shared(image))))
