"""The last bias, moved so that a quantised file's mean answer is that of the float network again.

What 8 bits shift adds up from layer to layer. TFLite's converter corrects none of it, and a threshold that was
frozen for the float network then no longer lies where it should. The idea is that of bias correction (Nagel et
al., "Data-Free Quantization Through Weight Equalization and Bias Correction", ICCV 2019, section 4.2), at the one
place that every network has; `export.onnx_passes.bias_correction` does it layer by layer for ONNX.
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
#: Of probabilities: 8 bits answer 0 and 255/256 too, and the first has no log-odds.
_EPSILON = 1e-7
#: Of a shift, in log-odds: what no working file comes near.
_LARGEST = 20.0


def recentre_bias(model: keras.Model, file: Path, images: npt.NDArray[np.uint8]) -> None:
    """Take from the last bias of `model` what `file`, made of it, shifts; then it is to be converted again.

    Args:
        model: Its last layer is a Dense one called ``probability``; changed in place.
        file: With metadata of ours, for its runtime.
        images: Training images, uint8 [N, H, W, 1].
    """
    runner = runner_of(file, threads=os.cpu_count() or 1)
    found = runner.probabilities(images)
    # The interpreter maps the file, which is about to be written again.
    runner.close()
    layer = model.get_layer("probability")
    # A heat map may be the model's other output.
    wanted = predict(keras.Model(model.input, layer.output), images)
    kernel, bias = layer.get_weights()
    layer.set_weights([kernel, bias - np.float32(log_odds_shift(wanted, found))])


def log_odds_shift(wanted: _Floats, found: _Floats) -> float:
    """What has to be added to the log-odds of `wanted` for the mean probability of `found`.

    The mean of probabilities, not of log-odds: that of a file which answers in 8 bits has no log-odds at its ends.

    Args:
        wanted: P(fractured) from the float network, [N].
        found: P(fractured) from the file on the same images, [N].
    """
    log_odds = logit(np.clip(np.asarray(wanted, np.float64), _EPSILON, 1 - _EPSILON))
    mean = float(np.mean(found, dtype=np.float64))

    def surplus(shift: float) -> float:
        return float(expit(log_odds + shift).mean()) - mean

    if surplus(-_LARGEST) >= 0 or surplus(_LARGEST) <= 0:
        # All answers are 0, or all are 1: no shift makes up for that.
        return 0.0
    return float(brentq(surplus, -_LARGEST, _LARGEST))
