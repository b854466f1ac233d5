"""Training with the fused batch norm kernel equals training with Keras's own."""

from pathlib import Path

import keras
import numpy as np
import pytest
from keras import layers

from train.trainer.batch_norm import fused_batch_norms


def _model(*, axis: int = -1, scale: bool = True, dtype: str = "float32") -> keras.Model:
    keras.utils.set_random_seed(3)
    image = keras.Input((6, 5, 2))
    x = layers.Conv2D(4, 3, dtype=dtype)(image)
    x = layers.BatchNormalization(axis=axis, scale=scale, momentum=0.8, epsilon=1e-3, dtype=dtype, name="norm")(x)
    return keras.Model(image, layers.Dense(1, name="last")(layers.GlobalMaxPooling2D()(x)))


def _data() -> tuple[np.ndarray, np.ndarray]:
    random = np.random.default_rng(0)
    return random.normal(2, 3, (16, 6, 5, 2)).astype(np.float32), random.normal(size=(16, 1)).astype(np.float32)


def _trained(model: keras.Model, *, fused: bool) -> list[np.ndarray]:
    images, targets = _data()

    def steps() -> None:
        model.compile("sgd", "mse")
        for _ in range(3):
            model.train_on_batch(images, targets)

    if fused:
        with fused_batch_norms(model):
            steps()
    else:
        steps()
    return [np.asarray(values) for values in model.get_weights()]


def test_steps_are_the_same() -> None:
    plain, fused = _trained(_model(), fused=False), _trained(_model(), fused=True)
    names = [weight.path for weight in _model().weights]
    for name, first, second in zip(names, plain, fused, strict=True):
        # The running variance is divided by N - 1 in place of N, N = 16 x 4 x 3, three times mixed in.
        rtol = 1.5 / 192 if name.endswith("moving_variance") else 1e-3
        np.testing.assert_allclose(second, first, rtol=rtol, atol=1e-4, err_msg=name)
    assert np.abs(fused[4] - _model().get_weights()[4]).max() > 0.5  # the running mean has moved


def test_running_statistics_are_those_of_the_batch() -> None:
    model = _model()
    images, _ = _data()
    before = np.asarray(keras.Model(model.input, model.layers[1].output)(images))
    with fused_batch_norms(model):
        model(images, training=True)
    mean, variance = model.get_layer("norm").get_weights()[2:]
    # From 0 and 1, a fifth of the way.
    np.testing.assert_allclose(mean, 0.2 * before.mean((0, 1, 2)), rtol=1e-4)
    np.testing.assert_allclose(variance, 0.8 + 0.2 * before.var((0, 1, 2), ddof=1), rtol=1e-4)


def test_bfloat16_keeps_its_statistics_in_float32() -> None:
    model = _model(dtype="mixed_bfloat16")
    norm = model.get_layer("norm")
    images, _ = _data()
    before = np.asarray(keras.Model(model.input, norm.input)(images)).astype(np.float32)
    with fused_batch_norms(model):
        assert "call" in vars(norm)
        normed = keras.Model(model.input, norm.output)(images, training=True)
    # The statistics of the rounded values, summed in float32: bfloat16 sums would be off by 2^-9 and more.
    mean, variance = norm.get_weights()[2:]
    np.testing.assert_allclose(mean, 0.2 * before.mean((0, 1, 2)), rtol=1e-4)
    np.testing.assert_allclose(variance, 0.8 + 0.2 * before.var((0, 1, 2), ddof=1), rtol=1e-4)
    expected = (before - before.mean((0, 1, 2))) / np.sqrt(before.var((0, 1, 2)) + 1e-3)
    # Eight bits: half a step of the values' size, which here are below 4.
    np.testing.assert_allclose(np.asarray(normed).astype(np.float32), expected, atol=2.0**-7)


def test_bfloat16_steps_are_as_good_as_keras_own() -> None:
    """Both deviate from float32 by rounding, and neither by more than the other."""
    exact = _trained(_model(), fused=False)
    plain = _trained(_model(dtype="mixed_bfloat16"), fused=False)
    fused = _trained(_model(dtype="mixed_bfloat16"), fused=True)
    for own, kernel, wanted in zip(plain, fused, exact, strict=True):
        assert np.abs(kernel - wanted).max() <= 2 * np.abs(own - wanted).max() + 0.01 * np.abs(wanted).max()


def test_the_original_call_is_restored(tmp_path: Path) -> None:
    model = _model()
    norm = model.get_layer("norm")
    with fused_batch_norms(model):
        assert "call" in vars(norm)
        images, _ = _data()
        inside = np.asarray(model(images, training=False))
    assert "call" not in vars(norm)
    np.testing.assert_array_equal(np.asarray(model(images, training=False)), inside)
    model.save(tmp_path / "model.keras")
    again = keras.saving.load_model(tmp_path / "model.keras")
    assert type(again.get_layer("norm")) is layers.BatchNormalization


def test_frozen_norms_stay_frozen() -> None:
    model = _model()
    norm = model.get_layer("norm")
    norm.trainable = False
    before = norm.get_weights()
    _trained(model, fused=True)
    for first, second in zip(before, norm.get_weights(), strict=True):
        np.testing.assert_array_equal(first, second)


@pytest.mark.parametrize("options", [{"axis": 1}, {"scale": False}])
def test_other_norms_are_left_alone(options: dict[str, int]) -> None:
    model = _model(**options)  # type: ignore[arg-type]
    with fused_batch_norms(model):
        assert "call" not in vars(model.get_layer("norm"))
