"""Keras to ONNX, float32: tf2onnx, one input `image` uint8 [N, H, W, 1], `probability` [N, 1] out."""

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

#: At 17 global average pooling stays one operator; at 18 it becomes ReduceMean with transposes around it.
OPSET = 17


def to_onnx(model: keras.Model, target: Path) -> None:
    """Convert a model with a dynamic batch and write it.

    Args:
        model: As saved by training, or with a heat map (`export.keras_passes.heatmap`); Keras must run on
            TensorFlow.
        target: The ``.onnx`` file.
    """
    signature = [tf.TensorSpec((None, *model.input_shape[1:]), tf.uint8, name=INPUT_NAME)]

    # A dictionary fixes the names of the outputs; a converted model would call them after its layers.
    @tf.function(input_signature=signature)
    def infer(image: tf.Tensor) -> dict[str, tf.Tensor]:
        outputs = model(image, training=False)
        return dict(outputs) if isinstance(outputs, Mapping) else {OUTPUT_NAME: outputs}

    with redirect_stdout(io.StringIO()):
        converted, _ = tf2onnx.convert.from_function(infer, input_signature=signature, opset=OPSET)
    fold_flatten_transposes(converted)
    onnx.checker.check_model(converted, full_check=True)
    onnx.save(converted, target)
