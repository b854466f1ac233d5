from collections.abc import Callable
from pathlib import Path

import keras
import numpy as np
import pytest

from fracture_edge.errors import FractureEdgeError
from train.architectures import ARCHITECTURES, after_grey_levels, build

Liven = Callable[[keras.Model, np.ndarray], keras.Model]
TINY = {"edge": {"filters": 0.25}, "custom_cnn": {"filters": (4, 6, 8), "units": 10}}

#: Table 1 of the EfficientNet paper: (repeats, kernel, expansion, filters) of the seven stages.
STAGES = [
    (1, 3, 1, 16),
    (2, 3, 6, 24),
    (2, 5, 6, 40),
    (3, 3, 6, 80),
    (3, 5, 6, 112),
    (4, 5, 6, 192),
    (1, 3, 6, 320),
]


def _bytes(count: int, height: int, width: int) -> np.ndarray:
    """Noise, each image brighter than the one before."""
    random = np.random.default_rng(0)
    return np.stack([random.integers(20 * k, 20 * k + 80, (height, width, 1), np.uint8) for k in range(count)])


def test_custom_cnn_has_the_references_parameters() -> None:
    model = build("custom_cnn", 224, 224)
    # Without padding: 224 -> 222 -> 111 -> 109 -> 54 -> 52 -> 26, so Flatten gives 26 * 26 * 128.
    expected = {
        "conv1": 3 * 3 * 3 * 32 + 32,
        "norm1": 4 * 32,
        "conv2": 3 * 3 * 32 * 64 + 64,
        "norm2": 4 * 64,
        "conv3": 3 * 3 * 64 * 128 + 128,
        "norm3": 4 * 128,
        "hidden": 26 * 26 * 128 * 512 + 512,
        "hidden_norm": 4 * 512,
        "probability": 512 + 1,
    }
    assert {layer.name: layer.count_params() for layer in model.layers if layer.count_params()} == expected
    assert model.count_params() == sum(expected.values()) == 44_399_553


def test_custom_cnn_layers() -> None:
    model = build("custom_cnn", 64, 64, **TINY["custom_cnn"])
    block = ("Conv2D", "BatchNormalization", "MaxPooling2D", "Dropout")
    assert [type(layer).__name__ for layer in model.layers] == [
        "InputLayer",
        "Rescaling",
        "Concatenate",
        "Rescaling",
        *block * 3,
        "Flatten",
        "Dense",
        "BatchNormalization",
        "Dropout",
        "Dense",
    ]
    rates = {layer.name: layer.rate for layer in model.layers if isinstance(layer, keras.layers.Dropout)}
    assert rates == {"dropout1": 0.25, "dropout2": 0.25, "dropout3": 0.25, "hidden_dropout": 0.5}
    assert [model.get_layer(f"conv{n}").kernel_size for n in (1, 2, 3)] == [(3, 3)] * 3
    assert [model.get_layer(f"pool{n}").pool_size for n in (1, 2, 3)] == [(2, 2)] * 3
    activations = {"conv1": "relu", "conv3": "relu", "hidden": "relu", "probability": "sigmoid"}
    assert {name: model.get_layer(name).activation.__name__ for name in activations} == activations


def test_edge_is_lite0_with_a_one_channel_stem() -> None:
    model = build("edge", 224, 224)
    kernels, norms, channels = 3 * 3 * 1 * 32, 32, 32
    for repeats, kernel, expansion, filters in STAGES:
        for _ in range(repeats):
            wide = channels * expansion
            if expansion > 1:
                kernels, norms = kernels + channels * wide, norms + wide
            kernels += kernel * kernel * wide + wide * filters
            norms, channels = norms + wide + filters, filters
    kernels, norms = kernels + 320 * 1280, norms + 1280
    head = (1280 + 1) + (1280 + 1) + (1 + 1)  # cells, pooled_evidence, probability
    assert model.count_params() == kernels + 4 * norms + head
    # The published network has 4,652,008 trainable parameters: less its classifier and two stem channels.
    assert kernels + 2 * norms == 4_652_008 - (1280 * 1000 + 1000) - 2 * 3 * 3 * 32
    assert model.count_params() == 3_415_012
    assert model.get_layer("top_relu").output.shape == (None, 7, 7, 1280)
    assert model.get_layer("cells").output.shape == (None, 7, 7, 1)


def test_edge_layer_names_and_strides() -> None:
    model = build("edge", 64, 64, filters=0.25)
    blocks = sum(repeats for repeats, *_ in STAGES)
    names = [layer.name for layer in model.layers]
    assert [name for name in names if name.endswith("_depthwise_conv")] == [
        f"block{k:02d}_depthwise_conv" for k in range(blocks)
    ]
    assert "block00_expand_conv" not in names
    # A block adds its input where neither stride nor filters change: all but the first of each stage.
    assert [name for name in names if name.endswith("_add")] == [
        f"block{k:02d}_add" for k in (2, 4, 6, 7, 9, 10, 12, 13, 14)
    ]
    strides = [model.get_layer(f"block{k:02d}_depthwise_conv").strides[0] for k in range(blocks)]
    assert strides == [1, 2, 1, 2, 1, 2, 1, 1, 1, 1, 1, 2, 1, 1, 1, 1]
    kernels = [model.get_layer(f"block{k:02d}_depthwise_conv").kernel_size[0] for k in range(blocks)]
    assert kernels == [3, 3, 3, 5, 5, 3, 3, 3, 5, 5, 5, 5, 5, 5, 5, 3]
    assert all(layer.max_value == 6 for layer in model.layers if isinstance(layer, keras.layers.ReLU))
    norms = [layer for layer in model.layers if isinstance(layer, keras.layers.BatchNormalization)]
    assert {layer.epsilon for layer in norms} == {1e-3}


def test_edge_drops_paths_more_and_more() -> None:
    model = build("edge", 64, 64, filters=0.25, drop_path=0.16, dropout=0.4)
    rates = {k: model.get_layer(f"block{k:02d}_drop").rate for k in (2, 4, 14)}
    # Linear from 0 at the first of 16 blocks.
    assert rates == pytest.approx({2: 0.02, 4: 0.04, 14: 0.14}, abs=1e-12)
    assert model.get_layer("dropout").rate == 0.4


def test_edge_head_is_strongest_cell_plus_pooled_term(liven: Liven) -> None:
    model = liven(build("edge", 64, 64, filters=0.25), _bytes(8, 64, 64))
    probe = keras.Model(model.input, [model.get_layer(n).output for n in ("top_relu", "cells", "probability")])
    features, cells, probability = (np.asarray(value) for value in probe(_bytes(3, 64, 64)))
    kernel, bias = model.get_layer("pooled_evidence").get_weights()
    scale, shift = model.get_layer("probability").get_weights()
    evidence = cells.max(axis=(1, 2)) + features.mean(axis=(1, 2)) @ kernel + bias
    assert np.ptp(probability) > 1e-3
    # float32 sums over 320 features.
    np.testing.assert_allclose(probability, 1 / (1 + np.exp(-(evidence @ scale + shift))), atol=1e-5)


def test_deep_evidence_is_averages_and_maxima_of_the_last_maps(liven: Liven) -> None:
    model = liven(build("edge", 64, 64, filters=0.25, deep_evidence=True), _bytes(8, 64, 64))
    # Residual sums of the last stage but one, whose maps are as large as the last one: 2 x 2 places here.
    names = ["top_relu", "block12_add", "block13_add", "block14_add"]
    maps = [model.get_layer(name).output for name in names]
    assert [x.shape for x in maps] == [(None, 2, 2, 320)] + 3 * [(None, 2, 2, 48)]
    asked = [*maps, model.get_layer("evidence_features").output]
    *found, features = (np.asarray(x) for x in keras.Model(model.input, asked)(_bytes(3, 64, 64)))
    expected = [pooled(x, axis=(1, 2)) for x in found for pooled in (np.mean, np.max)]
    np.testing.assert_allclose(features, np.concatenate(expected, axis=1), rtol=1e-5, atol=1e-6)
    assert model.get_layer("pooled_evidence").kernel.shape == (2 * (320 + 3 * 48), 1)


#: Hundreds of layers that take long to trace.
DEEP = {"densenet121", "efficientnetv2b0", "resnet50"}


@pytest.mark.parametrize(
    "name",
    [pytest.param(name, marks=pytest.mark.slow) if name in DEEP else name for name in sorted(ARCHITECTURES)],
)
def test_contract_of_every_architecture(name: str, tmp_path: Path, liven: Liven) -> None:
    keras.utils.set_random_seed(0)
    model = liven(build(name, 64, 48, **TINY.get(name, {})), _bytes(8, 64, 48))
    assert model.name == name
    assert (model.input.name, model.input.dtype, model.input_shape) == ("image", "uint8", (None, 64, 48, 1))
    assert (model.layers[-1].name, model.output_shape, model.output.dtype) == ("probability", (None, 1), "float32")
    grey = model.layers[1]
    images = _bytes(2, 64, 48)
    assert grey.name == "grey_levels"
    np.testing.assert_array_equal(np.asarray(grey(images)), images.astype(np.float32))

    outputs = np.asarray(model(images))
    assert ((outputs > 0) & (outputs < 1)).all()
    assert abs(outputs[0] - outputs[1]) > 1e-3
    body = after_grey_levels(model)
    assert body.name == f"{name}_body"
    np.testing.assert_array_equal(np.asarray(body(images.astype(np.float32))), outputs)

    model.save(tmp_path / "model.keras")
    loaded = keras.saving.load_model(tmp_path / "model.keras", compile=False)
    np.testing.assert_array_equal(np.asarray(loaded(images)), outputs)


def test_custom_cnn_sees_grey_in_three_equal_channels() -> None:
    model = build("custom_cnn", 64, 64, **TINY["custom_cnn"])
    images = _bytes(1, 64, 64)
    first = keras.Model(model.input, model.get_layer("normalise").output)(images)
    # float32 division by 255.
    np.testing.assert_allclose(first, np.repeat(images / 255, 3, axis=-1), atol=1e-6)


def test_edge_normalises_as_published() -> None:
    model = build("edge", 64, 64, filters=0.25)
    images = _bytes(1, 64, 64)
    values = keras.Model(model.input, model.get_layer("normalise").output)(images)
    np.testing.assert_allclose(values, (images.astype(np.float64) - 127) / 128, atol=1e-6)


def test_unknown_names() -> None:
    with pytest.raises(
        FractureEdgeError,
        match="no architecture 'vgg'; must be one of: resnet50, vgg16, custom_cnn, edge, densenet121, eff",
    ):
        build("vgg", 64, 64)
    with pytest.raises(FractureEdgeError, match=r"architecture 'edge': .*'layers'"):
        build("edge", 64, 64, layers=3)
