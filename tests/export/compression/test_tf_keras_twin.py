from typing import Any

import keras
import numpy as np
import pytest

from export.compression.tf_keras_twin import check_twin, from_twin, to_twin
from fracture_edge.errors import FractureEdgeError
from train.architectures import build

SMALL: dict[str, dict[str, Any]] = {
    "custom_cnn": {"filters": (4, 4, 6), "units": 8},
    "edge": {"filters": 0.25, "depth": 0.5},
    "resnet50": {},
    "efficientnetv2b0": {},
}


def _model(name: str) -> keras.Model:
    keras.utils.set_random_seed(0)
    model = build(name, 32, 32, **SMALL[name])
    rng = np.random.default_rng(1)
    for layer in model.layers:
        if isinstance(layer, keras.layers.BatchNormalization):
            gamma, beta, mean, variance = layer.get_weights()
            # All four different, so that none can be taken for another.
            layer.set_weights([gamma * 0.9, beta + 0.1, mean - 0.05, variance * rng.uniform(0.8, 1.2, len(gamma))])
    return model


@pytest.fixture(scope="module")
def pixels() -> Any:
    return np.random.default_rng(2).integers(0, 256, (4, 32, 32, 1), np.uint8)


@pytest.mark.parametrize(
    "name",
    [
        "custom_cnn",
        "edge",
        *(pytest.param(name, marks=pytest.mark.slow) for name in ("resnet50", "efficientnetv2b0")),
    ],
)
def test_twin_has_names_weights_and_answers(name: str, pixels: Any) -> None:
    model = _model(name)
    twin = to_twin(model)
    assert [layer.name for layer in twin.layers] == [layer.name for layer in model.layers]
    assert (twin.name, twin.input.dtype.name, twin.input.shape[1:]) == (name, "uint8", (32, 32, 1))
    for layer in model.layers:
        for here, there in zip(layer.get_weights(), twin.get_layer(layer.name).get_weights(), strict=True):
            np.testing.assert_array_equal(here, there)
    assert check_twin(model, twin, pixels) <= 1e-5


def test_weights_come_back_and_the_source_is_kept(pixels: Any) -> None:
    model = _model("custom_cnn")
    twin = to_twin(model)
    before = np.asarray(model(pixels, training=False))
    kernel, bias = twin.get_layer("probability").get_weights()
    twin.get_layer("probability").set_weights([kernel, bias + 0.5])
    with pytest.raises(FractureEdgeError, match=r"custom_cnn and its tf_keras twin differ by 1\.\de-01"):
        check_twin(model, twin, pixels)
    back = from_twin(twin, model)
    assert check_twin(back, twin, pixels) <= 1e-5
    odds = before / (1 - before) * np.exp(0.5)
    np.testing.assert_allclose(back(pixels, training=False), odds / (1 + odds), atol=1e-6)
    np.testing.assert_array_equal(model(pixels, training=False), before)


def test_no_number_is_a_difference(pixels: Any) -> None:
    model = _model("custom_cnn")
    twin = to_twin(model)
    kernel, bias = twin.get_layer("probability").get_weights()
    twin.get_layer("probability").set_weights([kernel, bias * np.nan])
    with pytest.raises(FractureEdgeError, match="differ by nan"):
        check_twin(model, twin, pixels)


def test_unknown_layers_are_named() -> None:
    image = keras.Input((8, 8, 1), dtype="uint8", name="image")
    x = keras.layers.UnitNormalization(name="larger")(keras.layers.Rescaling(1.0)(image))
    with pytest.raises(FractureEdgeError, match="layer 'larger': no tf_keras twin of a UnitNormalization"):
        to_twin(keras.Model(image, x))
