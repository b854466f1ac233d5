"""Keras to TFLite with TensorFlow's converter: one image at a time, grey levels in, probability out.

ai-edge-quantizer (0.10, static int8, its own ranges and percentiles) was tried on `edge` in its place: its file
decided otherwise than Keras on far more validation images, and was no smaller.
"""

import io
from collections.abc import Iterator
from contextlib import redirect_stdout
from pathlib import Path

import keras
import numpy as np
import numpy.typing as npt
import tensorflow as tf

from export.recipes import Format
from fracture_edge.modelfile import INPUT_NAME
from train.architectures import after_grey_levels


def to_tflite(model: keras.Model, target: Path, recipe: Format, calibration: npt.NDArray[np.uint8]) -> None:
    """Convert a model and write it, without metadata yet.

    The input is ``image`` [1, H, W, 1]: uint8, but float32 grey levels 0 to 255 for int8 with a float interface.

    Args:
        model: As saved by training; Keras must run on TensorFlow.
        target: The ``.tflite`` file.
        recipe: A recipe of runtime ``tflite``.
        calibration: Training images, uint8 [N, H, W, 1]; only int8 needs them.
    """
    converter = tf.lite.TFLiteConverter.from_keras_model(_one_image(model, quantised=recipe.calibrated))
    if recipe.precision != "float32":
        converter.optimizations = [tf.lite.Optimize.DEFAULT]
    if recipe.precision == "float16":
        converter.target_spec.supported_types = [tf.float16]
    if recipe.calibrated:

        def representative() -> Iterator[list[npt.NDArray[np.float32]]]:
            for row in range(len(calibration)):
                image = calibration[row : row + 1].astype(np.float32)
                if row == 0:
                    # Two corners black and white: the input's range is 0 to 255, and an integer interface takes
                    # the bytes of an image as they are, whatever the brightest training image is.
                    image[0, 0, 0], image[0, -1, -1] = 0.0, 255.0
                yield [image]

        converter.representative_dataset = representative
        converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS_INT8]
        if recipe.interface == "integer":
            converter.inference_input_type = tf.uint8
            converter.inference_output_type = tf.int8
    # The converter tells of every variable it saves, on stdout.
    with redirect_stdout(io.StringIO()):
        target.write_bytes(converter.convert())


def _one_image(model: keras.Model, *, quantised: bool) -> keras.Model:
    """The model for a batch of one: with all shapes known LiteRT plans memory and threads ahead."""
    image = keras.Input(
        model.input_shape[1:], batch_size=1, dtype="float32" if quantised else "uint8", name=INPUT_NAME
    )
    # The converter quantises from the first float tensor on: an int8 model has no cast before it.
    body = after_grey_levels(model) if quantised else model
    return keras.Model(image, body(image), name=model.name)
