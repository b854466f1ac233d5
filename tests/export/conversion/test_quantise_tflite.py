"""Int8 TFLite files from one calibrated model: as the converter's own, with other ranges, biases, float layers."""

import io
from collections import Counter
from collections.abc import Iterator
from contextlib import redirect_stdout
from typing import Any

import keras
import numpy as np
import numpy.typing as npt
import pytest
import tensorflow as tf
from ai_edge_litert.interpreter import Interpreter, OpResolverType
from scipy.special import logit
from tensorflow.lite.tools import flatbuffer_utils

from export.conversion.quantise_tflite import (
    _log_odds,
    calibrate,
    least_error_range,
    least_error_ranges,
    limit_log_odds,
    quantise,
    shift_bias,
)
from export.conversion.to_tflite import one_image
from export.recipes import FORMATS

PIXELS: Any = np.random.default_rng(0).integers(0, 256, (8, 16, 16, 1), np.uint8)


@pytest.fixture(scope="module")
def model() -> keras.Model:
    """Three convolutions and two Dense layers, the first of which has nearly all weights."""
    keras.utils.set_random_seed(0)
    image = keras.Input((16, 16, 1), dtype="uint8", name="image")
    x = keras.layers.Rescaling(1.0, name="grey_levels", dtype="float32")(image)
    x = keras.layers.Rescaling(1 / 255)(x)
    for number in range(3):
        x = keras.layers.Conv2D(4, 3, activation="relu", name=f"conv{number}")(x)
    x = keras.layers.Flatten()(x)
    x = keras.layers.Dense(64, activation="relu", name="hidden")(x)
    answer = keras.layers.Dense(1, activation="sigmoid", bias_initializer="ones", name="probability")
    return keras.Model(image, answer(x))


@pytest.fixture(scope="module")
def calibrated(model: keras.Model) -> bytes:
    return calibrate(one_image(model, quantised=True), PIXELS)


def _answers(content: bytes, *, integer: bool = False) -> npt.NDArray[np.float64]:
    interpreter = Interpreter(model_content=content)
    interpreter.allocate_tensors()
    (given,), (answer,) = interpreter.get_input_details(), interpreter.get_output_details()
    assert given["dtype"] is (np.uint8 if integer else np.float32)
    found = []
    for image in PIXELS:
        interpreter.set_tensor(given["index"], image[np.newaxis].astype(given["dtype"]))
        interpreter.invoke()
        value = float(interpreter.get_tensor(answer["index"])[0, 0])
        scale, zero = answer["quantization"]
        found.append((value - zero) * scale if integer else value)
    return np.array(found)


def _float_layers(content: bytes) -> list[str]:
    """List the kinds of the layers with weights whose output is float32, in order."""
    plain = OpResolverType.BUILTIN_WITHOUT_DEFAULT_DELEGATES
    interpreter = Interpreter(model_content=content, experimental_op_resolver_type=plain)
    interpreter.allocate_tensors()
    types = {entry["index"]: entry["dtype"] for entry in interpreter.get_tensor_details()}
    return [
        entry["op_name"]
        for entry in interpreter._get_ops_details()
        if entry["op_name"] in ("CONV_2D", "FULLY_CONNECTED") and types[entry["outputs"][0]] is np.float32
    ]


@pytest.mark.parametrize("name", ["tflite_int8", "tflite_int8_full"])
def test_files_equal_those_of_the_converter(name: str, model: keras.Model, calibrated: bytes) -> None:
    converter = tf.lite.TFLiteConverter.from_keras_model(one_image(model, quantised=True))
    converter.optimizations = [tf.lite.Optimize.DEFAULT]

    def images() -> Iterator[list[npt.NDArray[np.float32]]]:
        for row in range(len(PIXELS)):
            image = PIXELS[row : row + 1].astype(np.float32)
            if row == 0:
                image[0, 0, 0], image[0, -1, -1] = 0.0, 255.0
            yield [image]

    converter.representative_dataset = images
    converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS_INT8]
    integer = FORMATS[name].interface == "integer"
    if integer:
        converter.inference_input_type, converter.inference_output_type = tf.uint8, tf.int8
    with redirect_stdout(io.StringIO()):
        expected = converter.convert()
    np.testing.assert_array_equal(
        _answers(quantise(calibrated, FORMATS[name]), integer=integer), _answers(expected, integer=integer)
    )


@pytest.mark.parametrize(
    ("tail", "front", "expected"),
    [
        (False, 0, []),
        (True, 0, ["FULLY_CONNECTED"]),
        (False, 2, ["CONV_2D", "CONV_2D"]),
        (True, 1, ["CONV_2D", "FULLY_CONNECTED"]),
    ],
)
def test_first_and_last_layers_stay_float(
    tail: bool, front: int, expected: list[str], model: keras.Model, calibrated: bytes
) -> None:
    content = quantise(calibrated, FORMATS["tflite_int8"], float_tail=tail, float_front=front)
    # 26,000 weights, most of them in the first Dense layer; the share of the others is small enough.
    assert Counter(_float_layers(content)) == Counter(expected)
    # Steps of 1/256 in each of five layers.
    np.testing.assert_allclose(_answers(content), np.asarray(model(PIXELS))[:, 0], atol=0.03)


def test_the_bias_is_shifted_by_as_many_log_odds(model: keras.Model, calibrated: bytes) -> None:
    content = quantise(shift_bias(calibrated, 0.5), FORMATS["tflite_int8"], float_tail=True)
    before = quantise(calibrated, FORMATS["tflite_int8"], float_tail=True)
    # In float32 from the last layer on.
    np.testing.assert_allclose(logit(_answers(content)), logit(_answers(before)) - 0.5, atol=1e-5)
    assert float(model.get_layer("probability").get_weights()[1][0]) == 1.0


def test_without_a_bias_there_is_nothing_to_shift(calibrated: bytes) -> None:
    with pytest.raises(ValueError, match="no bias before the probability"):
        # A file that is quantised already ends in another operator.
        shift_bias(quantise(calibrated, FORMATS["tflite_int8"]), 0.5)


def test_the_range_of_the_least_squared_error() -> None:
    # 10,000 values on the 256 steps of the lower half, and one value at the end: the steps are halved for it.
    counts = np.zeros(4096, np.int64)
    counts[np.round(np.linspace(0, 2047, 256)).astype(int)] = 10_000
    counts[-1] = 1
    low, high = least_error_range(counts, 0.0, 2.0)
    assert low == 0.0
    assert high == pytest.approx(1.0, abs=0.011)
    # As many values everywhere: nothing is cut off.
    assert least_error_range(np.ones(4096, np.int64), -1.0, 1.0) == (-1.0, 1.0)


def test_narrower_ranges_are_no_wider_and_keep_the_answers(model: keras.Model, calibrated: bytes) -> None:
    narrowed = least_error_ranges(calibrated, PIXELS)
    answers = _answers(quantise(narrowed, FORMATS["tflite_int8_full"]), integer=True)
    # Steps of 1/256 in each of five layers and in the answer.
    np.testing.assert_allclose(answers, np.asarray(model(PIXELS))[:, 0], atol=0.03)


def test_log_odds_beyond_8_bits_of_a_probability_cost_no_steps(model: keras.Model, calibrated: bytes) -> None:
    """One image with log-odds of 1,000 during the calibration, and the answers are as fine as without it."""
    wide = flatbuffer_utils.convert_bytearray_to_object(bytearray(calibrated))
    (tensor, _), *others = _log_odds(wide)
    assert not others
    usual = float(tensor.quantization.max[0])
    tensor.quantization.max = np.array([1000], np.float32)
    content = bytes(flatbuffer_utils.convert_object_to_bytearray(wide))
    limited = limit_log_odds(content)
    ((found, _),) = _log_odds(flatbuffer_utils.convert_bytearray_to_object(bytearray(limited)))
    # Log-odds of 511/512: half a step of a probability in 8 bits below 1.
    assert found.quantization.max[0] == pytest.approx(logit(511 / 512))
    assert found.quantization.min[0] <= 0 < usual < found.quantization.max[0]
    expected = np.asarray(model(PIXELS))[:, 0]
    # Steps of 1/256 in each of five layers, as for every file here; steps of 4 log-odds without the limit.
    np.testing.assert_allclose(_answers(quantise(limited, FORMATS["tflite_int8"])), expected, atol=0.03)
    assert np.abs(_answers(quantise(content, FORMATS["tflite_int8"])) - expected).max() > 0.1
