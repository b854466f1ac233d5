import math

import numpy as np
import pytest
from scipy.stats import norm
from sklearn.metrics import (
    average_precision_score,
    balanced_accuracy_score,
    brier_score_loss,
    f1_score,
    precision_score,
    recall_score,
    roc_auc_score,
    roc_curve,
)

from train.evaluation import bootstrap
from train.evaluation.metrics import (
    UNDEFINED,
    Estimate,
    auroc,
    basic,
    confusion,
    evaluate,
    percentile,
    proportions,
    reliability,
    wilson,
)

LABELS = [1, 1, 1, 0, 0, 0, 0, 0]
SCORES = np.array([0.9, 0.6, 0.3, 0.7, 0.4, 0.2, 0.1, 0.5])
GROUPS = list("abcdefgh")


@pytest.mark.parametrize(
    ("successes", "trials", "low", "high"),
    [
        # Newcombe, Statistics in Medicine 17 (1998), table I, method 3 (Wilson's score), four decimals.
        (81, 263, 0.2553, 0.3662),
        (15, 148, 0.0624, 0.1605),
        (0, 20, 0.0000, 0.1611),
        (1, 29, 0.0061, 0.1718),
    ],
)
def test_wilson_agrees_with_published_intervals(successes: int, trials: int, low: float, high: float) -> None:
    estimate = wilson(successes, trials)
    assert estimate.value == successes / trials
    # Published with four decimals.
    assert estimate.low == pytest.approx(low, abs=5e-5)
    assert estimate.high == pytest.approx(high, abs=5e-5)


def test_wilson_at_the_edges() -> None:
    assert wilson(0, 7).low == 0.0
    assert wilson(7, 7).high == 1.0
    assert wilson(7, 7).low == pytest.approx(1 - wilson(0, 7).high, abs=1e-12)  # symmetric up to rounding
    assert math.isnan(wilson(0, 0).value)
    for trials in (1, 3, 11, 684):
        for successes in range(trials + 1):
            estimate = wilson(successes, trials)
            assert 0 <= estimate.low <= estimate.value <= estimate.high <= 1


def test_an_estimate_that_is_not_defined_is_null_in_json() -> None:
    assert UNDEFINED.to_json() is None
    assert Estimate(0.5, 0.0, 1.0).to_json() == {"value": 0.5, "low": 0.0, "high": 1.0}


def test_metrics_by_hand() -> None:
    # At 0.5 predicted: 0.9, 0.6 (both right), 0.7 and 0.5 (both wrong): TP 2, FP 2, TN 3, FN 1.
    assert confusion(LABELS, SCORES, 0.5) == {
        "true_positive": 2,
        "false_positive": 2,
        "true_negative": 3,
        "false_negative": 1,
    }
    found = evaluate(LABELS, SCORES, GROUPS, 0.5, resamples=50)
    assert found["accuracy"].value == 5 / 8
    assert found["precision"].value == 2 / 4
    assert found["recall"].value == 2 / 3
    assert found["specificity"].value == 3 / 5
    assert found["f1"].value == pytest.approx(4 / 7)
    # Of 15 pairs, 0.9 beats 5, 0.6 beats 4, 0.3 beats 2.
    assert found["auroc"].value == pytest.approx(11 / 15)
    assert found["balanced_accuracy"].value == pytest.approx((2 / 3 + 3 / 5) / 2)
    # Ranked, the fractured ones are first, third and sixth.
    assert found["average_precision"].value == pytest.approx((1 / 1 + 2 / 3 + 3 / 6) / 3)
    assert found["brier"].value == pytest.approx(
        (0.1**2 + 0.4**2 + 0.7**2 + 0.7**2 + 0.4**2 + 0.2**2 + 0.1**2 + 0.5**2) / 8
    )
    # Each image has a bin to itself.
    assert found["ece"].value == pytest.approx((0.1 + 0.4 + 0.7 + 0.7 + 0.4 + 0.2 + 0.1 + 0.5) / 8)
    # One false alarm of five would be too many: only 0.9 lies above 0.7.
    assert found["sensitivity_at_specificity_90"].value == pytest.approx(1 / 3)


def test_specificity_of_exactly_90_percent_is_enough() -> None:
    scores = np.array([0.9, 0.5, 0.3] + [0.6, 0.4] + [0.1] * 8)
    found = evaluate([1, 1, 1] + [0] * 10, scores, list("abcdefghijklm"), 0.5, resamples=20)
    # Above 0.4 there is one of the ten others, and two of three fractured.
    assert found["sensitivity_at_specificity_90"].value == pytest.approx(2 / 3)


@pytest.mark.parametrize(
    ("labels", "scores", "expected"),
    [
        # In (0.6, 0.7] the mean is 1.96 / 3 and the share 2 / 3; 0.05 lies 0.05 off in a bin of its own.
        ([1, 0, 1, 0], [0.62, 0.68, 0.66, 0.05], (0.04 + 0.05) / 4),
        # 0.6 belongs to (0.5, 0.6]: gaps within one bin would cancel out.
        ([1, 0], [0.6, 0.61], (0.4 + 0.61) / 2),
        ([1, 0], [0.61, 0.7], (1.31 - 1) / 2),
        # 0 and 1 have bins too.
        ([0, 1], [0.0, 1.0], 0.0),
        ([1, 0], [0.0, 1.0], 1.0),
    ],
)
def test_calibration_error_by_hand(labels: list[int], scores: list[float], expected: float) -> None:
    found = evaluate(labels, np.array(scores), list("abcd")[: len(labels)], 0.5, resamples=20)
    assert found["ece"].value == pytest.approx(expected)


def test_metrics_agree_with_scikit_learn() -> None:
    random = np.random.default_rng(3)
    labels = random.integers(0, 2, 300)
    # Two decimals: many ties.
    scores = np.clip(labels * 0.3 + random.normal(0.4, 0.2, 300), 0, 1).round(2)
    predicted = scores >= 0.55
    found = evaluate(labels.tolist(), scores, [str(k // 2) for k in range(300)], 0.55, resamples=20)
    assert {name: estimate.value for name, estimate in found.items() if name != "ece"} == {
        "accuracy": (predicted == labels).mean(),
        "precision": precision_score(labels, predicted),
        "recall": recall_score(labels, predicted),
        "specificity": recall_score(labels, predicted, pos_label=0),
        "balanced_accuracy": balanced_accuracy_score(labels, predicted),
        "f1": f1_score(labels, predicted),
        "auroc": roc_auc_score(labels, scores),
        "average_precision": average_precision_score(labels, scores),
        "brier": brier_score_loss(labels, scores),
        "sensitivity_at_specificity_90": max(
            sensitivity for rate, sensitivity, _ in zip(*roc_curve(labels, scores), strict=True) if rate <= 0.1
        ),
    }


def test_a_threshold_for_each_image() -> None:
    thresholds = np.array([0.5, 0.5, 0.2, 0.8, 0.5, 0.5, 0.5, 0.5])
    found = evaluate(LABELS, SCORES, GROUPS, thresholds, resamples=50)
    assert found["recall"].value == 1.0
    assert found["specificity"].value == 4 / 5


def test_all_but_proportions_are_nan_without_a_class() -> None:
    found = evaluate([1, 1, 1], np.array([0.9, 0.6, 0.3]), list("abc"), 0.5)
    assert {name for name, estimate in found.items() if estimate != UNDEFINED} == {
        "accuracy",
        "precision",
        "recall",
    }
    assert found["recall"] == wilson(2, 3)
    assert auroc([0, 0], np.array([0.1, 0.2]), ["a", "b"]) == UNDEFINED
    assert proportions([], np.array([]), 0.5) == dict.fromkeys(
        ("accuracy", "precision", "recall", "specificity"), UNDEFINED
    )


def test_every_estimate_lies_in_its_interval() -> None:
    for name, estimate in evaluate(LABELS, SCORES, GROUPS, 0.5, resamples=200).items():
        assert estimate.low <= estimate.value <= estimate.high, name


def test_copies_of_an_image_in_its_group_change_no_interval() -> None:
    random = np.random.default_rng(4)
    labels = random.integers(0, 2, 60)
    scores = np.clip(labels * 0.3 + random.normal(0.4, 0.2, 60), 0, 1).round(2)
    names = [f"{k:02}" for k in range(60)]
    copied = (np.repeat(labels, 5).tolist(), np.repeat(scores, 5))
    single = evaluate(labels.tolist(), scores, names, 0.55, resamples=300)
    grouped = evaluate(*copied, np.repeat(names, 5).tolist(), 0.55, resamples=300)
    apart = evaluate(*copied, [str(k) for k in range(300)], 0.55, resamples=300)
    for name in set(single) - {"accuracy", "precision", "recall", "specificity"}:
        # The bootstrap samples are the same; only the order of float sums differs.
        assert (grouped[name].low, grouped[name].high) == pytest.approx(
            (single[name].low, single[name].high), abs=1e-9
        ), name
    for name in ("balanced_accuracy", "f1", "auroc", "average_precision", "brier"):
        # Five times the images would narrow it by the square root of five.
        width = grouped[name].high - grouped[name].low
        assert apart[name].high - apart[name].low < 0.6 * width, name


def test_auroc_alone_equals_that_of_evaluate() -> None:
    assert (
        auroc(LABELS, SCORES, GROUPS, resamples=200)
        == evaluate(LABELS, SCORES, GROUPS, 0.5, resamples=200)["auroc"]
    )


def test_auroc_interval_has_the_width_of_hanley_and_mcneil() -> None:
    random = np.random.default_rng(2)
    labels = np.repeat([0, 1], 300)
    scores = norm.cdf(random.normal(labels * 1.2, 1))
    estimate = auroc(labels.tolist(), scores, [str(k) for k in range(600)])
    # Hanley and McNeil, Radiology 1982, with equal classes of n images.
    area, n = estimate.value, 300
    q1, q2 = area / (2 - area), 2 * area**2 / (1 + area)
    error = math.sqrt((area * (1 - area) + (n - 1) * (q1 + q2 - 2 * area**2)) / n**2)
    # Their formula assumes exponential scores; quantiles of 2,000 bootstrap samples scatter by about 4 %.
    assert estimate.high - estimate.low == pytest.approx(2 * 1.96 * error, rel=0.15)


def test_intervals_by_hand() -> None:
    drawn = np.linspace(0.2, 0.6, 401)  # 2.5 % and 97.5 % points: 0.21 and 0.59
    for found, expected in (
        (percentile(0.4, drawn), (0.4, 0.21, 0.59)),
        (percentile(0.1, drawn), (0.1, 0.1, 0.59)),
        (basic(0.3, drawn), (0.3, 0.01, 0.39)),
        # A value between 0 and 1, never outside its own interval.
        (basic(0.2, drawn), (0.2, 0.0, 0.2)),
        (basic(0.9, drawn), (0.9, 1.8 - 0.59, 1.0)),
    ):
        assert (found.value, found.low, found.high) == pytest.approx(expected, abs=1e-12)


def _mean(values: np.ndarray, labels: np.ndarray, groups: list[str], **options: int) -> np.ndarray:
    """Bootstrap means of `values`."""
    return bootstrap.resampled(
        lambda weights: {"mean": bootstrap.mean(values, weights)}, labels, groups, **options
    )["mean"]


def test_bootstrap_samples_groups_not_images() -> None:
    # Twenty copies of each image in one group carry no more information than one.
    random = np.random.default_rng(0)
    labels, values = random.integers(0, 2, 40), random.normal(size=40)
    names = [str(k) for k in range(40)]
    single = _mean(values, labels, names, resamples=500, seed=1)
    copied = _mean(
        np.repeat(values, 20), np.repeat(labels, 20), np.repeat(names, 20).tolist(), resamples=500, seed=1
    )
    # The groups sort alike, so the bootstrap samples are the same; only the order of a float sum differs.
    assert copied == pytest.approx(single, abs=1e-9)


def test_bootstrap_interval_has_the_width_of_the_normal_one() -> None:
    values = np.random.default_rng(1).normal(size=400)
    drawn = _mean(values, np.tile([0, 1], 200), [str(k) for k in range(400)], resamples=4000, seed=0)
    low, high = np.quantile(drawn, (0.025, 0.975))
    # Quantiles of 4,000 bootstrap samples scatter by about 3 %.
    assert high - low == pytest.approx(2 * 1.96 * values.std() / math.sqrt(400), rel=0.1)


def test_reliability_bins_by_hand() -> None:
    # Sixteen scores in eight bins of two, whatever their order.
    scores = np.array([0.02 * n for n in range(16)])
    labels = np.array([0, 0, 0, 0, 0, 1, 0, 0, 1, 0, 1, 1, 1, 1, 1, 1])
    order = np.random.default_rng(0).permutation(16)
    mean, share, low, high = reliability(labels[order].tolist(), scores[order])
    np.testing.assert_allclose(mean, [0.01 + 0.04 * n for n in range(8)])
    np.testing.assert_array_equal(share, [0, 0, 0.5, 0, 0.5, 1, 1, 1])
    halves = wilson(1, 2)
    assert (low[2], high[2]) == (halves.low, halves.high)
    # Wilson at 0 of 2: z^2 / (2 + z^2).
    assert (low[0], high[0]) == pytest.approx((0, 1.96**2 / (2 + 1.96**2)), abs=1e-4)


def test_reliability_of_few_images() -> None:
    mean, share, *_ = reliability([1, 0, 1], np.array([0.7, 0.2, 0.4]))
    np.testing.assert_array_equal(mean, [0.2, 0.4, 0.7])
    np.testing.assert_array_equal(share, [0, 1, 1])
