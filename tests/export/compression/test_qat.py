from typing import Any

import keras
import numpy as np
import pytest
from ai_edge_litert import interpreter

from export.compression.prune_and_cluster import FineTuning
from export.compression.qat import quantisation_aware, shift_trained_bias, to_int8_tflite
from export.gate import log_odds
from export.keras_passes.fold_batch_norms import fold_batch_norms
from fracture_edge.errors import FractureEdgeError
from train.architectures import build
from train.data.batches import Batches
from train.trainer.batch_norm import RefitBatchNorms


@pytest.fixture(scope="module")
def images() -> tuple[Any, list[int]]:
    """Dark and bright noise."""
    labels = [0, 1] * 16
    pixels = np.random.default_rng(1).integers(0, 128, (32, 32, 32, 1), np.uint8)
    pixels[1::2] += 100
    return pixels, labels


def _run(blob: bytes, pixels: Any) -> Any:
    runner = interpreter.Interpreter(model_content=blob)
    runner.allocate_tensors()
    (given,), (answer,) = runner.get_input_details(), runner.get_output_details()
    assert (given["dtype"], answer["dtype"]) == (np.float32, np.float32)
    assert list(given["shape"]) == [1, *pixels.shape[1:]]
    found = []
    for image in pixels:
        runner.set_tensor(given["index"], image[np.newaxis].astype(np.float32))
        runner.invoke()
        found.append(runner.get_tensor(answer["index"])[0])
    return np.array(found)


def _kernel_types(blob: bytes, shapes: set[tuple[int, ...]]) -> dict[tuple[int, ...], set[Any]]:
    runner = interpreter.Interpreter(model_content=blob)
    found: dict[tuple[int, ...], set[Any]] = {shape: set() for shape in shapes}
    for tensor in runner.get_tensor_details():
        shape = tuple(int(side) for side in tensor["shape"])
        if shape in shapes:
            found[shape].add(np.dtype(tensor["dtype"]).name)
    return found


def _trained(name: str, images: tuple[Any, list[int]], sureness: float, **options: Any) -> keras.Model:
    keras.utils.set_random_seed(0)
    model = build(name, 32, 32, **options)
    model.compile(keras.optimizers.Adam(3e-3), "binary_crossentropy")
    pixels, labels = images
    model.fit(pixels, np.array(labels, np.float32)[:, None], batch_size=8, epochs=4, verbose=0)
    # Sixteen steps are too few for the running statistics.
    RefitBatchNorms(model, Batches(pixels, labels, batch_size=len(pixels))).on_test_begin()
    # A toy is far too sure of the images that it has learned: its log-odds span what a network's on X-rays do.
    kernel, bias = model.get_layer("probability").get_weights()
    model.get_layer("probability").set_weights([sureness * kernel, sureness * bias])
    return model


@pytest.mark.slow
def test_folded_custom_cnn_is_int8_and_answers_as_before(
    images: tuple[Any, list[int]], capsys: pytest.CaptureFixture[str]
) -> None:
    model = _trained("custom_cnn", images, 0.2, filters=(4, 6, 8), units=8)
    pixels, _ = images
    expected = np.asarray(model(pixels, training=False))
    trained = quantisation_aware(fold_batch_norms(model), FineTuning(pixels, expected[:, 0], batch_size=8))
    blob = to_int8_tflite(trained)
    found = _run(blob, pixels)
    # Steps of 1/256 in each of four layers.
    assert np.abs(found - expected).max() < 0.1
    assert np.abs(found - expected).mean() < 0.02
    assert expected.std() > 0.1
    # TFLite keeps kernels as [out, h, w, in] and [out, in]; that of the log-odds is float.
    shapes = {(4, 3, 3, 3), (6, 3, 3, 4), (8, 3, 3, 6), (8, 32)}
    assert _kernel_types(blob, shapes) == {shape: {"int8"} for shape in shapes}
    shift_trained_bias(trained, 0.25)
    # Both files compute the log-odds in float32 from the same 8-bit features.
    np.testing.assert_allclose(log_odds(_run(to_int8_tflite(trained), pixels)), log_odds(found) - 0.25, atol=1e-4)
    output = capsys.readouterr()
    assert output.out == ""
    assert "quantisation-aware training: epoch 1 of 1, loss" in output.err


@pytest.mark.slow
def test_edge_runs_with_its_log_odds_in_float(images: tuple[Any, list[int]]) -> None:
    model = _trained("edge", images, 0.06, filters=0.25, depth=0.5, dropout=0.0, drop_path=0.0)
    pixels, _ = images
    expected = np.asarray(model(pixels, training=False))
    trained = quantisation_aware(model, FineTuning(pixels, expected[:, 0], batch_size=8))
    found = _run(to_int8_tflite(trained), pixels)
    # Fifty layers, each rounded to 1/256 of its range.
    assert np.abs(found - expected).max() < 0.1
    assert expected.std() > 0.05


def test_norms_that_were_not_folded_are_refused(images: tuple[Any, list[int]]) -> None:
    model = build("custom_cnn", 32, 32, filters=(4, 6, 8), units=8)
    with pytest.raises(FractureEdgeError, match="batch norm 'norm1' does not directly follow a convolution"):
        quantisation_aware(model, FineTuning(images[0], np.array(images[1])))


def test_layers_that_the_tool_cannot_take_are_named(images: tuple[Any, list[int]]) -> None:
    image = keras.Input((32, 32, 1), dtype="uint8", name="image")
    x = keras.layers.Rescaling(1.0, name="grey_levels")(image)
    x = keras.layers.Rescaling(1 / 255, name="normalise")(x)
    x = keras.layers.Activation("elu", name="odd")(keras.layers.Conv2D(4, 3)(x))
    x = keras.layers.GlobalAveragePooling2D()(x)
    model = keras.Model(image, keras.layers.Dense(1, activation="sigmoid", name="probability")(x))
    with pytest.raises(FractureEdgeError, match="quantisation-aware training is not possible here"):
        quantisation_aware(model, FineTuning(images[0], np.array(images[1])))
