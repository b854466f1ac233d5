import keras
import numpy as np
import pytest
from scipy.special import expit, logit

from train.evaluation.calibration import Calibration, fit_calibration


def _simulate(seed: int, count: int = 200) -> tuple[np.ndarray, np.ndarray]:
    """Sample labels, both classes among them, and scores that are associated with them."""
    random = np.random.default_rng(seed)
    labels = random.permutation([0, 1, *random.integers(0, 2, count - 2)])
    return labels, expit(random.normal(1.5 * labels - 0.7, 1.2))


@pytest.mark.parametrize(("temperature", "intercept"), [(1.0, 0.0), (2.5, -1.0), (0.5, 0.7)])
def test_fit_recovers_what_was_simulated(temperature: float, intercept: float) -> None:
    random = np.random.default_rng(0)
    raw = random.normal(0, 3 * temperature, 40_000)
    labels = random.random(40_000) < expit(raw / temperature + intercept)
    found = fit_calibration(labels.astype(int), expit(raw))
    # The standard errors at this size are below 0.015 of the slope and 0.02 of the intercept: three of them.
    assert found.temperature == pytest.approx(temperature, rel=0.045)
    assert found.intercept == pytest.approx(intercept, abs=0.06)


def test_calibrated_probabilities_are_means() -> None:
    labels, scores = _simulate(3, 4000)
    calibrated = fit_calibration(labels, scores)(scores)
    # Maximum likelihood with an intercept reproduces the mean target; Platt's targets shift it by 1/2000 at most.
    assert calibrated.mean() == pytest.approx(labels.mean(), abs=1e-3)


def test_fit_is_finite_when_the_scores_separate_the_classes() -> None:
    labels = np.repeat([0, 1], 10)
    found = fit_calibration(labels, np.repeat([0.001, 0.999], 10))
    # Both scores are one point each, so the fit meets Platt's targets 1/12 and 11/12 there (L-BFGS: 1e-3).
    assert found(np.array([0.001, 0.999])) == pytest.approx([1 / 12, 11 / 12], abs=1e-3)
    assert np.isfinite([found.temperature, found.intercept]).all()


@pytest.mark.parametrize("scores", [(0.0, 1.0), (1.0, 0.0), (0.5, 0.5)])
def test_fit_never_reverses_the_order(scores: tuple[float, float]) -> None:
    # Certain, upside down, and without information.
    found = fit_calibration(np.repeat([0, 1], 20), np.repeat(scores, 20))
    assert found.temperature > 0
    ordered = found(np.array([0.1, 0.5, 0.9]))
    assert (np.diff(ordered) > 0).all()
    assert ((ordered > 0) & (ordered < 1)).all()


def test_calibration_by_hand() -> None:
    # logit(0.8) = ln 4; ln 4 / 2 = ln 2; sigmoid(ln 2 + ln 3) = 6 / 7.
    assert Calibration(2.0, np.log(3.0))(np.array([0.8])) == pytest.approx([6 / 7], abs=1e-12)
    # Certainty stays finite: log-odds are cut at 1e-7.
    assert Calibration(1.0, 0.0)(np.array([0.0, 1.0])) == pytest.approx([1e-7, 1 - 1e-7], abs=1e-12)


def test_folding_into_the_last_layer_is_the_calibration() -> None:
    inputs = np.random.default_rng(0).normal(0, 1, (50, 4)).astype(np.float32)
    layer = keras.layers.Dense(1, activation="sigmoid", bias_initializer="ones")
    raw = np.asarray(layer(inputs))[:, 0]
    calibration = Calibration(1.7, -0.4)
    calibration.fold_into(layer)
    # float32 of a sigmoid: 1e-7 a step.
    assert np.asarray(layer(inputs))[:, 0] == pytest.approx(calibration(raw), abs=1e-6)


def test_log_odds_round_trip() -> None:
    probabilities = np.array([1e-6, 0.2, 0.5, 0.999])
    assert Calibration(1.0, 0.0)(probabilities) == pytest.approx(expit(logit(probabilities)), rel=1e-9)
