"""Quantisation-aware training: fine-tune with simulated int8 rounding and convert to TFLite.

Method of Jacob et al., "Quantization and Training of Neural Networks for Efficient Integer-Arithmetic-Only
Inference" (CVPR 2018), as implemented by tensorflow-model-optimization, applied to the tf_keras twin.
"""

import contextlib
import io
import warnings
from typing import Any

import keras
import numpy as np
import numpy.typing as npt
import tensorflow as tf
import tensorflow_model_optimization as tfmot
import tf_keras

from export.compression.prune_and_cluster import FineTuning, as_at_inference, fine_tune
from export.compression.tf_keras_twin import check_twin, to_twin
from export.conversion.recentre import shift_keras_bias
from export.keras_passes.fold_batch_norms import follows_linear, layer_inputs
from fracture_edge.errors import FractureEdgeError
from fracture_edge.modelfile import INPUT_NAME

#: Name of the part of the network that is quantised.
_BODY = "probability"
#: Number of images for the initial ranges of the activations.
_RANGE_IMAGES = 128
#: Names, without ``_min`` and ``_max``, of the variables that hold the range of a layer's output.
_RANGES = ("output", "post_activation", "quantize_layer")


def quantisation_aware(model: keras.Model, tuning: FineTuning) -> tf_keras.Model:
    """Fine-tune `model` with simulated int8 rounding.

    All layers between the normalised image and the last features are int8. The log-odds and the probability, which
    have one channel, stay float32: in 8 bits a probability could take only 256 values.

    Args:
        model: Model from ``image`` uint8 [N, H, W, 1] to ``probability`` [N, 1]; not changed. The custom CNN must
            have passed `export.keras_passes.fold_batch_norms`.
        tuning: Data and parameters of fine-tuning; its seed also samples the images for the initial ranges.

    Returns:
        Model from grey levels 0 to 255, float32 [1, H, W, 1], to P(fractured), [1, 1], for `to_int8_tflite`.

    Raises:
        FractureEdgeError: A batch norm does not follow a convolution, tensorflow-model-optimization does not
            support a layer, or fine-tuning diverged.
    """
    _refuse_unfused_batch_norms(model)
    tf_keras.utils.set_random_seed(tuning.seed)
    twin = to_twin(model)
    check_twin(model, twin, tuning.pixels[:8])
    as_at_inference(twin)
    normalised = twin.get_layer("normalise").output
    # Without `grey_levels`, which only converts bytes to float32.
    front = tf_keras.Model(twin.get_layer("grey_levels").output, normalised, name="front")
    body = tf_keras.Model(normalised, twin.output, name=_BODY)
    quantised = _quantise(body)
    sampled = np.sort(np.random.default_rng(tuning.seed).permutation(len(tuning.pixels))[:_RANGE_IMAGES])
    _set_ranges(quantised, twin, tuning.pixels[sampled])
    shape = model.input_shape[1:]
    fine_tune(_joined(front, quantised, shape, None), tuning, what="quantisation-aware training")
    return _joined(front, quantised, shape, 1)


def to_int8_tflite(trained: tf_keras.Model) -> bytes:
    """Convert a model of `quantisation_aware` to the content of a TFLite file."""
    converter = tf.lite.TFLiteConverter.from_keras_model(trained)
    converter.optimizations = [tf.lite.Optimize.DEFAULT]
    # The converter prints its temporary paths to stdout, and warns of missing statistics that are in the graph.
    with contextlib.redirect_stdout(io.StringIO()), warnings.catch_warnings(action="ignore"):
        return bytes(converter.convert())


def shift_trained_bias(trained: tf_keras.Model, shift: float) -> None:
    """Subtract a shift of log-odds from the last bias of a model of `quantisation_aware`; in place."""
    shift_keras_bias(trained.get_layer(_BODY), shift)


def _refuse_unfused_batch_norms(model: keras.Model) -> None:
    inputs = layer_inputs(model)
    for layer in model.layers:
        batch_norm = isinstance(layer, keras.layers.BatchNormalization)
        if batch_norm and not follows_linear(model, inputs[layer.name][0]):
            raise FractureEdgeError(
                f"{model.name}: batch norm '{layer.name}' does not directly follow a convolution; "
                "quantisation-aware training needs it folded; where it cannot be, use int8 without such training"
            )


def _quantise(body: tf_keras.Model) -> tf_keras.Model:
    registry = tfmot.quantization.keras.default_8bit.Default8BitQuantizeScheme().get_quantize_registry()

    def annotate(layer: tf_keras.layers.Layer) -> tf_keras.layers.Layer:
        known = registry.supports(layer) or isinstance(layer, tf_keras.layers.BatchNormalization)
        if known and layer.output_shape[-1] > 1:
            return tfmot.quantization.keras.quantize_annotate_layer(layer)
        return layer

    try:
        return tfmot.quantization.keras.quantize_apply(tf_keras.models.clone_model(body, clone_function=annotate))
    except (RuntimeError, ValueError) as error:
        reason = " ".join(str(error).split())
        raise FractureEdgeError(f"quantisation-aware training is not possible here: {reason}") from error


def _set_ranges(quantised: tf_keras.Model, twin: tf_keras.Model, pixels: npt.NDArray[np.uint8]) -> None:
    """Initialise the ranges of the activations from real images.

    tfmot initialises all ranges to -6 to 6 and moves them by a thousandth per step, too slowly for a short
    fine-tuning.
    """
    variables: dict[str, dict[str, Any]] = {}
    for layer in quantised.layers:
        for weight in layer.weights:
            kind, _, end = weight.name.partition(":")[0].rpartition("/")[2].rpartition("_")
            if kind in _RANGES:
                source = "normalise" if kind == "quantize_layer" else layer.name.removeprefix("quant_")
                variables.setdefault(source, {})[end] = weight
    probe = tf_keras.Model(twin.input, [twin.get_layer(name).output for name in variables])
    low, high = np.zeros(len(variables)), np.zeros(len(variables))
    for start in range(0, len(pixels), 8):
        values = probe(pixels[start : start + 8], training=False)
        low = np.minimum(low, [float(tf.reduce_min(value)) for value in values])
        high = np.maximum(high, [float(tf.reduce_max(value)) for value in values])
    for ends, least, largest in zip(variables.values(), low, high, strict=True):
        ends["min"].assign(least)
        ends["max"].assign(largest)


def _joined(front: tf_keras.Model, quantised: tf_keras.Model, shape: Any, batch: int | None) -> tf_keras.Model:
    image = tf_keras.Input(shape, batch_size=batch, dtype="float32", name=INPUT_NAME)
    return tf_keras.Model(image, quantised(front(image)))
