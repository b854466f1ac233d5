"""Layers of a network, sorted by kind."""

import onnx
import pytest
from onnx import TensorProto, helper

from benchmarks.studies.cost.layers import (
    CONVOLUTION,
    DENSE,
    DEPTHWISE,
    FIRST,
    POINTWISE,
    REST,
    kind_of,
    kinds_of_convolutions,
)


def _convolution(name: str, kernel: int, group: int = 1) -> onnx.NodeProto:
    return helper.make_node(
        "Conv", [f"{name}.in", f"{name}.w"], [f"{name}.out"], name=name, kernel_shape=[kernel, kernel], group=group
    )


@pytest.fixture
def convolutions() -> dict[str, str]:
    nodes = [
        helper.make_node("Relu", ["a"], ["b"], name="relu"),
        _convolution("stem", 3),
        _convolution("Conv_33", 3, group=8),
        _convolution("Conv_332", 1),
        _convolution("last", 3),
    ]
    value = helper.make_tensor_value_info("a", TensorProto.FLOAT, [1])
    return kinds_of_convolutions(helper.make_model(helper.make_graph(nodes, "network", [value], [value])))


def test_convolutions_of_a_graph(convolutions: dict[str, str]) -> None:
    assert convolutions == {
        "stem": FIRST,
        "Conv_33": DEPTHWISE,
        "Conv_332": POINTWISE,
        "last": CONVOLUTION,
    }


@pytest.mark.parametrize(
    ("name", "operator", "kind"),
    [
        # onnxruntime
        ("stem_token_6", "QLinearConv", FIRST),
        ("Conv_332_token_9", "QLinearConv", POINTWISE),
        ("Conv_33_nchwc", "Conv", DEPTHWISE),
        ("made_by_the_runtime", "FusedConv", CONVOLUTION),
        ("hidden/MatMulAddFusion", "FusedGemm", DENSE),
        ("hidden_quant", "QLinearMatMul", DENSE),
        ("stem_ReorderInput", "ReorderInput", REST),
        # OpenVINO
        ("last/WithoutBiases", "Convolution", CONVOLUTION),
        ("stem/cast", "Convert", REST),
        ("hidden", "FullyConnected", DENSE),
        ("pool", "Pooling", REST),
    ],
)
def test_layers_as_the_runtimes_name_them(
    convolutions: dict[str, str], name: str, operator: str, kind: str
) -> None:
    assert kind_of(name, operator, convolutions) == kind
