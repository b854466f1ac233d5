"""Convert a Keras model to float32 ONNX with tf2onnx: input `image` uint8 [N, H, W, 1], `probability` [N, 1]."""

import gc
import io
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, redirect_stdout
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
            must be TensorFlow.
        target: Path of the ``.onnx`` file to write.
    """
    signature = [tf.TensorSpec((None, *model.input_shape[1:]), tf.uint8, name=INPUT_NAME)]

    # A dictionary sets the names of the outputs; otherwise tf2onnx would name them after the layers.
    @tf.function(input_signature=signature)
    def infer(image: tf.Tensor) -> dict[str, tf.Tensor]:
        outputs = model(image, training=False)
        return dict(outputs) if isinstance(outputs, Mapping) else {OUTPUT_NAME: outputs}

    converted = convert_function(infer, signature)
    fold_flatten_transposes(converted)
    onnx.checker.check_model(converted, full_check=True)
    onnx.save(converted, target)


def convert_function(
    function: Callable[..., Mapping[str, tf.Tensor]], signature: list[tf.TensorSpec]
) -> onnx.ModelProto:
    """Convert a `tf.function` as tf2onnx does, with less memory.

    Args:
        function: Function whose dictionary names the outputs.
        signature: Inputs of the function.

    Returns:
        ONNX model of opset `OPSET`.
    """
    with redirect_stdout(io.StringIO()), _collecting_often():
        converted: onnx.ModelProto = tf2onnx.convert.from_function(
            function, input_signature=signature, opset=OPSET
        )[0]
    return converted


@contextmanager
def _collecting_often() -> Iterator[None]:
    """Run the garbage collector often, on newly created objects only.

    tf2onnx copies the whole graph before each of its optimisations. The copies refer to themselves, so that only
    the garbage collector frees them. It counts objects, not bytes, and a copy is few objects beside those of
    TensorFlow: those of a ResNet50 grew to gigabytes.
    """
    thresholds = gc.get_threshold()
    gc.freeze()
    # It waits for a quarter more objects than the last full collection left, so one is made that leaves none.
    gc.collect()
    gc.set_threshold(100, 1, 1)
    try:
        yield
    finally:
        gc.set_threshold(*thresholds)
        gc.unfreeze()
        gc.collect()
