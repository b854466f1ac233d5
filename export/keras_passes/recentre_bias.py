"""Shift the output bias so that the quantised model's mean probability matches the float model's.

The shifts that int8 quantisation causes add up from layer to layer. TFLite's converter does not correct them, and
a threshold that was chosen for the float model then no longer fits. The method is bias correction (Nagel et al.,
"Data-Free Quantization Through Weight Equalization and Bias Correction", ICCV 2019, section 4.2), applied to the
output layer, which every network has; `export.onnx_passes.bias_correction` does it layer by layer for ONNX.
"""

import os
from pathlib import Path
from typing import Any

import keras
import numpy as np
import numpy.typing as npt
from scipy.optimize import brentq
from scipy.special import expit, logit

from benchmarks.runtimes.runners import runner_of
from train.evaluation.predict import predict

_Floats = npt.NDArray[np.floating[Any]]
#: Distance from 0 and 1 to which probabilities are clipped: 8-bit outputs include 0, which has no log-odds.
_EPSILON = 1e-7
#: Largest shift that is searched, in log-odds; no working file comes near it.
_LARGEST = 20.0


def recentre_bias(model: keras.Model, file: Path, images: npt.NDArray[np.uint8]) -> None:
    """Subtract from the output bias of `model` the shift of `file`; the model must then be converted again.

    Args:
        model: Model whose last layer is a Dense layer named ``probability``; changed in place.
        file: Path of the quantised model file converted from `model`, with embedded metadata.
        images: Training images, uint8 [N, H, W, 1].
    """
    runner = runner_of(file, threads=os.cpu_count() or 1)
    found = runner.probabilities(images)
    # The interpreter maps the file into memory, and the file is about to be overwritten.
    runner.close()
    layer = model.get_layer("probability")
    # The model may have a heat map as second output.
    wanted = predict(keras.Model(model.input, layer.output), images)
    kernel, bias = layer.get_weights()
    layer.set_weights([kernel, bias - np.float32(log_odds_shift(wanted, found))])


def log_odds_shift(reference: _Floats, quantised: _Floats) -> float:
    """Compute the shift of the log-odds of `reference` that makes its mean probability equal that of `quantised`.

    The mean is over probabilities, not log-odds, because 8-bit outputs include 0, whose log-odds are infinite.

    Args:
        reference: P(fractured) from the float model, [N].
        quantised: P(fractured) from the quantised file on the same images, [N].

    Returns:
        The shift in log-odds; 0 if no shift within 20 has that mean, as when all probabilities of `quantised` are
        0 or all are 1.
    """
    log_odds = logit(np.clip(np.asarray(reference, np.float64), _EPSILON, 1 - _EPSILON))
    mean = float(np.mean(quantised, dtype=np.float64))

    def surplus(shift: float) -> float:
        return float(expit(log_odds + shift).mean()) - mean

    if surplus(-_LARGEST) >= 0 or surplus(_LARGEST) <= 0:
        # All probabilities are 0, or all are 1: no shift can correct that.
        return 0.0
    return float(brentq(surplus, -_LARGEST, _LARGEST))
