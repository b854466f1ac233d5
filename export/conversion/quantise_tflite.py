"""Static int8 quantisation of a TFLite model: calibrate it once, then quantise it in several ways.

`tf.lite.TFLiteConverter` does both in one call. Apart they save most of the time, because running the calibration
images is what takes long, and the ranges and the last bias can be changed between the two. TensorFlow offers the
steps only in its tool for finding sensitive layers, `tf.lite.experimental.QuantizationDebugger`; this module calls
the functions that the tool is made of.
"""

import io
import math
from collections.abc import Iterable, Iterator, Sequence
from contextlib import redirect_stdout
from typing import Any

import keras
import numpy as np
import numpy.typing as npt
import tensorflow as tf
from ai_edge_litert.interpreter import Interpreter, OpResolverType
from tensorflow.lite.python.convert import deduplicate_readonly_buffers, mlir_quantize
from tensorflow.lite.python.schema_py_generated import BuiltinOperator
from tensorflow.lite.tools import flatbuffer_utils

from export.conversion.sensitivity import FLOAT_SHARE
from export.recipes import Format

_WITH_WEIGHTS = frozenset({"CONV_2D", "DEPTHWISE_CONV_2D", "FULLY_CONNECTED"})
#: Number of steps between the smallest and the largest activation in a histogram; 16 for each of 8 bits.
_BINS = 4096
#: Number of calibration images of the histograms; each has as many values of a tensor as that has elements.
_HISTOGRAM_IMAGES = 64
#: Largest log-odds that a probability in 8 bits tells from 1: those of 511/512.
_MOST_LOG_ODDS = math.log(511)
#: Largest activations that `least_error_ranges` compares, as shares of the largest of all.
_SHARES = np.linspace(0.2, 1.0, 81)


def calibrate(model: keras.Model, images: npt.NDArray[np.uint8]) -> bytes:
    """Convert a model to TFLite in float32, with the smallest and the largest activation of each tensor.

    Args:
        model: Model for a batch of one image, float32 grey levels [1, H, W, 1].
        images: Training images for the ranges, uint8 [N, H, W, 1].

    Returns:
        Content of a TFLite file, for `quantise`; the range of the log-odds is limited by `limit_log_odds`.
    """
    converter = tf.lite.TFLiteConverter.from_keras_model(model)
    converter.optimizations = [tf.lite.Optimize.DEFAULT]

    def representative() -> Iterator[list[npt.NDArray[np.float32]]]:
        for row in range(len(images)):
            image = images[row : row + 1].astype(np.float32)
            if row == 0:
                # One black and one white corner: the range of the input becomes 0 to 255, so that an integer
                # interface takes the bytes of an image unchanged, whatever the brightest training image is.
                image[0, 0, 0], image[0, -1, -1] = 0.0, 255.0
            yield [image]

    converter.representative_dataset = representative
    converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS_INT8]
    converter._experimental_calibrate_only = True
    # The converter prints every variable that it saves to stdout.
    with redirect_stdout(io.StringIO()):
        return limit_log_odds(bytes(converter.convert()))


def quantise(content: bytes, chosen: Format, *, float_tail: bool = False, float_front: int = 0) -> bytes:
    """Quantise a calibrated model to int8.

    Args:
        content: Content of the file that `calibrate` returned.
        chosen: Format of the file; its precision is int8 and its runtime ``tflite``.
        float_tail: Whether the last layers stay float32, see `float_nodes`.
        float_front: Number of the first layers that stay float32.
    """
    integer = chosen.interface == "integer"
    names = float_nodes(content, tail=float_tail, front=float_front) if float_tail or float_front else None
    quantised = mlir_quantize(
        content,
        input_data_type=tf.uint8 if integer else tf.float32,
        output_data_type=tf.int8 if integer else tf.float32,
        denylisted_nodes=names,
    )
    return bytes(deduplicate_readonly_buffers(quantised))


def least_error_ranges(content: bytes, images: npt.NDArray[np.uint8]) -> bytes:
    """Narrow the ranges of a calibrated model to those of the least squared error.

    A few large activations widen the steps of all others. Cutting them off costs an error of their own; the range
    with the smallest sum of both is kept, of `_SHARES` of the largest activation ("MSE" calibration, as in Nagel
    et al., "A White Paper on Neural Network Quantization", 2021, section 3.1).

    Args:
        content: Content of the file that `calibrate` returned.
        images: Training images for the histograms, uint8 [N, H, W, 1]; the first `_HISTOGRAM_IMAGES` are used.

    Returns:
        The content with the narrower ranges; that of the input, 0 to 255, is kept.
    """
    model = flatbuffer_utils.convert_bytearray_to_object(bytearray(content))
    graph = model.subgraphs[0]
    ranges = {}
    for index, tensor in enumerate(graph.tensors):
        found = tensor.quantization
        if index in graph.inputs or found is None or found.min is None or len(found.min) != 1:
            continue
        # A tensor that is always 0 has no range.
        if found.max[0] > found.min[0]:
            ranges[index] = (float(found.min[0]), float(found.max[0]))
    for index, counts in _histograms(content, ranges, images[:_HISTOGRAM_IMAGES]).items():
        low, high = least_error_range(counts, *ranges[index])
        graph.tensors[index].quantization.min = np.array([low], np.float32)
        graph.tensors[index].quantization.max = np.array([high], np.float32)
    return bytes(flatbuffer_utils.convert_object_to_bytearray(model))


def least_error_range(counts: npt.NDArray[np.integer], low: float, high: float) -> tuple[float, float]:
    """Return the range whose 256 steps represent the values of a histogram with the least squared error.

    Args:
        counts: Number of values in each of the equal bins between `low` and `high`.
        low: Smallest value.
        high: Largest value, above `low`.

    Returns:
        Smallest and largest value of the range: both ends times one of `_SHARES`, the same for both.
    """
    edges = np.linspace(low, high, len(counts) + 1)
    values = (edges[1:] + edges[:-1]) / 2
    errors = []
    for share in _SHARES:
        # 8 bits always represent 0.
        first, last = min(low * share, 0.0), max(high * share, 0.0)
        step = (last - first) / 255
        rounded = np.clip(np.round((values - first) / step), 0, 255) * step + first
        errors.append(float(((rounded - values) ** 2 * counts).sum()))
    best = float(_SHARES[int(np.argmin(errors))])
    return (low * best, high * best)


def _histograms(
    content: bytes, ranges: dict[int, tuple[float, float]], images: npt.NDArray[np.uint8]
) -> dict[int, npt.NDArray[np.int64]]:
    """Count the activations of each tensor in bins between its smallest and largest one."""
    interpreter = Interpreter(
        model_content=content,
        # XNNPACK would keep the tensors between its operators to itself.
        experimental_op_resolver_type=OpResolverType.BUILTIN_WITHOUT_DEFAULT_DELEGATES,
        experimental_preserve_all_tensors=True,
    )
    interpreter.allocate_tensors()
    given = interpreter.get_input_details()[0]["index"]
    counts = {index: np.zeros(_BINS, np.int64) for index in ranges}
    for row in range(len(images)):
        interpreter.set_tensor(given, images[row : row + 1].astype(np.float32))
        interpreter.invoke()
        for index, limits in ranges.items():
            counts[index] += np.histogram(interpreter.get_tensor(index), bins=_BINS, range=limits)[0]
    return counts


def limit_log_odds(content: bytes) -> bytes:
    """Limit the range of the log-odds of a calibrated model to those that 8 bits of a probability tell apart.

    A single image with log-odds of -40 would leave steps of 0.2 to all others.

    Args:
        content: Content of a calibrated file.

    Returns:
        The content with the range of the log-odds within plus and minus `_MOST_LOG_ODDS`.
    """
    model = flatbuffer_utils.convert_bytearray_to_object(bytearray(content))
    for tensor, _ in _log_odds(model):
        found = tensor.quantization
        # 8 bits always represent 0.
        found.min = np.clip(found.min, -_MOST_LOG_ODDS, 0).astype(np.float32)
        found.max = np.clip(found.max, 0, _MOST_LOG_ODDS).astype(np.float32)
    return bytes(flatbuffer_utils.convert_object_to_bytearray(model))


def shift_bias(content: bytes, shift: float) -> bytes:
    """Subtract a shift of log-odds from the bias before the sigmoid of a calibrated model.

    Args:
        content: Content of the file that `calibrate` returned; its answer is LOGISTIC of FULLY_CONNECTED.
        shift: Shift of log-odds.

    Returns:
        The content with the shifted bias, and with the shifted range of the log-odds.

    Raises:
        ValueError: There is no such bias.
    """
    model = flatbuffer_utils.convert_bytearray_to_object(bytearray(content))
    for tensor, buffer in _log_odds(model):
        values = np.frombuffer(bytes(buffer.data), np.float32) - np.float32(shift)
        buffer.data = np.frombuffer(values.tobytes(), np.uint8)
        ranges = tensor.quantization
        ranges.min, ranges.max = ranges.min - np.float32(shift), ranges.max - np.float32(shift)
        return bytes(flatbuffer_utils.convert_object_to_bytearray(model))
    raise ValueError("no bias before the probability")


def _log_odds(model: Any) -> Iterator[tuple[Any, Any]]:
    """Yield the tensor of the log-odds, and the buffer of the bias that they end with, if there is one."""
    graph = model.subgraphs[0]
    makers = {index: operator for operator in graph.operators for index in operator.outputs}
    codes = [max(code.builtinCode, code.deprecatedBuiltinCode) for code in model.operatorCodes]

    def kind(index: int) -> int | None:
        return codes[makers[index].opcodeIndex] if index in makers else None

    for output in graph.outputs:
        # Further outputs have several values.
        if kind(output) != BuiltinOperator.LOGISTIC or math.prod(graph.tensors[output].shape) > 1:
            continue
        odds = makers[output].inputs[0]
        if kind(odds) != BuiltinOperator.FULLY_CONNECTED or makers[odds].inputs[2] < 0:
            continue
        yield graph.tensors[odds], model.buffers[graph.tensors[makers[odds].inputs[2]].buffer]


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
