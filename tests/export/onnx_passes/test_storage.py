from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime as ort
import pytest
from onnx import TensorProto, helper, numpy_helper

from export.conversion.quantise import quantise
from export.conversion.sensitivity import most_sensitive
from export.onnx_passes.storage import as_float_biases, as_int8_weights, unshare_zero_points
from export.recipes import FORMATS
from fracture_edge.runtimes.session import session_options


@pytest.fixture(scope="module")
def images() -> Any:
    return np.random.default_rng(0).integers(0, 256, (16, 12, 12, 1), np.uint8)


@pytest.fixture(scope="module")
def int8(tmp_path_factory: pytest.TempPathFactory, images: Any) -> Callable[[str], Path]:
    """Two convolutions, an average and a dense layer, quantised for a target."""
    folder = tmp_path_factory.mktemp("storage")
    random = np.random.default_rng(1)
    kernels = {
        "w1": (8, 1, 3, 3),
        "b1": (8,),
        "w2": (12, 8, 3, 3),
        "b2": (12,),
        "w3": (16, 12),
        "b3": (16,),
        "w4": (1, 16),
    }
    nodes = [
        helper.make_node("Cast", ["image"], ["grey"], to=TensorProto.FLOAT),
        helper.make_node("Transpose", ["grey"], ["planes"], perm=[0, 3, 1, 2]),
        helper.make_node("Conv", ["planes", "w1", "b1"], ["one"], name="one"),
        helper.make_node("Relu", ["one"], ["one_positive"]),
        helper.make_node("Conv", ["one_positive", "w2", "b2"], ["two"], name="two"),
        helper.make_node("Relu", ["two"], ["two_positive"]),
        helper.make_node("GlobalAveragePool", ["two_positive"], ["mean"]),
        helper.make_node("Flatten", ["mean"], ["flat"]),
        helper.make_node("Gemm", ["flat", "w3", "b3"], ["features"], name="three", transB=1),
        helper.make_node("Relu", ["features"], ["features_positive"]),
        helper.make_node("Gemm", ["features_positive", "w4"], ["odds"], name="four", transB=1),
        helper.make_node("Sigmoid", ["odds"], ["probability"]),
    ]
    graph = helper.make_graph(
        nodes,
        "tiny",
        [helper.make_tensor_value_info("image", TensorProto.UINT8, ["N", 12, 12, 1])],
        [helper.make_tensor_value_info("probability", TensorProto.FLOAT, ["N", 1])],
        [
            numpy_helper.from_array((random.normal(size=shape) / 30).astype(np.float32), name)
            for name, shape in kernels.items()
        ],
    )
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)]), folder / "float.onnx")

    def make(target: str) -> Path:
        path = folder / f"{target}.onnx"
        quantise(folder / "float.onnx", path, images, FORMATS[f"onnx_int8_static_{target}"])
        return path

    return make


def _run(path: Path, images: Any) -> Any:
    return ort.InferenceSession(path.read_bytes(), session_options(1)).run(["probability"], {"image": images})[0]


def _optimised(path: Path, folder: Path) -> list[str]:
    options = ort.SessionOptions()
    options.optimized_model_filepath = str(folder / "optimised.onnx")
    ort.InferenceSession(path.read_bytes(), options)
    return [node.op_type for node in onnx.load(folder / "optimised.onnx").graph.node]


def test_safe_weights_are_the_same_numbers_in_unsigned_bytes(
    int8: Callable[[str], Path], images: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    x86, safe = int8("x86"), int8("safe")
    # Integers are added up: nothing may differ, not even the last bit.
    assert np.array_equal(_run(x86, images), _run(safe, images))
    stored = {
        path: {entry.name: numpy_helper.to_array(entry) for entry in onnx.load(path).graph.initializer}
        for path in (x86, safe)
    }
    signed, unsigned = stored[x86]["w2_quantized"], stored[safe]["w2_quantized"]
    assert (signed.dtype, unsigned.dtype) == (np.int8, np.uint8)
    assert np.array_equal(signed.astype(int), unsigned.astype(int) - 128)
    assert stored[safe]["w2_quantized_unsigned_zero"].tolist() == [128] * 12
    # The same layers are sensitive then, in the same order; here every one is more than a small share of all.
    monkeypatch.setattr("export.conversion.sensitivity.FLOAT_SHARE", 1.0)
    order = most_sensitive(x86.parent / "float.onnx", x86, images[:2])
    assert sorted(names[0] for names in order) == ["one", "three", "two"]
    # Each with the layer before it.
    assert {names[0]: names[-1] for names in order} == {"one": "one", "two": "one", "three": "two"}
    assert most_sensitive(x86.parent / "float.onnx", safe, images[:2]) == order


def test_signed_again(int8: Callable[[str], Path]) -> None:
    model = onnx.load(int8("safe"))
    as_int8_weights(model)
    again, x86 = (
        {entry.name: numpy_helper.to_array(entry) for entry in stored.graph.initializer}
        for stored in (model, onnx.load(int8("x86")))
    )
    for name in ("w1_quantized", "w2_quantized", "w3_quantized"):
        assert again[name].dtype == np.int8
        np.testing.assert_array_equal(again[name], x86[name])
    assert not [name for name in again if "unsigned" in name]


@pytest.mark.parametrize("target", ["x86", "safe", "arm64"])
def test_layers_run_in_int8_and_nothing_is_stored_in_vain(
    target: str, int8: Callable[[str], Path], tmp_path: Path
) -> None:
    path = int8(target)
    onnx.checker.check_model(onnx.load(path), full_check=True)
    ran = _optimised(path, tmp_path)
    assert (ran.count("QLinearConv"), ran.count("QGemm")) == (2, 1)
    stored = onnx.load(path).graph.initializer
    # The dense layer needs its bias as an integer.
    assert not [e.name for e in stored if e.data_type == TensorProto.INT32 and not e.name.startswith("b3_")]
    # Every kernel has a zero point of its own, for each channel: without VNNI onnxruntime needs them.
    zeros = [node.input[2] for node in onnx.load(path).graph.node if node.input[0].startswith("w")][:2]
    shapes = {entry.name: list(entry.dims) for entry in stored}
    assert [shapes[name] for name in zeros] == [[8], [12]]
    assert len(set(zeros)) == 2


def test_fused_layers_get_zero_points_of_their_own() -> None:
    def layer(name: str, zero: str) -> onnx.NodeProto:
        return helper.make_node("QLinearConv", ["x", "s", "zx", "w", "s", zero, "s", "zx"], [name])

    nodes = [layer("a", "zero"), layer("b", "zero"), layer("c", "other"), layer("d", "zero")]
    zeros = {"zero": np.int8(0), "other": np.int8(0), "zx": np.uint8(3), "w": np.int8(5), "s": np.float32(1)}
    graph = helper.make_graph(
        nodes, "fused", [], [], [numpy_helper.from_array(np.array(value), name) for name, value in zeros.items()]
    )
    model = helper.make_model(graph)
    unshare_zero_points(model)
    used = [node.input[5] for node in model.graph.node]
    assert (used[0], used[2], len(set(used))) == ("zero", "other", 4)
    stored = {entry.name: numpy_helper.to_array(entry) for entry in model.graph.initializer}
    assert [(stored[name].dtype, int(stored[name])) for name in used] == [(np.dtype(np.int8), 0)] * 4
    # Those of activations are shared as before; so are scales.
    assert {tuple(node.input[1:3]) for node in model.graph.node} == {("s", "zx")}
    unshare_zero_points(model)
    assert [node.input[5] for node in model.graph.node] == used


def test_a_bias_becomes_float_and_stays_what_it_was() -> None:
    scales = np.array([1e-4, 0.02, 3.0], np.float32)
    numbers = np.array([-2_000_000_000, 7, 12345], np.int32)
    graph = helper.make_graph(
        [
            helper.make_node("DequantizeLinear", ["b_quantized", "scale", "zero"], ["b"], axis=0),
            helper.make_node("Conv", ["x", "w", "b"], ["y"]),
        ],
        "bias",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, 1, 1, 1])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, [1, 3, 1, 1])],
        [
            numpy_helper.from_array(np.ones((3, 1, 1, 1), np.float32), "w"),
            numpy_helper.from_array(numbers, "b_quantized"),
            numpy_helper.from_array(scales, "scale"),
            numpy_helper.from_array(np.zeros(3, np.int32), "zero"),
        ],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)])
    as_float_biases(model)
    _, bias = model.graph.initializer
    assert (bias.name, [node.op_type for node in model.graph.node]) == ("b", ["Conv"])
    # Rounded again by these scales, it is the same int32, but for the 24 bits of a float.
    assert np.rint(numpy_helper.to_array(bias) / scales.astype(np.float64)) == pytest.approx(numbers, rel=1e-7)
