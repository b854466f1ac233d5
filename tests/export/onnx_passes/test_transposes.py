from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
import onnxruntime as ort
import pytest
from onnx import TensorProto, checker, helper, numpy_helper

from export.onnx_passes.transposes import fold_flatten_transposes

#: K, h and w differ, so that no wrong order of rows can pass.
MAP = (3, 2, 4)
ROWS, UNITS = 24, 5
FEATURES = np.random.default_rng(0).normal(size=(2, *MAP)).astype(np.float32)


def _kernel(seed: int = 0, rows: int = ROWS) -> npt.NDArray[np.float32]:
    return np.random.default_rng(seed).normal(size=(rows, UNITS)).astype(np.float32)


def _graph(
    nodes: Sequence[onnx.NodeProto], answers: dict[str, Sequence[Any]], **constants: Any
) -> onnx.ModelProto:
    """``features`` [N, K, h, w], the same in Keras's order as ``keras``, and what `nodes` do with them."""
    first = helper.make_node("Transpose", ["features"], ["keras"], perm=[0, 2, 3, 1])
    graph = helper.make_graph(
        [first, *nodes],
        "tiny",
        [helper.make_tensor_value_info("features", TensorProto.FLOAT, ["N", *MAP])],
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, shape) for name, shape in answers.items()],
        [numpy_helper.from_array(np.asarray(value), name) for name, value in constants.items()],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)


def _dense(kernel: str = "kernel", out: str = "dense") -> list[onnx.NodeProto]:
    return [
        helper.make_node("Reshape", ["keras", "flat"], [f"{out}_flat"]),
        helper.make_node("MatMul", [f"{out}_flat", kernel], [out]),
    ]


def _run(model: onnx.ModelProto, **inputs: Any) -> list[Any]:
    session = ort.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    return session.run(None, inputs)


def _transposes(model: onnx.ModelProto) -> int:
    return sum(node.op_type == "Transpose" for node in model.graph.node)


def _check(model: onnx.ModelProto, *, removed: int, left: int, **inputs: Any) -> None:
    inputs = inputs or {"features": FEATURES}
    before = _run(model, **inputs)
    assert fold_flatten_transposes(model) == removed
    assert _transposes(model) == left
    checker.check_model(model, full_check=True)
    for expected, found in zip(before, _run(model, **inputs), strict=True):
        # The same products, summed in another order.
        np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-5)


def test_the_kernel_takes_the_transpose_up() -> None:
    model = _graph(_dense(), {"dense": ["N", UNITS]}, flat=[-1, ROWS], kernel=_kernel())
    _check(model, removed=1, left=0)
    # Row (h, w, K) of Keras is row (K, h, w) of ONNX.
    expected = _kernel().reshape(2, 4, 3, UNITS).transpose(2, 0, 1, 3).reshape(ROWS, UNITS)
    found = next(entry for entry in model.graph.initializer if entry.name == "kernel")
    np.testing.assert_array_equal(numpy_helper.to_array(found), expected)
    assert fold_flatten_transposes(model) == 0


def test_a_kernel_used_elsewhere_keeps_its_order_there() -> None:
    other = [
        helper.make_node("Reshape", ["features", "flat"], ["other_flat"]),
        helper.make_node("MatMul", ["other_flat", "kernel"], ["other"]),
    ]
    answers = {"dense": ["N", UNITS], "other": ["N", UNITS]}
    _check(_graph([*_dense(), *other], answers, flat=[-1, ROWS], kernel=_kernel()), removed=1, left=0)


def test_two_dense_layers_may_share_one_transpose() -> None:
    nodes = [*_dense(), *_dense("second_kernel", "second")]
    answers = {"dense": ["N", UNITS], "second": ["N", UNITS]}
    model = _graph(nodes, answers, flat=[-1, ROWS], kernel=_kernel(), second_kernel=_kernel(1))
    _check(model, removed=1, left=0)


def test_a_transpose_back_goes_too() -> None:
    back = [
        helper.make_node("Transpose", ["keras"], ["back"], perm=[0, 3, 1, 2]),
        helper.make_node("ReduceMean", ["back"], ["mean"], axes=[1], keepdims=0),
    ]
    answers = {"dense": ["N", UNITS], "mean": ["N", *MAP[1:]]}
    _check(_graph([*_dense(), *back], answers, flat=[-1, ROWS], kernel=_kernel()), removed=2, left=0)


def test_a_transpose_that_is_needed_stays() -> None:
    needed = helper.make_node("ReduceMean", ["keras"], ["mean"], axes=[1], keepdims=0)
    answers = {"dense": ["N", UNITS], "mean": ["N", 4, 3]}
    _check(_graph([*_dense(), needed], answers, flat=[-1, ROWS], kernel=_kernel()), removed=0, left=1)
    answers = {"dense": ["N", UNITS], "keras": ["N", 2, 4, 3]}
    _check(_graph(_dense(), answers, flat=[-1, ROWS], kernel=_kernel()), removed=0, left=1)


def test_other_uses_of_the_flattened_map_are_left_alone() -> None:
    # The position's channels side by side, not the whole map.
    model = _graph(_dense(), {"dense": ["M", UNITS]}, flat=[-1, 3], kernel=_kernel(rows=3))
    _check(model, removed=0, left=1)
    # A second consumer sees the flattened map in Keras's order.
    model = _graph(_dense(), {"dense": ["N", UNITS], "dense_flat": ["N", ROWS]}, flat=[-1, ROWS], kernel=_kernel())
    _check(model, removed=0, left=1)
    # The matrix is computed, not constant.
    nodes = [helper.make_node("Exp", ["kernel"], ["computed"]), *_dense("computed")]
    _check(_graph(nodes, {"dense": ["N", UNITS]}, flat=[-1, ROWS], kernel=_kernel()), removed=0, left=1)


def _convert(model: Any) -> onnx.ModelProto:
    import tensorflow as tf

    from export.conversion.to_onnx import convert_function

    signature = [tf.TensorSpec((None, *model.input_shape[1:]), tf.uint8, name="image")]
    function = tf.function(lambda image: {"probability": model(image, training=False)}, input_signature=signature)
    return convert_function(function, signature)


def _custom_cnn() -> Any:
    from train.architectures import build

    return build("custom_cnn", 40, 32, filters=(4, 6, 8), units=16)


def _pixels(model: Any) -> npt.NDArray[np.uint8]:
    return np.random.default_rng(0).integers(0, 256, (3, *model.input_shape[1:]), np.uint8)


def test_custom_cnn_is_left_with_the_transpose_of_its_input() -> None:
    model = _custom_cnn()
    _check(_convert(model), removed=1, left=1, image=_pixels(model))


def test_so_is_a_factorised_one() -> None:
    from export.keras_passes.factorise import factorise

    model = _custom_cnn()
    pixels = _pixels(model)
    _check(_convert(factorise(model, pixels, 4)), removed=1, left=1, image=pixels)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "options", "removed", "left"),
    [
        ("vgg16", {"units": 16}, 1, 1),
        ("resnet50", {"units": 16}, 0, 1),
        # With one channel the transpose of the input moves nothing and is none.
        ("edge", {"filters": 0.1}, 0, 0),
        ("densenet121", {}, 0, 1),
        ("efficientnetv2b0", {}, 0, 1),
    ],
)
def test_no_architecture_keeps_more(name: str, options: dict[str, Any], removed: int, left: int) -> None:
    from train.architectures import build

    model = build(name, 64, 64, **options)
    _check(_convert(model), removed=removed, left=left, image=_pixels(model))
