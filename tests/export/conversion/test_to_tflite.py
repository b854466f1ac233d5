"""Layers of an int8 TFLite file that stay float32."""

from collections import Counter
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
from ai_edge_litert.interpreter import Interpreter, OpResolverType

from export.conversion.to_tflite import to_tflite
from export.recipes import FORMATS


@pytest.fixture(scope="module")
def model() -> keras.Model:
    """Three convolutions and two Dense layers, the first of which has nearly all weights."""
    keras.utils.set_random_seed(0)
    image = keras.Input((16, 16, 1), dtype="uint8", name="image")
    x = keras.layers.Rescaling(1.0, name="grey_levels", dtype="float32")(image)
    for number in range(3):
        x = keras.layers.Conv2D(4, 3, activation="relu", name=f"conv{number}")(x)
    x = keras.layers.Flatten()(x)
    x = keras.layers.Dense(64, activation="relu", name="hidden")(x)
    return keras.Model(image, keras.layers.Dense(1, activation="sigmoid", name="probability")(x))


def _float_layers(path: Path) -> list[str]:
    """List the kinds of the layers with weights whose output is float32, in order."""
    plain = OpResolverType.BUILTIN_WITHOUT_DEFAULT_DELEGATES
    interpreter = Interpreter(model_path=str(path), experimental_op_resolver_type=plain)
    interpreter.allocate_tensors()
    types = {entry["index"]: entry["dtype"] for entry in interpreter.get_tensor_details()}
    return [
        entry["op_name"]
        for entry in interpreter._get_ops_details()
        if entry["op_name"] in ("CONV_2D", "FULLY_CONNECTED") and types[entry["outputs"][0]] is np.float32
    ]


@pytest.mark.slow
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
    tail: bool, front: int, expected: list[str], model: keras.Model, tmp_path: Path
) -> None:
    pixels: Any = np.random.default_rng(0).integers(0, 256, (8, 16, 16, 1), np.uint8)
    path = tmp_path / "file.tflite"
    to_tflite(model, path, FORMATS["tflite_int8"], pixels, float_tail=tail, float_front=front)
    found = _float_layers(path)
    # 26,000 weights, most of them in the first Dense layer; the share of the others is small enough.
    assert Counter(found) == Counter(expected)
    interpreter = Interpreter(model_path=str(path))
    interpreter.allocate_tensors()
    (given,), (answer,) = interpreter.get_input_details(), interpreter.get_output_details()
    answers = []
    for image in pixels:
        interpreter.set_tensor(given["index"], image[np.newaxis].astype(np.float32))
        interpreter.invoke()
        answers.append(float(interpreter.get_tensor(answer["index"])[0, 0]))
    # Steps of 1/256 in each of five layers.
    np.testing.assert_allclose(answers, np.asarray(model(pixels))[:, 0], atol=0.03)
