"""A large Dense layer with int8 weights and ranges of its input from each image."""

from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from export.onnx_passes.dynamic_dense import large_dense_nodes, quantise_dynamically
from fracture_edge.runtimes.session import open_session

RANDOM = np.random.default_rng(0)
KERNEL = RANDOM.normal(0, 1, (40, 16)) * np.linspace(0.1, 3, 16)
BIAS = RANDOM.normal(0, 1, 16)
LAST = RANDOM.normal(0, 1, (16, 1))


def _model(kind: str) -> onnx.ModelProto:
    stored = {"w": KERNEL.T if kind == "transposed" else KERNEL, "b": BIAS, "last": LAST}
    if kind == "MatMul":
        first = [
            helper.make_node("MatMul", ["image", "w"], ["y"], "dense"),
            helper.make_node("Add", ["y", "b"], ["z"]),
        ]
    else:
        options = {"transB": 1} if kind == "transposed" else {}
        first = [helper.make_node("Gemm", ["image", "w", "b"], ["z"], "dense", **options)]
    graph = helper.make_graph(
        [*first, helper.make_node("MatMul", ["z", "last"], ["out"], "last_dense")],
        "graph",
        [helper.make_tensor_value_info("image", TensorProto.FLOAT, ["N", 40])],
        [helper.make_tensor_value_info("out", TensorProto.FLOAT, ["N", 1])],
        [numpy_helper.from_array(np.asarray(value, np.float32), name) for name, value in stored.items()],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)


def _run(model: onnx.ModelProto, pixels: Any) -> Any:
    # The package's own options: without VNNI sums of products could overflow.
    session = open_session("model", model.SerializeToString(), None)
    return np.concatenate([session.run(None, {"image": row[np.newaxis]})[0] for row in pixels])


@pytest.mark.parametrize("unsigned", [False, True])
@pytest.mark.parametrize("kind", ["MatMul", "Gemm", "transposed"])
def test_a_large_layer_answers_nearly_the_same(kind: str, unsigned: bool) -> None:
    model = _model(kind)
    pixels = np.maximum(RANDOM.normal(0, 1, (20, 40)), 0).astype(np.float32)
    before = _run(model, pixels)
    assert large_dense_nodes(model) == ["dense"]
    quantise_dynamically(model, ["dense"], unsigned=unsigned)
    (node,) = [node for node in model.graph.node if node.op_type == "DynamicQuantizeMatMul"]
    stored = {entry.name: numpy_helper.to_array(entry) for entry in model.graph.initializer}
    weights, scale, zero = (stored[name] for name in node.input[1:4])
    assert weights.dtype == (np.uint8 if unsigned else np.int8)
    # Half a step of each channel, and float32.
    steps = np.abs((weights.astype(int) - zero.astype(int)) * scale - KERNEL) / scale
    assert steps.max() < 0.501
    after = _run(model, pixels)
    # Half a step of the input in 8 bits, and of the weights, in each of 40 products: 1.6 % of the deviation.
    assert np.abs(after - before).std() < 0.03 * before.std()
    assert not np.array_equal(after, before)


def test_the_range_of_the_input_is_that_of_each_image() -> None:
    model = _model("Gemm")
    pixels = np.maximum(RANDOM.normal(0, 1, (5, 40)), 0).astype(np.float32)
    faint = np.concatenate([0.01 * pixels, 100 * pixels])
    before = _run(model, faint)
    quantise_dynamically(model, ["dense"], unsigned=False)
    bias = float(BIAS @ LAST[:, 0])
    # With one range for all, steps of 100 / 255 would leave nothing of what is faint.
    signal, error = np.abs(before[:5] - bias), np.abs(_run(model, faint)[:5] - before[:5])
    assert error.max() < 0.05 * signal.max()


def test_small_layers_are_not_large() -> None:
    model = _model("Gemm")
    model.graph.initializer.append(numpy_helper.from_array(np.zeros((50, 20), np.float32), "kernel"))
    assert large_dense_nodes(model) == []
