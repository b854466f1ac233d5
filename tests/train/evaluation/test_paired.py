import json

import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

from train.evaluation.metrics import UNDEFINED
from train.evaluation.paired import McNemar, compare_pairs, mcnemar

IMAGES, INPUTS = 600, 20


def _linear_model(inputs: np.ndarray, weights: np.ndarray) -> np.ndarray:
    return 1 / (1 + np.exp(-(inputs @ weights)))


@pytest.fixture(scope="module")
def trained() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Labels, inputs, and the optimal weights of a linear classifier."""
    random = np.random.default_rng(5)
    labels = random.integers(0, 2, IMAGES)
    direction = random.normal(0, 1, INPUTS) * 0.4
    inputs = random.normal(0, 1, (IMAGES, INPUTS)) + (labels[:, None] - 0.5) * direction
    return labels, inputs, direction


@pytest.mark.parametrize(
    ("only_source", "only_other", "p"),
    [
        # Twice the lower tail of n fair coins.
        (7, 1, 2 * (1 + 8) / 2**8),
        (1, 7, 2 * (1 + 8) / 2**8),
        (5, 0, 2 * 1 / 2**5),
        (10, 2, 2 * (1 + 12 + 66) / 2**12),
        (4, 4, 1.0),
        (1, 0, 1.0),
        (0, 0, 1.0),
    ],
)
def test_mcnemar_by_hand(only_source: int, only_other: int, p: float) -> None:
    source = np.array([True] * only_source + [False] * only_other + [True] * 9 + [False] * 4)
    other = np.array([False] * only_source + [True] * only_other + [True] * 9 + [False] * 4)
    assert mcnemar(source, other) == McNemar(only_source, only_other, pytest.approx(p, abs=1e-12))


def test_changes_by_hand() -> None:
    labels, groups = [1, 1, 0, 0, 0], list("abcde")
    source, other = np.array([0.9, 0.6, 0.4, 0.1, 0.7]), np.array([0.8, 0.3, 0.4, 0.1, 0.2])
    found = compare_pairs(labels, groups, source, other, 0.5, resamples=100)
    assert found.agreement == 3 / 5
    assert found.largest_difference == pytest.approx(0.5)
    assert found.mean_difference == pytest.approx((0.1 + 0.3 + 0.5) / 5)
    # Of 6 pairs, the source has 5 in order and the other 5.
    assert found.auroc_change.value == pytest.approx(0.0)
    assert found.sensitivity_change.value == -1 / 2
    assert found.specificity_change.value == pytest.approx(1 / 3)
    assert found.mcnemar == McNemar(1, 1, 1.0)
    for change in (found.auroc_change, found.sensitivity_change, found.specificity_change):
        assert -1 <= change.low <= change.value <= change.high <= 1


def test_equal_probabilities_change_exactly_nothing() -> None:
    random = np.random.default_rng(0)
    labels, scores = random.integers(0, 2, 90).tolist(), random.random(90)
    found = compare_pairs(labels, [str(k // 3) for k in range(90)], scores, scores.copy(), 0.4).to_json()
    nothing = {"value": 0.0, "low": 0.0, "high": 0.0}
    assert found == {
        "agreement": 1.0,
        "largest_difference": 0.0,
        "mean_difference": 0.0,
        "auroc_change": nothing,
        "sensitivity_change": nothing,
        "specificity_change": nothing,
        "mcnemar": {"only_source_right": 0, "only_this_right": 0, "p": 1.0},
    }


def test_a_model_with_noise_in_its_weights_is_worse(
    trained: tuple[np.ndarray, np.ndarray, np.ndarray],
) -> None:
    labels, inputs, weights = trained
    noisy = weights + np.random.default_rng(6).normal(0, 0.6, INPUTS)
    good, bad = _linear_model(inputs, weights), _linear_model(inputs, noisy)
    found = compare_pairs(labels.tolist(), [str(k) for k in range(IMAGES)], good, bad, 0.5)
    assert found.auroc_change.value == pytest.approx(
        roc_auc_score(labels, bad) - roc_auc_score(labels, good), abs=1e-12
    )
    assert found.auroc_change.value < found.auroc_change.high < 0
    assert found.mcnemar.only_source_right > found.mcnemar.only_this_right
    assert found.mcnemar.p < 1e-3


def test_noise_without_changed_decisions_is_not_significant(
    trained: tuple[np.ndarray, np.ndarray, np.ndarray],
) -> None:
    labels, inputs, weights = trained
    good = _linear_model(inputs, weights)
    found = compare_pairs(labels.tolist(), [str(k) for k in range(IMAGES)], good, good.round(4), 0.5)
    assert found.auroc_change.low <= 0 <= found.auroc_change.high
    assert found.mcnemar.p > 0.2


def test_both_forms_share_the_bootstrap_samples() -> None:
    # Of 200 fractured images, 12 are found by the source alone and 6 by the other alone.
    fractured = np.full(200, 0.9), np.full(200, 0.9)
    fractured[1][:12] = 0.1
    fractured[0][12:18] = 0.1
    others = np.full(200, 0.1)
    found = compare_pairs(
        [1] * 200 + [0] * 200,
        [str(k) for k in range(400)],
        np.concatenate([fractured[0], others]),
        np.concatenate([fractured[1], others]),
        0.5,
        resamples=4000,
    )
    assert found.sensitivity_change.value == pytest.approx(-6 / 200)
    # Variance of a difference of paired proportions (Fleiss, Statistical Methods for Rates and Proportions, 1981).
    # With independent bootstrap samples for each form it would be 1.7 times as wide.
    error = np.sqrt(12 + 6 - 6**2 / 200) / 200
    width = found.sensitivity_change.high - found.sensitivity_change.low
    # Steps of 1 / 200 and the scatter of quantiles.
    assert width == pytest.approx(2 * 1.96 * error, rel=0.12)


def test_copies_of_an_image_in_its_group_change_no_interval(
    trained: tuple[np.ndarray, np.ndarray, np.ndarray],
) -> None:
    labels, inputs, weights = (values[:60] for values in trained)
    source = _linear_model(inputs, weights)
    other = np.clip(source + np.random.default_rng(1).normal(0, 0.2, 60), 0, 1)
    names = [f"{k:02}" for k in range(60)]

    def width(times: int, groups: list[str]) -> float:
        change = compare_pairs(
            np.repeat(labels, times).tolist(), groups, np.repeat(source, times), np.repeat(other, times), 0.5
        ).auroc_change
        return change.high - change.low

    single = width(1, names)
    # The same bootstrap samples; only the order of float sums differs.
    assert width(5, np.repeat(names, 5).tolist()) == pytest.approx(single, abs=1e-9)
    # Taken for 300 images it would be narrower by the square root of five.
    assert width(5, [str(k) for k in range(300)]) < 0.6 * single


def test_without_both_classes_no_change_is_defined() -> None:
    found = compare_pairs([0, 0, 0], list("abc"), np.array([0.1, 0.2, 0.8]), np.array([0.1, 0.2, 0.3]), 0.5)
    assert (found.auroc_change, found.sensitivity_change, found.specificity_change) == (UNDEFINED,) * 3
    assert found.mcnemar == McNemar(0, 1, 1.0)
    plain = found.to_json()
    assert plain["auroc_change"] is None
    json.dumps(plain, allow_nan=False)
