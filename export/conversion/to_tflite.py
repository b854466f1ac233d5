"""Convert a Keras model to TFLite with TensorFlow's converter, for a batch of one image.

ai-edge-quantizer (0.10, static int8, its own ranges and percentiles) was tried on `edge` as an alternative: its
file made decisions different from Keras on far more validation images, and was no smaller.
"""

import io
import math
from collections.abc import Iterable, Iterator, Sequence
from contextlib import redirect_stdout
from pathlib import Path

import keras
import numpy as np
import numpy.typing as npt
import tensorflow as tf
from ai_edge_litert.interpreter import Interpreter, OpResolverType

from export.conversion.sensitivity import FLOAT_SHARE
from export.recipes import Format
from fracture_edge.modelfile import INPUT_NAME
from train.architectures import after_grey_levels

_WITH_WEIGHTS = frozenset({"CONV_2D", "DEPTHWISE_CONV_2D", "FULLY_CONNECTED"})


def to_tflite(
    model: keras.Model,
    target: Path,
    chosen: Format,
    calibration: npt.NDArray[np.uint8],
    *,
    float_tail: bool = False,
    float_front: int = 0,
) -> None:
    """Convert a model and write the TFLite file, without metadata.

    The input is ``image`` [1, H, W, 1]: uint8, or float32 grey levels 0 to 255 for int8 with a float interface.

    Args:
        model: Model as saved by training; the Keras backend must be TensorFlow.
        target: Path of the ``.tflite`` file to write.
        chosen: Format of the file; its runtime is ``tflite``.
        calibration: Training images for the representative dataset, uint8 [N, H, W, 1]; used for int8 only.
        float_tail: Whether the last layers of an int8 file stay float32, see `float_nodes`.
        float_front: Number of the first layers of an int8 file that stay float32.
    """
    converter = tf.lite.TFLiteConverter.from_keras_model(_one_image(model, quantised=chosen.calibrated))
    if chosen.precision != "float32":
        converter.optimizations = [tf.lite.Optimize.DEFAULT]
    if chosen.precision == "float16":
        converter.target_spec.supported_types = [tf.float16]
    if chosen.calibrated:

        def representative() -> Iterator[list[npt.NDArray[np.float32]]]:
            for row in range(len(calibration)):
                image = calibration[row : row + 1].astype(np.float32)
                if row == 0:
                    # One black and one white corner: the range of the input becomes 0 to 255, so that an integer
                    # interface takes the bytes of an image unchanged, whatever the brightest training image is.
                    image[0, 0, 0], image[0, -1, -1] = 0.0, 255.0
                yield [image]

        converter.representative_dataset = representative
        converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS_INT8]
        if chosen.interface == "integer":
            converter.inference_input_type = tf.uint8
            converter.inference_output_type = tf.int8
    # The converter prints every variable that it saves to stdout.
    with redirect_stdout(io.StringIO()):
        if float_tail or float_front:
            content = _with_float_layers(converter, tail=float_tail, front=float_front)
        else:
            content = converter.convert()
        target.write_bytes(content)


def _with_float_layers(converter: tf.lite.TFLiteConverter, *, tail: bool, front: int) -> bytes:
    """Quantise all but some layers. TensorFlow offers that only in its tool for finding sensitive layers."""
    debugger = tf.lite.experimental.QuantizationDebugger(converter=converter)
    names = float_nodes(debugger.calibrated_model, tail=tail, front=front)
    debugger.options = tf.lite.experimental.QuantizationDebugOptions(denylisted_nodes=names)
    return bytes(debugger.get_nondebug_quantized_model())


def float_nodes(content: bytes, *, tail: bool, front: int) -> list[str]:
    """Return the output tensors of the operators that stay float32, together at most `FLOAT_SHARE` of the weights.

    Args:
        content: TFLite file in float32.
        tail: Whether the last operators are among them, as far back as the share allows.
        front: Number of the first layers with weights that are among them, fewer if the share allows no more.
    """
    interpreter = Interpreter(
        model_content=content, experimental_op_resolver_type=OpResolverType.BUILTIN_WITHOUT_DEFAULT_DELEGATES
    )
    tensors = {entry["index"]: entry for entry in interpreter.get_tensor_details()}
    operators = interpreter._get_ops_details()
    made = {index for operator in operators for index in operator["outputs"]}
    made.update(entry["index"] for entry in interpreter.get_input_details())
    weights = [
        sum(math.prod(tensors[index]["shape"]) for index in operator["inputs"] if index >= 0 and index not in made)
        for operator in operators
    ]
    most = FLOAT_SHARE * sum(weights)
    layers = [operator["op_name"] in _WITH_WEIGHTS for operator in operators]
    ahead = [place for place in range(len(operators)) if sum(layers[: place + 1]) <= front] if front else []
    first = _within(most, ahead, weights)
    last = _within(most - sum(weights[place] for place in first), range(len(operators) - 1, -1, -1), weights)
    chosen = sorted({*first, *(last if tail else ())})
    return [str(tensors[index]["name"]) for place in chosen for index in operators[place]["outputs"]]


def _within(most: float, places: Iterable[int], weights: Sequence[int]) -> list[int]:
    """Return the first of the places whose weights are together at most `most`."""
    found: list[int] = []
    for place in places:
        most -= weights[place]
        if most < 0:
            break
        found.append(place)
    return found


def _one_image(model: keras.Model, *, quantised: bool) -> keras.Model:
    """Build the model for a batch of one: with fixed shapes LiteRT plans memory and threads in advance."""
    image = keras.Input(
        model.input_shape[1:], batch_size=1, dtype="float32" if quantised else "uint8", name=INPUT_NAME
    )
    # The converter quantises from the first float tensor on, so an int8 model must not start with a cast.
    body = after_grey_levels(model) if quantised else model
    return keras.Model(image, body(image), name=model.name)
