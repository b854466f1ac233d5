"""Convert a Keras model to float32 ONNX with tf2onnx: input `image` uint8 [N, H, W, 1], `probability` [N, 1]."""

import io
from collections.abc import Mapping
from contextlib import redirect_stdout
from pathlib import Path

import keras
import onnx
import tensorflow as tf
import tf2onnx

from export.onnx_passes.transposes import fold_flatten_transposes
from fracture_edge.modelfile import INPUT_NAME, OUTPUT_NAME

#: ONNX opset. At 17 global average pooling stays one operator; at 18 it becomes ReduceMean between transposes.
OPSET = 17


def to_onnx(model: keras.Model, target: Path) -> None:
    """Convert a model and write an ONNX file with a dynamic batch size.

    Args:
        model: Model as saved by training, or with a heat map (`export.keras_passes.heatmap`); the Keras backend
        must
            be TensorFlow.
        target: Path of the ``.onnx`` file to write.
    """
    signature = [tf.TensorSpec((None, *model.input_shape[1:]), tf.uint8, name=INPUT_NAME)]

    # A dictionary sets the names of the outputs; otherwise tf2onnx would name them after the layers.
    @tf.function(input_signature=signature)
    def infer(image: tf.Tensor) -> dict[str, tf.Tensor]:
        outputs = model(image, training=False)
        return dict(outputs) if isinstance(outputs, Mapping) else {OUTPUT_NAME: outputs}

    with redirect_stdout(io.StringIO()):
        converted, _ = tf2onnx.convert.from_function(infer, input_signature=signature, opset=OPSET)
    fold_flatten_transposes(converted)
    onnx.checker.check_model(converted, full_check=True)
    onnx.save(converted, target)
