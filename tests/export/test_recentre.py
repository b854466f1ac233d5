"""A quantised file decides around the threshold as the float network does."""

from pathlib import Path
from typing import Any

import keras
import numpy as np
import onnx
import onnxruntime as ort
import pytest
from onnx import TensorProto, helper, numpy_helper
from scipy.special import expit, logit

from export.conversion.recentre import shift_keras_bias, shift_onnx_bias, threshold_shift

RANDOM = np.random.default_rng(0)
#: Log-odds of probabilities that 8 bits can tell from 0 and 1.
ODDS = np.clip(RANDOM.normal(-1.0, 1.5, 200), -5, 4)


@pytest.mark.parametrize("shift", [-1.0, -0.01, 0.0, 0.3, 2.0])
def test_a_shift_is_found(shift: float) -> None:
    assert threshold_shift(expit(ODDS), expit(ODDS + shift), 0.4) == pytest.approx(shift, abs=1e-9)


def test_images_near_the_threshold_count_most() -> None:
    # Wrong by 1 where the probability is below 0.1, right around 0.5.
    found = threshold_shift(expit(ODDS), expit(np.where(logit(0.1) > ODDS, ODDS + 1, ODDS)), 0.5)
    share = (logit(0.1) > ODDS).mean()
    assert 0 < found < 0.1 * share


def test_a_threshold_far_from_all_images_asks_the_nearest() -> None:
    odds = np.linspace(-3, -1, 50)
    # All below the threshold of 0.99; the nearest are wrong by 0.5, the others by 0.1.
    found = threshold_shift(expit(odds), expit(odds + np.where(odds > -1.2, 0.5, 0.1)), 0.99)
    assert 0.3 < found <= 0.5


def test_answers_of_8_bits_that_end_at_0() -> None:
    found = np.floor(expit(ODDS - 1.0) * 256) / 256
    assert found.min() == 0
    # Cut off to steps of 1/256 they are lower by half a step on average, which is some hundredths in log-odds.
    assert threshold_shift(expit(ODDS), found, 0.3) == pytest.approx(-1.0, abs=0.05)


def test_a_model_that_answers_all_images_alike_is_left() -> None:
    assert threshold_shift(np.full(9, 0.3), np.linspace(0.1, 0.9, 9), 0.5) == 0.0


@pytest.mark.parametrize("heatmap", [False, True])
def test_the_last_bias_of_keras_takes_it(heatmap: bool) -> None:
    image = keras.Input((4, 4, 1))
    features = keras.layers.GlobalAveragePooling2D()(image)
    probability = keras.layers.Dense(1, activation="sigmoid", name="probability")(features)
    alone = keras.Model(image, probability)
    model = keras.Model(image, {"probability": probability, "heatmap": features}) if heatmap else alone
    pixels = RANDOM.normal(0, 1, (8, 4, 4, 1)).astype(np.float32)
    before = np.asarray(alone(pixels), np.float64)
    shift_keras_bias(model, 0.4)
    # float32.
    np.testing.assert_allclose(logit(np.asarray(alone(pixels), np.float64)), logit(before) - 0.4, atol=1e-5)


def _onnx(path: Path, nodes: list[Any], **stored: Any) -> Path:
    shape = ["N", 3]
    graph = helper.make_graph(
        nodes,
        "graph",
        [helper.make_tensor_value_info("image", TensorProto.FLOAT, shape)],
        [helper.make_tensor_value_info("probability", TensorProto.FLOAT, ["N", 1])],
        [numpy_helper.from_array(np.asarray(value, np.float32), name) for name, value in stored.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    onnx.save(model, path)
    return path


GEMM = [helper.make_node("Gemm", ["image", "w", "b"], ["z"])]
ADD = [helper.make_node("MatMul", ["image", "w"], ["y"]), helper.make_node("Add", ["y", "b"], ["z"])]


@pytest.mark.parametrize("nodes", [GEMM, ADD])
def test_the_bias_before_the_sigmoid_of_onnx_takes_it(tmp_path: Path, nodes: list[Any]) -> None:
    sigmoid = helper.make_node("Sigmoid", ["z"], ["probability"])
    path = _onnx(tmp_path / "file.onnx", [*nodes, sigmoid], w=RANDOM.normal(0, 1, (3, 1)), b=[0.5])
    pixels = RANDOM.normal(0, 1, (8, 3)).astype(np.float32)

    def answers() -> Any:
        session = ort.InferenceSession(path, providers=["CPUExecutionProvider"])
        return logit(np.asarray(session.run(None, {"image": pixels})[0], np.float64))

    before = answers()
    shift_onnx_bias(path, 0.4)
    np.testing.assert_allclose(answers(), before - 0.4, atol=1e-5)


def test_a_file_without_a_bias_is_refused(tmp_path: Path) -> None:
    nodes = [
        helper.make_node("MatMul", ["image", "w"], ["z"]),
        helper.make_node("Sigmoid", ["z"], ["probability"]),
    ]
    path = _onnx(tmp_path / "file.onnx", nodes, w=np.ones((3, 1)))
    with pytest.raises(ValueError, match=r"file\.onnx: no bias before the probability"):
        shift_onnx_bias(path, 0.4)
