"""Convert a Keras model to TFLite with TensorFlow's converter, for a batch of one image.

ai-edge-quantizer (0.10, static int8, its own ranges and percentiles) was tried on `edge` as an alternative: its
file made decisions different from Keras on far more validation images, and was no smaller.
"""

import io
from contextlib import redirect_stdout
from pathlib import Path

import keras
import tensorflow as tf

from export.recipes import Format
from fracture_edge.modelfile import INPUT_NAME
from train.architectures import after_grey_levels


def to_tflite(model: keras.Model, target: Path, chosen: Format) -> None:
    """Convert a model and write the TFLite file, without metadata.

    The input is ``image`` uint8 [1, H, W, 1].

    Args:
        model: Model as saved by training; the Keras backend must be TensorFlow.
        target: Path of the ``.tflite`` file to write.
        chosen: Format of the file: float32, float16 or dynamic; its runtime is ``tflite``.
    """
    converter = tf.lite.TFLiteConverter.from_keras_model(one_image(model, quantised=False))
    if chosen.precision != "float32":
        converter.optimizations = [tf.lite.Optimize.DEFAULT]
    if chosen.precision == "float16":
        converter.target_spec.supported_types = [tf.float16]
    # The converter prints every variable that it saves to stdout.
    with redirect_stdout(io.StringIO()):
        target.write_bytes(converter.convert())


def one_image(model: keras.Model, *, quantised: bool) -> keras.Model:
    """Build the model for a batch of one: with fixed shapes LiteRT plans memory and threads in advance.

    Args:
        model: Model as saved by training, from ``image`` uint8 [N, H, W, 1].
        quantised: Whether the image is float32 grey levels instead of uint8, as
            `export.conversion.quantise_tflite.calibrate` needs.
    """
    image = keras.Input(
        model.input_shape[1:], batch_size=1, dtype="float32" if quantised else "uint8", name=INPUT_NAME
    )
    # The converter quantises from the first float tensor on, so an int8 model must not start with a cast.
    body = after_grey_levels(model) if quantised else model
    return keras.Model(image, body(image), name=model.name)
