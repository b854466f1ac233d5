"""A first convolution that reads blocks of four pixels gives the same bytes as before."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import numpy.typing as npt
import onnx
import onnxruntime as ort
import pytest
from onnx import TensorProto, checker, helper, numpy_helper

from export.conversion.quantise import quantise
from export.onnx_passes.graph import constants
from export.onnx_passes.space_to_depth import group_pixels, group_pixels_of
from export.recipes import FORMATS
from fracture_edge.runtimes.session import session_options

#: Height and width differ, so that no exchanged axes can pass.
HEIGHT, WIDTH = 20, 12
Network = Callable[..., onnx.ModelProto]


@pytest.fixture(scope="module")
def images() -> npt.NDArray[np.uint8]:
    return np.random.default_rng(0).integers(0, 256, (8, HEIGHT, WIDTH, 1), np.uint8)


@pytest.fixture
def network(tmp_path: Path, images: npt.NDArray[np.uint8]) -> Network:
    """Make an int8 network of two convolutions, of which the first may be followed by a max pooling."""

    def make(
        *, stride: int, size: int = 3, pads: tuple[int, ...] = (0, 0, 0, 0), pool: int = 0,
        target: str = "x86", keep_float: tuple[str, ...] = (), width: int = WIDTH,
    ) -> onnx.ModelProto:  # fmt: skip
        random = np.random.default_rng(1)
        stored = {
            "scale": np.float32(1 / 128),
            "shift": np.float32(-127 / 128),
            "w": random.normal(size=(6, 1, size, size)).astype(np.float32) / size,
            "b": random.normal(size=6).astype(np.float32) / 3,
            "w2": random.normal(size=(5, 6, 2, 2)).astype(np.float32) / 3,
            "b2": random.normal(size=5).astype(np.float32) / 3,
            "w3": random.normal(size=(5, 1)).astype(np.float32),
        }
        pooling = helper.make_node(
            "MaxPool", ["c1"], ["p1"], name="pool", kernel_shape=[pool] * 2, strides=[pool] * 2
        )
        nodes = [
            helper.make_node("Cast", ["image"], ["float"], to=TensorProto.FLOAT, name="cast"),
            helper.make_node("Mul", ["float", "scale"], ["scaled"], name="scaled"),
            helper.make_node("Add", ["scaled", "shift"], ["normal"], name="normal"),
            helper.make_node("Transpose", ["normal"], ["planes"], perm=[0, 3, 1, 2], name="planes"),
            helper.make_node(
                "Conv", ["planes", "w", "b"], ["f1"], name="conv", pads=pads, strides=[stride] * 2,
                kernel_shape=[size] * 2,
            ),
            helper.make_node("Relu", ["f1"], ["c1"], name="relu"),
            *([pooling] if pool else []),
            helper.make_node("Conv", ["p1" if pool else "c1", "w2", "b2"], ["f2"], name="conv2"),
            helper.make_node("Relu", ["f2"], ["c2"], name="relu2"),
            helper.make_node("GlobalAveragePool", ["c2"], ["mean"], name="mean"),
            helper.make_node("Flatten", ["mean"], ["flat"], name="flat"),
            helper.make_node("MatMul", ["flat", "w3"], ["odds"], name="last"),
            helper.make_node("Sigmoid", ["odds"], ["probability"], name="sigmoid"),
        ]  # fmt: skip
        graph = helper.make_graph(
            nodes,
            "tiny",
            [helper.make_tensor_value_info("image", TensorProto.UINT8, ["N", HEIGHT, width, 1])],
            [helper.make_tensor_value_info("probability", TensorProto.FLOAT, ["N", 1])],
            [numpy_helper.from_array(np.asarray(value), name) for name, value in stored.items()],
        )
        source, made = tmp_path / "float32.onnx", tmp_path / "int8.onnx"
        onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), source)
        chosen = FORMATS[f"onnx_int8_static_{target}"]
        quantise(source, made, images[:, :, :width], chosen, keep_float=keep_float)
        return onnx.load(made)

    return make


def _answers(model: onnx.ModelProto, images: npt.NDArray[np.uint8]) -> npt.NDArray[np.float32]:
    data = model.SerializeToString()
    session = ort.InferenceSession(data, session_options(1), providers=["CPUExecutionProvider"])
    return np.asarray(session.run(None, {"image": images})[0])


def _first_kernel(model: onnx.ModelProto) -> tuple[int, ...]:
    conv = next(node for node in model.graph.node if node.op_type == "Conv")
    source = next(node for node in model.graph.node if conv.input[1] in node.output)
    return constants(model.graph)[source.input[0]].shape


@pytest.mark.parametrize("target", ["x86", "arm64"])
@pytest.mark.parametrize(
    ("options", "kernel"),
    [
        # Stride 2, padded as TensorFlow does it, at the end only: two outputs begin in a block.
        ({"stride": 2, "pads": (0, 0, 1, 1)}, (12, 4, 3, 2)),
        ({"stride": 2, "pads": (0, 0, 0, 1)}, (12, 4, 3, 2)),
        ({"stride": 2, "size": 1}, (12, 4, 1, 1)),
        ({"stride": 2, "size": 5, "pads": (0, 0, 3, 3)}, (12, 4, 5, 2)),
        # Stride 1 and pooling: four groups of channels.
        ({"stride": 1, "pool": 2}, (24, 4, 2, 2)),
        ({"stride": 1, "pool": 2, "size": 5}, (24, 4, 3, 3)),
        # Its last row and column are not pooled.
        ({"stride": 1, "pool": 2, "size": 2}, (24, 4, 2, 2)),
    ],
)
def test_same_answers(
    network: Network, images: npt.NDArray[np.uint8], target: str, options: dict[str, int], kernel: tuple[int, ...]
) -> None:
    model = network(target=target, **options)
    before = _answers(model, images)
    assert np.ptp(before) > 0.01
    assert group_pixels(model)
    checker.check_model(model, full_check=True)
    assert _first_kernel(model) == kernel
    np.testing.assert_array_equal(_answers(model, images), before)


@pytest.mark.parametrize(
    "options",
    [
        pytest.param({"stride": 1}, id="no pooling"),
        pytest.param({"stride": 1, "pool": 3}, id="another pooling"),
        pytest.param({"stride": 1, "pool": 2, "pads": (1, 1, 1, 1)}, id="padded before a pooling"),
        pytest.param({"stride": 2, "pads": (1, 1, 1, 1)}, id="blocks would begin before the image"),
        pytest.param({"stride": 3}, id="another stride"),
        pytest.param({"stride": 2, "pads": (0, 0, 1, 1), "width": 10}, id="no whole blocks"),
        pytest.param({"stride": 1, "pool": 2, "width": 11}, id="no whole blocks of 2x2"),
        pytest.param({"stride": 2}, id="an odd number of outputs"),
        pytest.param({"stride": 2, "pads": (0, 0, 1, 1), "keep_float": ("conv",)}, id="float32"),
        pytest.param({"stride": 2, "pads": (0, 0, 1, 1), "target": "safe"}, id="uint8 weights"),
    ],
)
def test_other_convolutions_are_left_as_they_are(network: Network, options: dict[str, int]) -> None:
    model = network(**options)
    before = model.SerializeToString()
    assert not group_pixels(model)
    assert model.SerializeToString() == before


def _node(model: onnx.ModelProto, kind: str) -> onnx.NodeProto:
    return next(node for node in model.graph.node if node.op_type == kind)


def _other_axes(model: onnx.ModelProto) -> None:
    _node(model, "Transpose").attribute[0].ints[:] = [0, 3, 2, 1]


def _padded_pooling(model: onnx.ModelProto) -> None:
    _node(model, "MaxPool").attribute.append(helper.make_attribute("auto_pad", "SAME_UPPER"))


def _computed_bias(model: onnx.ModelProto) -> None:
    conv = _node(model, "Conv")
    place = list(model.graph.node).index(conv)
    model.graph.node.insert(place, helper.make_node("Identity", [conv.input[2]], ["computed"]))
    conv.input[2] = "computed"


def _told(model: onnx.ModelProto) -> None:
    # What the convolution gives is an answer of the network too.
    quantised = next(
        node.output[0]
        for node in model.graph.node
        if node.op_type == "DequantizeLinear" and any("c1" in name for name in node.input)
    )
    model.graph.output.append(helper.make_tensor_value_info(quantised, TensorProto.FLOAT, None))


@pytest.mark.parametrize("change", [_other_axes, _padded_pooling, _computed_bias, _told])
def test_other_graphs_are_left_as_they_are(network: Network, change: Callable[[onnx.ModelProto], None]) -> None:
    model = network(stride=1, pool=2)
    change(model)
    before = model.SerializeToString()
    assert not group_pixels(model)
    assert model.SerializeToString() == before


def test_a_kernel_without_a_zero_point_has_zero(network: Network, images: npt.NDArray[np.uint8]) -> None:
    model = network(stride=2, pads=(0, 0, 1, 1))
    before = _answers(model, images)
    kernel = _node(model, "Conv").input[1]
    owner = next(node for node in model.graph.node if kernel in node.output)
    del owner.input[2]
    assert group_pixels(model)
    np.testing.assert_array_equal(_answers(model, images), before)


def test_a_graph_that_onnxruntime_has_fused(
    network: Network, images: npt.NDArray[np.uint8], tmp_path: Path
) -> None:
    options, path = session_options(1), tmp_path / "fused.onnx"
    options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_ENABLE_EXTENDED
    options.optimized_model_filepath = str(path)
    data = network(stride=2, pads=(0, 0, 1, 1)).SerializeToString()
    ort.InferenceSession(data, options, providers=["CPUExecutionProvider"])
    before = _answers(onnx.load(path), images)
    assert [node.op_type for node in onnx.load(path).graph.node].count("QLinearConv") == 2
    assert group_pixels_of(path)
    np.testing.assert_array_equal(_answers(onnx.load(path), images), before)
    # A second time there is nothing left to do.
    assert not group_pixels_of(path)
