from pathlib import Path
from typing import Any

import keras
import numpy as np
import numpy.typing as npt
import onnx
import onnxruntime as ort
import pytest
import tensorflow as tf
from keras import layers

from export.conversion.to_onnx import to_onnx
from export.conversion.to_tflite import to_tflite
from export.keras_passes.factorise import factorise
from export.keras_passes.fold_batch_norms import fold_batch_norms
from export.keras_passes.heatmap import with_heatmap
from export.onnx_passes.transposes import fold_flatten_transposes
from export.recipes import FORMATS
from fracture_edge.errors import FractureEdgeError
from train.architectures import build

Model = keras.Model
Pixels = npt.NDArray[np.uint8]

#: The smallest that leave a map of several cells; the backbones of keras.applications cannot be made narrower.
NETWORKS: dict[str, tuple[int, dict[str, Any]]] = {
    "custom_cnn": (64, {"filters": (4, 6, 8), "units": 16}),
    "edge": (96, {"filters": 0.1}),
    "vgg16": (96, {"units": 16}),
    "resnet50": (96, {"units": 16, "dropout": 0.3}),
    "densenet121": (96, {}),
    "efficientnetv2b0": (96, {"dropout": 0.2}),
}
#: Mean factor of the batch norms: without it the signal fades in as deep a network without large residuals.
GAINS = {"edge": 2.0}


def _network(name: str) -> Model:
    """With random batch norms and a last kernel of both signs, so that no factor of the gradient is 1."""
    keras.utils.set_random_seed(0)
    random = np.random.default_rng(0)
    side, options = NETWORKS[name]
    model = build(name, side, side, **options)
    for layer in model.layers:
        if isinstance(layer, layers.BatchNormalization):
            scales = random.uniform(0.5, 1.5, layer.gamma.shape)
            shifts = random.uniform(-0.2, 0.2, layer.gamma.shape)
            layer.set_weights([GAINS.get(name, 1.0) * scales, shifts, shifts[::-1], scales[::-1]])
    last = model.get_layer("probability")
    last.set_weights([random.normal(size=weight.shape) for weight in last.get_weights()])
    return model


def _head(*behind: layers.Layer) -> Model:
    image = keras.Input((16, 16, 1), dtype="uint8", name="image")
    x = layers.Conv2D(3, 3, activation="relu", name="features")(layers.Rescaling(1 / 255)(image))
    for layer in behind:
        x = layer(x)
    return keras.Model(image, x, name="odd")


def _pixels(model: Model, count: int = 4) -> Pixels:
    shape = (count, *model.input_shape[1:])
    # Patches rather than pixels: noise of single pixels averages out on the way to the map.
    coarse = np.random.default_rng(1).integers(0, 256, (count, shape[1] // 8, shape[2] // 8, 1), np.uint8)
    return coarse.repeat(8, axis=1).repeat(8, axis=2)


def _grad_cam(model: Model, pixels: Pixels) -> npt.NDArray[np.float64]:
    """Grad-CAM as published, by automatic differentiation."""
    head = next(layer for layer in model.layers if layer.name in ("pool", "flatten"))
    last = model.get_layer("probability")
    features = keras.Model(model.input, head.input)(pixels, training=False)
    behind = keras.Model(head.input, last.input)
    with tf.GradientTape() as tape:
        tape.watch(features)
        logits = tf.matmul(behind(features, training=False), last.kernel.value) + last.bias.value
    weights = np.asarray(tape.gradient(logits, features), np.float64).mean(axis=(1, 2))
    evidence = np.maximum(np.einsum("nhwk,nk->nhw", np.asarray(features, np.float64), weights), 0)
    largest = evidence.max(axis=(1, 2), keepdims=True)
    return np.divide(evidence, largest, out=np.zeros_like(evidence), where=largest > 0)


def _expected(model: Model, pixels: Pixels) -> npt.NDArray[np.float64]:
    """What each cell says itself, where there are cells; Grad-CAM otherwise."""
    if model.name != "edge":
        return _grad_cam(model, pixels)
    logits = keras.Model(model.input, model.get_layer("cells").output)(pixels, training=False)
    chances = 1 / (1 + np.exp(-np.asarray(logits, np.float64)[..., 0]))
    return chances / chances.max(axis=(1, 2), keepdims=True)


def _answers(path: Path, pixels: Pixels) -> dict[str, Any]:
    session = ort.InferenceSession(path, providers=["CPUExecutionProvider"])
    names = [output.name for output in session.get_outputs()]
    return dict(zip(names, session.run(None, {"image": pixels}), strict=True))


def _transposes(model: onnx.ModelProto) -> int:
    return sum(node.op_type == "Transpose" for node in model.graph.node)


def _check(model: Model, pixels: Pixels) -> None:
    expected = _expected(model, pixels)
    # There is something to compare: a map with high and low cells, not the same for all images.
    assert expected.max() == 1
    assert expected.std() > 0.05
    answers = with_heatmap(model)(pixels, training=False)
    assert answers["heatmap"].dtype == tf.float32
    # float32 sums over up to 2048 channels, in another order; the product allows 1e-3.
    np.testing.assert_allclose(answers["heatmap"], expected, atol=1e-4)
    np.testing.assert_array_equal(answers["probability"], model(pixels, training=False))


@pytest.mark.parametrize("name", NETWORKS)
def test_equals_the_cells_or_gradient_based_grad_cam(name: str) -> None:
    model = _network(name)
    _check(model, _pixels(model))


def test_equals_grad_cam_with_folded_norms_and_a_factorised_layer() -> None:
    model = _network("custom_cnn")
    folded = fold_batch_norms(model)
    assert "hidden_norm" not in {layer.name for layer in folded.layers}
    _check(folded, _pixels(model))
    _check(factorise(folded, _pixels(model, 16), 5), _pixels(model))
    _check(factorise(model, _pixels(model, 16), 5), _pixels(model))


def test_a_negative_last_layer_turns_the_evidence_round() -> None:
    model = _network("vgg16")
    # Only one sign of the last kernel is the sign of the evidence.
    last = model.get_layer("probability")
    plain = with_heatmap(model)(_pixels(model))["heatmap"]
    last.kernel.assign(-last.kernel)
    _check(model, _pixels(model))
    assert np.abs(np.asarray(with_heatmap(model)(_pixels(model))["heatmap"]) - np.asarray(plain)).max() > 0.5


@pytest.mark.parametrize(
    "name",
    # A conversion of the deeper ones takes 5 to 30 s.
    [name if name == "custom_cnn" else pytest.param(name, marks=pytest.mark.slow) for name in NETWORKS],
)
def test_onnxruntime_gives_the_same_map_and_the_same_probability(name: str, tmp_path: Path) -> None:
    model = _network(name)
    pixels = _pixels(model)
    to_onnx(model, tmp_path / "plain.onnx")
    to_onnx(with_heatmap(model), tmp_path / "map.onnx")
    found = _answers(tmp_path / "map.onnx", pixels)
    np.testing.assert_allclose(found["heatmap"], _expected(model, pixels), atol=1e-4)
    # The same operators; blocks of a sum may be cut otherwise.
    np.testing.assert_allclose(
        found["probability"], _answers(tmp_path / "plain.onnx", pixels)["probability"], atol=1e-6
    )
    alone = _answers(tmp_path / "map.onnx", pixels[:1])["heatmap"]
    np.testing.assert_allclose(alone, found["heatmap"][:1], atol=1e-5)
    plain, both = (onnx.load(tmp_path / f"{file}.onnx") for file in ("plain", "map"))
    fold_flatten_transposes(plain)
    fold_flatten_transposes(both)
    assert _transposes(both) == _transposes(plain) <= 1


def test_nothing_positive_gives_zeros_and_no_division_by_zero(tmp_path: Path) -> None:
    model = _head(layers.GlobalAveragePooling2D(), layers.Dense(1, "sigmoid"))
    kernel = model.layers[-1].kernel
    # Behind a ReLU only a positive kernel speaks for a fracture.
    kernel.assign(-np.abs(kernel))
    pixels = _pixels(model)
    zeros = np.zeros((4, 14, 14), np.float32)
    np.testing.assert_array_equal(with_heatmap(model)(pixels)["heatmap"], zeros)
    to_onnx(with_heatmap(model), tmp_path / "map.onnx")
    np.testing.assert_array_equal(_answers(tmp_path / "map.onnx", pixels)["heatmap"], zeros)


def test_litert_gives_the_same_map(tmp_path: Path) -> None:
    from ai_edge_litert.interpreter import Interpreter

    model = _network("custom_cnn")
    pixels = _pixels(model)[:1]
    to_tflite(with_heatmap(model), tmp_path / "map.tflite", FORMATS["tflite_float32"])
    interpreter = Interpreter(model_path=str(tmp_path / "map.tflite"))
    interpreter.allocate_tensors()
    interpreter.set_tensor(interpreter.get_input_details()[0]["index"], pixels)
    interpreter.invoke()
    answers = {len(d["shape"]): interpreter.get_tensor(d["index"]) for d in interpreter.get_output_details()}
    np.testing.assert_allclose(answers[3], _grad_cam(model, pixels), atol=1e-4)
    np.testing.assert_allclose(answers[2], model(pixels, training=False), atol=1e-6)


@pytest.mark.parametrize(
    ("behind", "culprit"),
    [
        ([layers.Flatten(), layers.Dense(2, "tanh", name="bent"), layers.Dense(1, "sigmoid")], "bent"),
        ([layers.GlobalMaxPooling2D(), layers.Dense(1, "sigmoid")], "features"),
        ([layers.GlobalAveragePooling2D(), layers.Dense(1, "relu", name="last")], "last"),
    ],
    ids=["activation", "pooling", "answer"],
)
def test_a_head_without_known_gradient_is_refused(behind: list[layers.Layer], culprit: str) -> None:
    with pytest.raises(
        FractureEdgeError, match=f"no heat map for this network: layer '{culprit}'.* export it with"
    ):
        with_heatmap(_head(*behind))
