"""What 8 bits shift on average is taken off the biases."""

from pathlib import Path

import numpy as np
import numpy.typing as npt
import onnx
import onnxruntime as ort
import pytest
from onnx import TensorProto, helper, numpy_helper

from export.bias_correction import correct_biases
from export.quantise import prepare, quantise
from export.recipes import RECIPES

Pixels = npt.NDArray[np.uint8]
TENSORS = ("one", "deep", "two")


@pytest.fixture(scope="module")
def images() -> Pixels:
    # Patches: noise of single pixels would average out.
    coarse = np.random.default_rng(0).integers(0, 256, (24, 6, 6, 1), np.uint8)
    return coarse.repeat(4, axis=1).repeat(4, axis=2)


def _write(path: Path) -> Path:
    """A convolution with ReLU6, a depthwise one, and one without a bias, averaged."""
    random = np.random.default_rng(1)
    constants = {
        "scale": np.float32(1 / 128),
        "shift": np.float32(-127 / 128),
        "w1": random.normal(size=(8, 1, 3, 3)),
        "b1": random.normal(size=8),
        # One large number in each kernel leaves few steps for the others.
        "wd": random.normal(size=(8, 1, 3, 3)) * np.where(np.arange(9).reshape(3, 3) == 4, 12.0, 0.4),
        "bd": random.normal(size=8),
        "w2": random.normal(size=(4, 8, 1, 1)),
        "low": np.float32(0),
        "high": np.float32(6),
    }
    nodes = [
        helper.make_node("Cast", ["image"], ["float"], to=TensorProto.FLOAT),
        helper.make_node("Mul", ["float", "scale"], ["scaled"]),
        helper.make_node("Add", ["scaled", "shift"], ["normal"]),
        helper.make_node("Transpose", ["normal"], ["planes"], perm=[0, 3, 1, 2]),
        helper.make_node("Conv", ["planes", "w1", "b1"], ["one"], name="one", pads=[1, 1, 1, 1]),
        helper.make_node("Clip", ["one", "low", "high"], ["one_clipped"]),
        helper.make_node("Conv", ["one_clipped", "wd", "bd"], ["deep"], name="deep", group=8, pads=[1, 1, 1, 1]),
        helper.make_node("Clip", ["deep", "low", "high"], ["deep_clipped"]),
        helper.make_node("Conv", ["deep_clipped", "w2"], ["two"], name="two"),
        helper.make_node("GlobalAveragePool", ["two"], ["mean"]),
        helper.make_node("Flatten", ["mean"], ["probability"]),
    ]
    graph = helper.make_graph(
        nodes,
        "tiny",
        [helper.make_tensor_value_info("image", TensorProto.UINT8, ["N", 24, 24, 1])],
        [helper.make_tensor_value_info("probability", TensorProto.FLOAT, ["N", 4])],
        [numpy_helper.from_array(np.asarray(value, np.float32), name) for name, value in constants.items()],
    )
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)]), path)
    return path


def _means(model: onnx.ModelProto, images: Pixels) -> dict[str, npt.NDArray[np.float64]]:
    """Channel means of what the convolutions give, by the name of the layer."""
    outputs = {node.name: node.output[0] for node in model.graph.node if node.op_type == "Conv"}
    probe = onnx.ModelProto()
    probe.CopyFrom(model)
    probe.graph.output.extend(
        helper.make_tensor_value_info(name, TensorProto.FLOAT, None) for name in outputs.values()
    )
    session = ort.InferenceSession(probe.SerializeToString(), providers=["CPUExecutionProvider"])
    found = session.run(list(outputs.values()), {"image": images})
    return {
        name: np.asarray(values, np.float64).mean(axis=(0, 2, 3))
        for name, values in zip(outputs, found, strict=True)
    }


@pytest.mark.parametrize("target", ["x86", "arm64"])
def test_means_are_those_of_the_float_network(
    target: str, images: Pixels, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = _write(tmp_path / "float.onnx")
    recipe = RECIPES[f"onnx_int8_static_{target}"]
    wanted = _means(onnx.load(source), images)
    quantise(source, tmp_path / "corrected.onnx", images, recipe)
    monkeypatch.setattr("export.quantise.correct_biases", lambda *_: None)
    quantise(source, tmp_path / "plain.onnx", images, recipe)
    corrected, plain = (_means(onnx.load(tmp_path / f"{name}.onnx"), images) for name in ("corrected", "plain"))
    for layer in ("one", "deep"):
        before, after = (np.abs(found[layer] - wanted[layer]).max() for found in (plain, corrected))
        # onnxruntime rounds biases to steps of the scales of input and kernel, here below 1e-3.
        assert after < 1e-3
        if layer == "deep":
            # Coarse kernels shift it far more.
            assert before > 20 * after
    assert np.abs(corrected["two"] - wanted["two"]).mean() < np.abs(plain["two"] - wanted["two"]).mean()


def test_only_biases_change(images: Pixels, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source = _write(tmp_path / "float.onnx")
    monkeypatch.setattr("export.quantise.correct_biases", lambda *_: None)
    quantise(source, tmp_path / "int8.onnx", images, RECIPES["onnx_int8_static_x86"])
    prepare(source, tmp_path / "prepared.onnx")
    model, before = onnx.load(tmp_path / "int8.onnx"), onnx.load(tmp_path / "int8.onnx")
    correct_biases(model, tmp_path / "prepared.onnx", images)
    changed = {
        new.name
        for old, new in zip(before.graph.initializer, model.graph.initializer, strict=True)
        if old.SerializeToString() != new.SerializeToString()
    }
    biases = {node.input[2] for node in model.graph.node if node.op_type == "Conv" and len(node.input) > 2}
    assert changed == biases
    assert [node.SerializeToString() for node in model.graph.node] == [
        node.SerializeToString() for node in before.graph.node
    ]
