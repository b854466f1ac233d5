"""Networks with a published backbone: sizes, heads, trainable layers of each phase, input normalisation."""

from collections.abc import Callable
from typing import Any

import keras
import numpy as np
import pytest

from fracture_edge.errors import FractureEdgeError
from train.architectures import backbone_layers, build, set_trainable
from train.recipes.recipe import Phase, load_recipe

NAMES = ("resnet50", "vgg16", "densenet121", "efficientnetv2b0")
VGG_FILTERS = (64, 64, 128, 128, 256, 256, 256, 512, 512, 512, 512, 512, 512)
GREY = np.arange(256, dtype=np.uint8).reshape(1, 16, 16, 1).repeat(2, axis=1).repeat(2, axis=2)

Build = Callable[[str], keras.Model]


@pytest.fixture(scope="module")
def full() -> Build:
    """Networks for 224x224, built once."""
    built: dict[str, keras.Model] = {}

    def get(name: str) -> keras.Model:
        if name not in built:
            built[name] = build(name, 224, 224)
        set_trainable(built[name], "all")
        return built[name]

    return get


def _resnet50() -> int:
    """Without the classifier; every convolution has a bias, every batch norm four values a channel."""
    total, channels = 7 * 7 * 3 * 64 + 64 + 4 * 64, 64
    for f, blocks in ((64, 3), (128, 4), (256, 6), (512, 3)):
        for block in range(blocks):
            total += channels * f + f + 4 * f  # 1x1
            total += 9 * f * f + f + 4 * f  # 3x3
            total += f * 4 * f + 4 * f + 4 * 4 * f  # 1x1
            if block == 0:
                total += channels * 4 * f + 4 * f + 4 * 4 * f  # shortcut
            channels = 4 * f
    return total


def _vgg16() -> int:
    return sum(9 * before * f + f for before, f in zip((3, *VGG_FILTERS), VGG_FILTERS, strict=False))


def test_resnet50_has_the_references_parameters(full: Build) -> None:
    # 23,587,712 of the backbone, 2048 * 256 + 256 of the hidden layer, 256 + 1 of the last.
    assert full("resnet50").count_params() == _resnet50() + 524_544 + 257 == 24_112_513


def test_vgg16_has_the_references_parameters(full: Build) -> None:
    # 14,714,688 of the backbone; 224 / 2^5 = 7, so the hidden layer has 7 * 7 * 512 * 256 + 256; the last 257.
    assert full("vgg16").count_params() == _vgg16() + 6_422_784 + 257 == 21_137_729


@pytest.mark.parametrize(
    ("name", "published", "features"), [("densenet121", 7_037_504, 1024), ("efficientnetv2b0", 5_919_312, 1280)]
)
def test_other_backbones_have_only_the_last_layer_more(
    name: str, published: int, features: int, full: Build
) -> None:
    # The backbones' totals are those that Keras states for include_top=False.
    assert full(name).count_params() == published + features + 1


def _head(model: keras.Model) -> list[tuple[Any, ...]]:
    after = model.layers.index(backbone_layers(model)[-1]) + 1
    return [
        (
            type(layer).__name__,
            layer.name,
            *((layer.units, layer.activation.__name__) if isinstance(layer, keras.layers.Dense) else ()),
        )
        for layer in model.layers[after:]
    ]


@pytest.mark.parametrize(
    ("name", "pool", "hidden"),
    [
        ("resnet50", "GlobalAveragePooling2D", True),
        ("vgg16", "Flatten", True),
        ("densenet121", "GlobalAveragePooling2D", False),
        ("efficientnetv2b0", "GlobalAveragePooling2D", False),
    ],
)
def test_heads(name: str, pool: str, hidden: bool, full: Build) -> None:
    assert _head(full(name)) == [
        (pool, "pool"),
        *([("Dense", "hidden", 256, "relu")] if hidden else []),
        ("Dense", "probability", 1, "sigmoid"),
    ]


def test_options_of_the_head() -> None:
    model = build("resnet50", 32, 32, units=0, dropout=0.3)
    assert _head(model) == [
        ("GlobalAveragePooling2D", "pool"),
        ("Dropout", "dropout"),
        ("Dense", "probability", 1, "sigmoid"),
    ]
    assert model.get_layer("dropout").rate == 0.3
    assert ("Dense", "hidden", 17, "relu") in _head(build("densenet121", 32, 32, units=17))


def _trained(model: keras.Model, phase: Phase) -> tuple[set[str], int]:
    """List the layers with trainable weights in a phase, and count the weights."""
    set_trainable(model, phase.trainable, phase.last_layers)
    names = {layer.name for layer in model.layers if layer.trainable_variables}
    return names, sum(int(np.prod(variable.shape)) for variable in model.trainable_variables)


@pytest.mark.parametrize("recipe", ["notebook", "corrected"])
def test_phases_of_resnet50(recipe: str, full: Build) -> None:
    model = full("resnet50")
    first, second = load_recipe("resnet50", recipe).phases
    assert _trained(model, first) == ({"hidden", "probability"}, 524_801)
    block = {f"conv5_block3_{n}_{kind}" for n in (1, 2, 3) for kind in ("conv", "bn")}
    kernels = 2048 * 512 + 512 + 9 * 512 * 512 + 512 + 512 * 2048 + 2048
    # Gamma and beta; the running moments are not trained.
    norms = 2 * (512 + 512 + 2048)
    assert _trained(model, second) == ({"hidden", "probability", *block}, 524_801 + kernels + norms)
    # Its activations and its addition make up the ten.
    assert {layer.name for layer in backbone_layers(model)[-10:]} == block | {
        "conv5_block3_1_relu", "conv5_block3_2_relu", "conv5_block3_add", "conv5_block3_out"
    }  # fmt: skip


def test_phases_of_vgg16(full: Build) -> None:
    model = full("vgg16")
    (phase,) = load_recipe("vgg16", "corrected").phases
    # 3 pooling layers and 7 convolutions; 6,423,041 is the head.
    convolutions = ["block3_conv3", *(f"block{b}_conv{n}" for b in (4, 5) for n in (1, 2, 3))]
    numbers = 9 * 256 * 256 + 256 + 9 * 256 * 512 + 512 + 5 * (9 * 512 * 512 + 512)
    assert _trained(model, phase) == ({"hidden", "probability", *convolutions}, 6_423_041 + numbers)
    (phase,) = load_recipe("vgg16", "notebook").phases
    assert _trained(model, phase) == ({layer.name for layer in model.layers if layer.weights}, 21_137_729)


def test_all_but_the_first_convolutions(full: Build) -> None:
    model = full("vgg16")
    count = len(backbone_layers(model))
    assert _trained(model, Phase(1, 1.0, trainable="head", last_layers=count))[1] == 21_137_729
    assert _trained(model, Phase(1, 1.0, trainable="head", last_layers=count - 2))[0] == {
        layer.name for layer in model.layers if layer.weights
    } - {"block1_conv1", "block1_conv2"}


@pytest.mark.parametrize("more", [1, 100])
def test_more_layers_than_there_are(more: int, full: Build) -> None:
    model = full("vgg16")
    count = len(backbone_layers(model))
    assert _trained(model, Phase(1, 1.0, trainable="head", last_layers=count + more))[1] == 21_137_729


def test_last_layers_of_custom_cnn() -> None:
    # Two blocks of four layers.
    model = build("custom_cnn", 32, 32, filters=(4, 6, 8), units=10)
    names, _ = _trained(model, Phase(1, 1.0, trainable="head", last_layers=8))
    assert names == {"conv2", "norm2", "conv3", "norm3", "hidden", "hidden_norm", "probability"}


def _normalised(model: keras.Model) -> np.ndarray:
    return np.asarray(keras.Model(model.input, model.get_layer("normalise").output)(GREY))


@pytest.mark.parametrize("name", ["resnet50", "vgg16"])
def test_caffe_normalisation_is_exact(name: str) -> None:
    rgb = GREY.repeat(3, axis=-1).astype(np.float32)
    expected = getattr(keras.applications, name).preprocess_input(rgb)
    np.testing.assert_array_equal(_normalised(build(name, 32, 32)), expected)


def test_densenet_normalisation() -> None:
    rgb = GREY.repeat(3, axis=-1).astype(np.float32)
    expected = keras.applications.densenet.preprocess_input(rgb)
    # float32, with the division folded into one factor.
    np.testing.assert_allclose(_normalised(build("densenet121", 32, 32)), expected, atol=1e-6)


def test_efficientnet_normalisation_is_that_of_its_own_first_layers() -> None:
    published = keras.applications.EfficientNetV2B0(
        include_preprocessing=True, include_top=False, weights=None, input_shape=(32, 32, 3)
    )
    kinds = [type(layer).__name__ for layer in published.layers[1:3]]
    assert kinds == ["Rescaling", "Normalization"]
    first = keras.Model(published.input, published.layers[2].output)
    expected = np.asarray(first(GREY.repeat(3, axis=-1).astype(np.float32)))
    np.testing.assert_allclose(_normalised(build("efficientnetv2b0", 32, 32)), expected, atol=1e-6)
    # No second standardisation behind it.
    assert not any(isinstance(x, keras.layers.Normalization) for x in build("efficientnetv2b0", 32, 32).layers)


@pytest.mark.parametrize("name", NAMES)
def test_unit_normalisation_and_stable_names(name: str) -> None:
    first, second = build(name, 32, 32, normalisation="unit"), build(name, 32, 32)
    np.testing.assert_allclose(_normalised(first), (GREY / 255).repeat(3, axis=-1), atol=1e-7)
    # Not numbered by what else the process has built: weight files and records name layers.
    assert [layer.name for layer in first.layers] == [layer.name for layer in second.layers]
    paths = [weight.path for weight in second.weights]
    assert [weight.path for weight in first.weights] == paths
    assert len(set(paths)) == len(paths)
    # All in one model, under Keras's own names.
    assert not any(isinstance(layer, keras.Model) for layer in first.layers)


def test_layer_names_are_keras_own() -> None:
    published = keras.applications.VGG16(include_top=False, weights=None, input_shape=(32, 32, 3))
    assert [layer.name for layer in backbone_layers(build("vgg16", 32, 32))] == [
        layer.name for layer in published.layers[1:]
    ]


def test_wrong_options() -> None:
    with pytest.raises(
        FractureEdgeError, match="normalisation: must be one of: 'backbone', 'unit'; not 'imagenet'"
    ):
        build("vgg16", 32, 32, normalisation="imagenet")
    with pytest.raises(FractureEdgeError, match=r"architecture 'resnet50': .*'filters'"):
        build("resnet50", 32, 32, filters=3)
    with pytest.raises(FractureEdgeError, match="vgg16 at 16x48: "):
        build("vgg16", 16, 48)
