"""Weights of the published backbones: arrays, Keras's own files, and error messages when they do not fit."""

from pathlib import Path
from typing import Any

import h5py
import keras
import numpy as np
import pytest
from keras.src.utils import file_utils

from train.architectures import backbone_layers, build
from train.artifacts import read_record
from train.recipes.recipe import load_recipe, override
from train.runs.options import RunOptions
from train.runs.train_model import train_model
from train.weights import WeightsError, initialise

Arrays = dict[str, np.ndarray]
FILTERS = {
    "block1": (64, 64),
    "block2": (128, 128),
    "block3": (256,) * 3,
    "block4": (512,) * 3,
    "block5": (512,) * 3,
}
OFFLINE = "URL fetch failure on https://storage.googleapis.com/x.h5: None -- [Errno -2] Name or service not known"


@pytest.fixture(scope="module")
def arrays() -> Arrays:
    """VGG16's in its published shapes."""
    random, found, channels = np.random.default_rng(0), {}, 3
    for block, counts in FILTERS.items():
        for number, count in enumerate(counts, start=1):
            kernel = random.random((3, 3, channels, count), np.float32) - 0.5
            found[f"{block}_conv{number}/kernel"] = kernel.astype(np.float16)
            found[f"{block}_conv{number}/bias"] = (random.random(count, np.float32) - 0.5).astype(np.float16)
            channels = count
    return found


@pytest.fixture(scope="module")
def published(arrays: Arrays, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A file in the layout of Keras's published ones: groups of layers, with the names in attributes."""
    path = tmp_path_factory.mktemp("published") / "vgg16_notop.h5"
    layers = ["input_1"]
    for block, counts in FILTERS.items():
        layers += [*(f"{block}_conv{number + 1}" for number in range(len(counts))), f"{block}_pool"]
    with h5py.File(path, "w") as file:
        file.attrs["layer_names"] = [name.encode() for name in layers]
        file.attrs["backend"], file.attrs["keras_version"] = b"tensorflow", b"2.0.8"
        for layer in layers:
            group = file.create_group(layer)
            names = [f"{layer}/{part}:0" for part in ("kernel", "bias") if f"{layer}/{part}" in arrays]
            group.attrs["weight_names"] = [name.encode() for name in names]
            for name in names:
                group[name] = arrays[name.removesuffix(":0")].astype(np.float32)
    return path


@pytest.fixture
def vgg16() -> keras.Model:
    return build("vgg16", 32, 32)


def _save(path: Path, arrays: Arrays) -> str:
    np.savez(path, **arrays)
    return str(path)


def _check(model: keras.Model, arrays: Arrays) -> None:
    found = {f"{layer.name}/{weight.name}" for layer in backbone_layers(model) for weight in layer.weights}
    assert found == set(arrays)
    for name, value in arrays.items():
        layer, part = name.split("/")
        np.testing.assert_array_equal(getattr(model.get_layer(layer), part).numpy(), value.astype(np.float32))


def test_arrays_land_in_their_layers(vgg16: keras.Model, arrays: Arrays, tmp_path: Path) -> None:
    head = vgg16.get_layer("hidden").get_weights() + vgg16.get_layer("probability").get_weights()
    assert initialise(vgg16, _save(tmp_path / "vgg16.npz", arrays)) == "vgg16.npz"
    _check(vgg16, arrays)
    after = vgg16.get_layer("hidden").get_weights() + vgg16.get_layer("probability").get_weights()
    for value, kept in zip(after, head, strict=True):
        np.testing.assert_array_equal(value, kept)


def test_a_published_file(vgg16: keras.Model, arrays: Arrays, published: Path) -> None:
    assert initialise(vgg16, str(published)) == "vgg16_notop.h5"
    _check(vgg16, arrays)


def test_downloaded_weights(
    vgg16: keras.Model, arrays: Arrays, published: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = []

    def fetch(name: str, *_: Any, **__: Any) -> str:
        asked.append(name)
        return str(published)

    monkeypatch.setattr(file_utils, "get_file", fetch)
    assert initialise(vgg16, "imagenet") == "vgg16 ImageNet (keras.applications)"
    # Without the classifier, whatever the size of the input.
    assert asked == ["vgg16_weights_tf_dim_ordering_tf_kernels_notop.h5"]
    _check(vgg16, arrays)


def test_the_arrays_and_the_file_are_the_same_network(
    vgg16: keras.Model, arrays: Arrays, published: Path, tmp_path: Path
) -> None:
    images = np.random.default_rng(1).integers(0, 256, (2, 32, 32, 1), np.uint8)
    initialise(vgg16, _save(tmp_path / "vgg16.npz", arrays))
    other = keras.applications.VGG16(include_top=False, weights=str(published), input_shape=(32, 32, 3))
    rgb = keras.applications.vgg16.preprocess_input(images.repeat(3, axis=-1).astype(np.float32))
    features = keras.Model(vgg16.input, vgg16.get_layer("block5_pool").output)(images)
    # The same float32 operations in another graph.
    np.testing.assert_allclose(features, other(rgb), rtol=1e-4)


def _error(model: keras.Model, weights: object) -> str:
    before = [value.copy() for value in model.get_weights()]
    with pytest.raises(WeightsError) as caught:
        initialise(model, str(weights))
    for value, kept in zip(model.get_weights(), before, strict=True):
        np.testing.assert_array_equal(value, kept)
    return str(caught.value)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"block3_conv2/bias": None}, "1 arrays are missing, first: block3_conv2/bias"),
        (
            {"block3_conv2/bias": None, "block1_conv1/kernel": None},
            "2 arrays are missing, first: block1_conv1/kernel",
        ),
        ({"fc1/kernel": np.zeros(2)}, "1 arrays match no variable of the model, first: fc1/kernel"),
        (
            {"block5_conv3/kernel": np.zeros((3, 3, 512, 511))},
            "block5_conv3/kernel is (3, 3, 512, 511), the model's is (3, 3, 512, 512)",
        ),
        # A shape that broadcasts would otherwise be accepted silently.
        ({"block1_conv1/bias": np.zeros(1)}, "block1_conv1/bias is (1,), the model's is (64,)"),
        ({"block1_conv1/bias": np.zeros(())}, "block1_conv1/bias is (), the model's is (64,)"),
    ],
)
def test_arrays_that_do_not_fit(
    vgg16: keras.Model, arrays: Arrays, tmp_path: Path, change: dict[str, Any], message: str
) -> None:
    changed = {name: value for name, value in (arrays | change).items() if value is not None}
    path = _save(tmp_path / "vgg16.npz", changed)
    assert _error(vgg16, path) == f"{path}: {message}"


def test_arrays_of_another_backbone(arrays: Arrays, tmp_path: Path) -> None:
    path = _save(tmp_path / "vgg16.npz", arrays)
    message = _error(build("resnet50", 32, 32), path)
    # 53 convolutions with a bias, and as many batch norms.
    assert message == f"{path}: 318 arrays are missing, first: conv1_bn/beta"


def test_backbone_files_for_an_own_network(arrays: Arrays, published: Path, tmp_path: Path) -> None:
    model = build("custom_cnn", 32, 32, filters=(4, 6, 8), units=10)
    path = _save(tmp_path / "vgg16.npz", {"block1_conv1/bias": arrays["block1_conv1/bias"]})
    expected = f"{path}: backbone weights do not fit 'custom_cnn', which has no published backbone"
    assert _error(model, path) == expected
    assert _error(model, published) == (
        f"{published}: must be one of: .npz, .keras, .weights.h5, or .h5 of a published backbone"
    )


def test_a_published_file_of_another_backbone(published: Path) -> None:
    message = _error(build("resnet50", 32, 32), published)
    assert message.startswith(f"{published}: does not fit 'resnet50' (")


@pytest.mark.parametrize("content", [b"", b"no weights", b"\x89HDF\r\n\x1a\ncut off"])
def test_a_broken_file(vgg16: keras.Model, tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "vgg16.h5"
    path.write_bytes(content)
    assert _error(vgg16, path).startswith(f"{path}: does not fit 'vgg16' (")


@pytest.mark.parametrize(
    ("name", "application"),
    [("vgg16", "VGG16"), ("efficientnetv2b0", "EfficientNetV2B0")],
)
def test_imagenet_without_a_network(name: str, application: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: Any, **__: Any) -> str:
        # As keras.utils.get_file does.
        raise Exception(OFFLINE + "\nmore")  # noqa: TRY002

    model = build(name, 32, 32)
    monkeypatch.setattr(file_utils, "get_file", fail)
    assert _error(model, "imagenet") == (
        f"the ImageNet weights of '{name}' cannot be downloaded ({OFFLINE}). With a network, python -c 'import "
        f"keras; keras.applications.{application}(include_top=False)' stores them in ~/.keras/models: copy that "
        "folder here, or give the file with --weights, or --weights none"
    )


def test_custom_cnn_has_no_published_weights() -> None:
    model = build("custom_cnn", 32, 32, filters=(4, 6, 8), units=10)
    assert _error(model, "imagenet") == (
        "no ImageNet weights are known for 'custom_cnn'; give --weights none, or a file"
    )


@pytest.fixture(scope="module")
def published_resnet50(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Random weights under the name, and in the layout, of ResNet50's published file."""
    name = "resnet50_weights_tf_dim_ordering_tf_kernels_notop.h5"
    path = tmp_path_factory.mktemp("published") / name
    random, count = np.random.default_rng(0), 0
    kinds = ("kernel", "bias", "gamma", "beta", "moving_mean", "moving_variance")
    with h5py.File(path, "w") as file:
        layers = keras.applications.ResNet50(include_top=False, weights=None, input_shape=(32, 32, 3)).layers
        file.attrs["layer_names"] = [layer.name.encode() for layer in layers]
        file.attrs["backend"], file.attrs["keras_version"] = b"tensorflow", b"2.0.8"
        for layer in layers:
            group = file.create_group(layer.name)
            weights = {f"{layer.name}/{weight.name}:0": weight.shape for weight in layer.weights}
            assert {key.rpartition("/")[2][:-2] for key in weights} <= set(kinds)
            group.attrs["weight_names"] = [key.encode() for key in weights]
            for key, shape in weights.items():
                spread = np.sqrt(2 / np.prod(shape[:-1])) if len(shape) == 4 else 0.01
                mean = float("gamma" in key or "variance" in key)
                group[key] = (mean + spread * random.normal(size=shape)).astype(np.float32)
                count += int(np.prod(shape))
    # 53 convolutions and 53 batch norms, as published.
    assert count == 23_587_712
    return path


@pytest.mark.slow
def test_both_phases_of_resnet50_from_a_published_file(
    published_resnet50: Path, train_data: Path, tmp_path: Path
) -> None:
    settings = ["keep=last", "patience=0", "batch_size=8", "calibrate=false"]
    settings += [f"preprocessing.{side}=32" for side in ("height", "width")]
    recipe = override(load_recipe("resnet50", "corrected"), epochs=1, settings=settings)
    assert [(phase.trainable, phase.last_layers) for phase in recipe.phases] == [("head", 0), ("head", 10)]
    options = RunOptions(
        data=train_data / "data",
        splits=train_data / "splits.csv",
        out=tmp_path,
        weights=str(published_resnet50),
    )
    folder = train_model(recipe, options)
    assert read_record(folder).initial_weights == published_resnet50.name
    model = keras.saving.load_model(folder / "model.keras", compile=False)
    # Grey levels as B, G, R minus their means.
    normalise = model.get_layer("normalise")
    assert (list(normalise.scale), list(normalise.offset)) == ([1.0] * 3, [-103.939, -116.779, -123.68])
    moved = set()
    with h5py.File(published_resnet50) as file:
        for layer in backbone_layers(model):
            for weight in layer.weights:
                stored = file[layer.name][f"{layer.name}/{weight.name}:0"][()]
                assert weight.shape == stored.shape
                if not np.array_equal(weight.numpy(), stored):
                    moved.add(layer.name)
    assert moved == {f"conv5_block3_{number}_{kind}" for number in (1, 2, 3) for kind in ("conv", "bn")}
