import math

import numpy as np
import pytest
from sklearn.metrics import f1_score, roc_auc_score

from benchmarks.metrics import confusion, evaluate, group_bootstrap, wilson

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


def test_figures_by_hand() -> None:
    # At 0.5 called: 0.9, 0.6 (both right), 0.7 and 0.5 (both wrong): TP 2, FP 2, TN 3, FN 1.
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


def test_figures_agree_with_scikit_learn() -> None:
    random = np.random.default_rng(3)
    labels = random.integers(0, 2, 300)
    scores = np.clip(labels * 0.3 + random.normal(0.4, 0.2, 300), 0, 1)
    found = evaluate(labels.tolist(), scores, [str(k // 2) for k in range(300)], 0.55, resamples=20)
    assert found["f1"].value == f1_score(labels, scores >= 0.55)
    assert found["auroc"].value == roc_auc_score(labels, scores)


def test_every_estimate_lies_in_its_interval() -> None:
    for name, estimate in evaluate(LABELS, SCORES, GROUPS, 0.5, resamples=200).items():
        assert estimate.low <= estimate.value <= estimate.high, name


def test_bootstrap_draws_groups_not_images() -> None:
    # Twenty copies of each image in one group carry no more information than one.
    random = np.random.default_rng(0)
    labels = random.integers(0, 2, 40)

    def mean(rows: np.ndarray) -> float:
        return float(values[rows].mean())

    values = random.normal(size=40)
    names = [str(k) for k in range(40)]
    single = group_bootstrap(mean, labels, names, resamples=500, seed=1)
    values = np.repeat(values, 20)
    copied = group_bootstrap(mean, np.repeat(labels, 20), np.repeat(names, 20).tolist(), resamples=500, seed=1)
    # The groups sort alike, so the same draws come out; only the order of a float sum differs.
    assert (copied.low, copied.high) == pytest.approx((single.low, single.high), abs=1e-9)


def test_bootstrap_is_reproducible_and_needs_both_classes() -> None:
    def mean(rows: np.ndarray) -> float:
        return float(rows.mean())

    labels = np.array(LABELS)
    first = group_bootstrap(mean, labels, GROUPS, resamples=100, seed=5)
    assert first == group_bootstrap(mean, labels, GROUPS, resamples=100, seed=5)
    assert first != group_bootstrap(mean, labels, GROUPS, resamples=100, seed=6)
    assert math.isnan(group_bootstrap(mean, np.zeros(8, int), GROUPS, resamples=10, seed=0).value)


def test_bootstrap_interval_has_the_width_of_the_normal_one() -> None:
    values = np.random.default_rng(1).normal(size=400)
    estimate = group_bootstrap(
        lambda rows: float(values[rows].mean()),
        np.tile([0, 1], 200),
        [str(k) for k in range(400)],
        resamples=4000,
        seed=0,
    )
    expected = 2 * 1.96 * values.std() / math.sqrt(400)
    # Quantiles of 4,000 draws scatter by about 3 %.
    assert estimate.high - estimate.low == pytest.approx(expected, rel=0.1)
