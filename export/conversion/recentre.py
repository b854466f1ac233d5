"""Shift the output bias so that a quantised file decides like the float model around the threshold.

The small errors of int8 do not cancel: values slightly above 0 are rounded to 0 behind every ReLU, and the
log-odds of all images move in one direction. The bias of the output layer, which every network has, can take that
back (bias correction, Nagel et al., "Data-Free Quantization Through Weight Equalization and Bias Correction", ICCV
2019, section 4.2; `export.onnx_passes.bias_correction` does it layer by layer for ONNX). The shift is not the same
for all images, and decisions depend on those near the threshold only: these count most.
"""

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
from onnx import numpy_helper

from export.gate import log_odds
from export.onnx_passes.graph import initializers, producers, set_constant
from fracture_edge.modelfile import OUTPUT_NAME

_Floats = npt.NDArray[np.floating[Any]]
#: Standard deviation of the weight of an image over the distance of its log-odds from the threshold, in standard
#: deviations of all log-odds.
BANDWIDTH = 0.5


def threshold_shift(reference: _Floats, quantised: _Floats, threshold: float) -> float:
    """Compute by how much the log-odds of a quantised file are too large near the threshold.

    Args:
        reference: P(fractured) from the float model, [N].
        quantised: P(fractured) from the quantised file on the same images, [N].
        threshold: Threshold on P(fractured).

    Returns:
        Weighted mean of the differences of log-odds; 0 if the float model answers all images alike.
    """
    wanted = log_odds(reference)
    spread = float(wanted.std())
    if spread == 0:
        return 0.0
    distance = (wanted - log_odds(np.float64(threshold))) / (BANDWIDTH * spread)
    weights = np.exp(-0.5 * distance**2)
    # A threshold far from all images: the nearest ones.
    if weights.sum() < 1:
        weights = np.exp(0.5 * (np.abs(distance).min() ** 2 - distance**2))
    return float(np.average(log_odds(quantised) - wanted, weights=weights))


def shift_keras_bias(model: Any, shift: float) -> None:
    """Subtract a shift of log-odds from the bias of a Keras model's last layer, ``probability``; in place."""
    layer = model.get_layer(OUTPUT_NAME)
    kernel, bias = layer.get_weights()
    layer.set_weights([kernel, bias - np.float32(shift)])


def shift_onnx_bias(path: Path, shift: float) -> None:
    """Subtract a shift of log-odds from the bias before the sigmoid of an ONNX file; the file is rewritten.

    Args:
        path: Path of the file; its output ``probability`` is a Sigmoid of a Gemm, or of an Add of a stored bias.
        shift: Shift of log-odds.

    Raises:
        ValueError: There is no such bias.
    """
    model = onnx.load(path)
    makers = producers(model.graph)
    stored = initializers(model.graph)
    sigmoid = makers[OUTPUT_NAME]
    source = makers[sigmoid.input[0]] if sigmoid.op_type == "Sigmoid" else sigmoid
    biases = [name for name in source.input if name in stored and stored[name].dims in ([1], [1, 1])]
    if source.op_type not in ("Gemm", "Add") or not biases:
        raise ValueError(f"{path.name}: no bias before the probability")
    tensor = stored[biases[-1]]
    set_constant(tensor, numpy_helper.to_array(tensor) - np.float32(shift))
    onnx.save(model, path)
