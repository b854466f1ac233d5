"""Platt scaling: calibrated probabilities, fitted on validation images only and then frozen."""

from collections.abc import Sequence
from dataclasses import dataclass

import keras
import numpy as np
import numpy.typing as npt
from scipy.optimize import minimize
from scipy.special import expit, logit

Floats = npt.NDArray[np.float64]

_EPSILON = 1e-7


@dataclass(frozen=True, slots=True)
class Calibration:
    """Affine calibration of log-odds: calibrated log-odds = log-odds / temperature + intercept.

    The intercept corrects the shift of the mean probability that class weights cause; a temperature alone cannot.

    Attributes:
        temperature: Divisor of the log-odds; above 1 if the network was overconfident.
        intercept: Shift of the log-odds, added after the division.
    """

    temperature: float
    intercept: float

    def __call__(self, probabilities: Floats) -> Floats:
        """Calibrate probabilities."""
        return np.asarray(expit(_log_odds(probabilities) / self.temperature + self.intercept))

    def fold_into(self, layer: keras.layers.Dense) -> None:
        """Fold the calibration into the weights of the output layer, so that every export includes it."""
        kernel, bias = layer.get_weights()
        layer.set_weights([kernel / self.temperature, bias / self.temperature + self.intercept])

    def inverse(self, probabilities: Floats) -> Floats:
        """Compute the uncalibrated probabilities from calibrated ones."""
        return np.asarray(expit((_log_odds(probabilities) - self.intercept) * self.temperature))


#: Identity: probabilities stay unchanged.
UNCALIBRATED = Calibration(1.0, 0.0)


def fit_calibration(labels: Sequence[int], probabilities: Floats) -> Calibration:
    """Fit temperature and intercept by maximum likelihood with Platt's smoothed targets (Platt scaling).

    Source: Platt, "Probabilistic Outputs for Support Vector Machines" (1999), section 2.2; the targets keep
    the fit finite when validation scores separate the classes.

    Args:
        labels: Labels, 0 or 1, [N].
        probabilities: Uncalibrated P(fractured), [N].
    """
    truth = np.asarray(labels)
    positives, negatives = int(truth.sum()), int((1 - truth).sum())
    targets = np.where(truth == 1, (positives + 1) / (positives + 2), 1 / (negatives + 2))
    scores = _log_odds(probabilities)

    def loss(parameters: Floats) -> float:
        z = np.exp(parameters[0]) * scores + parameters[1]
        return float(np.mean(np.logaddexp(0, z) - targets * z))

    # The slope is fitted by its logarithm, so that it is positive: a calibration must not reverse the order.
    slope, intercept = minimize(loss, np.zeros(2), method="L-BFGS-B", bounds=[(-4, 4), (None, None)]).x
    return Calibration(float(np.exp(-slope)), float(intercept))


def _log_odds(probabilities: Floats) -> Floats:
    return np.asarray(logit(np.clip(np.asarray(probabilities, np.float64), _EPSILON, 1 - _EPSILON)))
