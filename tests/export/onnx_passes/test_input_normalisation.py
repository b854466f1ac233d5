"""(x - 127) / 128 of grey bytes is their scale and zero point: nothing is computed for it in an int8 graph."""

from pathlib import Path

import numpy as np
import numpy.typing as npt
import onnx
import onnxruntime as ort
import pytest
from onnx import TensorProto, helper, numpy_helper

from export.conversion.quantise import quantise
from export.onnx_passes.input_normalisation import normalisation_nodes
from export.recipes import FORMATS
from fracture_edge.runtimes.session import session_options


@pytest.fixture(scope="module")
def images() -> npt.NDArray[np.uint8]:
    return np.random.default_rng(0).integers(0, 256, (8, 12, 10, 1), np.uint8)


def _write(path: Path, *, shift: float = -127 / 128, channels: int = 1) -> Path:
    """A normalisation as tf2onnx writes it and a padded convolution, averaged."""
    random = np.random.default_rng(1)
    constants = {
        "one": np.float32(1),
        "zero": np.float32(0),
        "scale": np.float32(1 / 128),
        "shift": np.full(channels, shift, np.float32).squeeze(),
        "w": random.normal(size=(6, channels, 3, 3)).astype(np.float32) / 3,
        "b": random.normal(size=6).astype(np.float32) / 3,
        "w2": random.normal(size=(6, 1)).astype(np.float32),
    }
    nodes = [
        helper.make_node("Cast", ["image"], ["float"], to=TensorProto.FLOAT, name="cast"),
        helper.make_node("Mul", ["float", "one"], ["levels"], name="levels_times"),
        helper.make_node("Add", ["zero", "levels"], ["grey_levels"], name="levels_plus"),
        helper.make_node("Mul", ["grey_levels", "scale"], ["scaled"], name="scaled"),
        helper.make_node("Concat", ["scaled"] * channels, ["wide"], axis=3, name="wide"),
        helper.make_node("Add", ["wide" if channels > 1 else "scaled", "shift"], ["normal"], name="normal"),
        helper.make_node("Transpose", ["normal"], ["planes"], perm=[0, 3, 1, 2], name="planes"),
        helper.make_node("Conv", ["planes", "w", "b"], ["features"], name="conv", pads=[1, 1, 1, 1]),
        helper.make_node("Relu", ["features"], ["positive"]),
        helper.make_node("GlobalAveragePool", ["positive"], ["mean"]),
        helper.make_node("Flatten", ["mean"], ["flat"]),
        helper.make_node("MatMul", ["flat", "w2"], ["odds"], name="last"),
        helper.make_node("Sigmoid", ["odds"], ["probability"]),
    ]
    graph = helper.make_graph(
        [node for node in nodes if channels > 1 or node.name != "wide"],
        "tiny",
        [helper.make_tensor_value_info("image", TensorProto.UINT8, ["N", 12, 10, 1])],
        [helper.make_tensor_value_info("probability", TensorProto.FLOAT, ["N", 1])],
        [numpy_helper.from_array(np.asarray(value), name) for name, value in constants.items()],
    )
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)]), path)
    return path


def _operators(path: Path) -> list[str]:
    return [node.op_type for node in onnx.load(path).graph.node]


def _optimised(path: Path, folder: Path) -> list[str]:
    """What onnxruntime makes of it."""
    options = ort.SessionOptions()
    options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_ENABLE_EXTENDED
    options.optimized_model_filepath = str(folder / "optimised.onnx")
    ort.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    return _operators(folder / "optimised.onnx")


def _probabilities(path: Path, images: npt.NDArray[np.uint8]) -> npt.NDArray[np.float32]:
    session = ort.InferenceSession(path, session_options(1), providers=["CPUExecutionProvider"])
    (found,) = session.run(None, {"image": images})
    return np.asarray(found)


@pytest.mark.parametrize("target", ["x86", "safe", "arm64"])
def test_bytes_go_straight_into_the_convolution(
    target: str, images: npt.NDArray[np.uint8], tmp_path: Path
) -> None:
    source, int8 = _write(tmp_path / "float.onnx"), tmp_path / "int8.onnx"
    quantise(source, int8, images, FORMATS[f"onnx_int8_static_{target}"])
    assert not {"Cast", "Mul", "Add"} & set(_operators(int8))
    stored = {entry.name: numpy_helper.to_array(entry) for entry in onnx.load(int8).graph.initializer}
    assert (float(stored["image_scale"]), int(stored["image_zero_point"])) == (1 / 128, 127)
    if target == "arm64":
        assert int(stored["image_zero_point_signed"]) == -1
    else:
        # One operator after another in 8 bits, the image first.
        assert _optimised(int8, tmp_path)[:2] in (["Transpose", "QLinearConv"], ["Reshape", "QLinearConv"])
    # 8 bits for six channels and their mean; the log-odds spread over more than 0.5.
    expected = _probabilities(source, images)
    np.testing.assert_allclose(_probabilities(int8, images), expected, atol=4e-3)


def test_padding_is_what_zero_is_in_the_float_network(tmp_path: Path) -> None:
    # All pixels 127, which the network sees as 0, like what is padded: the bias alone is left, at the rim too.
    images = np.full((4, 12, 10, 1), 127, np.uint8)
    noise = np.random.default_rng(0).integers(0, 256, (4, 12, 10, 1), np.uint8)
    source, int8 = _write(tmp_path / "float.onnx"), tmp_path / "int8.onnx"
    quantise(source, int8, np.concatenate([images, noise]), FORMATS["onnx_int8_static_x86"])
    stored = {entry.name: numpy_helper.to_array(entry) for entry in onnx.load(source).graph.initializer}
    odds = np.maximum(stored["b"], 0) @ stored["w2"]
    np.testing.assert_allclose(_probabilities(int8, images)[:, 0], 1 / (1 + np.exp(-odds[0])), atol=4e-3)


def test_a_shift_that_no_byte_stands_for_is_computed(images: npt.NDArray[np.uint8], tmp_path: Path) -> None:
    source, int8 = _write(tmp_path / "float.onnx", shift=-0.9), tmp_path / "int8.onnx"
    assert normalisation_nodes(onnx.load(source)) == []
    quantise(source, int8, images, FORMATS["onnx_int8_static_x86"])
    assert "Add" in _operators(int8)
    np.testing.assert_allclose(_probabilities(int8, images), _probabilities(source, images), atol=8e-3)


def test_three_channels_are_left_as_they_are(images: npt.NDArray[np.uint8], tmp_path: Path) -> None:
    source, int8 = _write(tmp_path / "float.onnx", channels=3), tmp_path / "int8.onnx"
    # Up to where the channels part there is a scale and no shift: byte 0 stands for 0.
    assert normalisation_nodes(onnx.load(source)) in ([], ["cast", "levels_times", "levels_plus", "scaled"])
    quantise(source, int8, images, FORMATS["onnx_int8_static_x86"])
    np.testing.assert_allclose(_probabilities(int8, images), _probabilities(source, images), atol=8e-3)
