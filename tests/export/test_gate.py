from collections.abc import Callable
from dataclasses import asdict

import numpy as np
import pytest
from scipy.special import expit, logit
from sklearn.metrics import roc_auc_score

from export.gate import compare, fidelity
from export.recipes import Budget, load_budgets
from export.stability import stability
from train.evaluation.paired import differences
from train.export_record import GateMetrics

LABELS = [1, 1, 0, 0]
GROUPS = ["a", "b", "c", "d"]


def test_figures_by_hand() -> None:
    found = compare(
        LABELS, GROUPS, np.array([0.9, 0.6, 0.4, 0.1]), np.array([0.8, 0.3, 0.4, 0.1]), 0.5, resamples=50
    )
    assert found.images_compared is None
    values = asdict(found)
    intervals = values.pop("intervals")
    del values["images_compared"]
    assert values == {
        "images": 4,
        "fractured": 2,
        "threshold": 0.5,
        "largest_difference": pytest.approx(0.3),
        "mean_difference": pytest.approx(0.1),
        "same_decision": 0.75,
        "sensitivity_keras": 1.0,
        "sensitivity_exported": 0.5,
        "specificity_keras": 1.0,
        "specificity_exported": 1.0,
        "auroc_keras": 1.0,
        "auroc_exported": 0.75,
        "auroc_change": -0.25,
        "sensitivity_change": -0.5,
    }
    for name, (low, high) in intervals.items():
        assert -1 <= low <= values[name] <= high <= 0, name


def test_equal_probabilities_change_exactly_nothing() -> None:
    random = np.random.default_rng(0)
    labels, scores = random.integers(0, 2, 60).tolist(), random.random(60)
    found = compare(labels, [str(k // 3) for k in range(60)], scores, scores, 0.4, resamples=50)
    assert (found.auroc_change, found.sensitivity_change, found.largest_difference) == (0.0, 0.0, 0.0)
    assert found.intervals == {"auroc_change": (0.0, 0.0), "sensitivity_change": (0.0, 0.0)}
    assert found.same_decision == 1.0


def test_a_model_with_noise_is_worse_and_the_interval_says_so() -> None:
    random = np.random.default_rng(1)
    labels = random.integers(0, 2, 400)
    good = 1 / (1 + np.exp(-(3 * labels - 1.5 + random.normal(0, 1, 400))))
    bad = 1 / (1 + np.exp(-(3 * labels - 1.5 + random.normal(0, 4, 400))))
    found = compare(labels.tolist(), [str(k) for k in range(400)], good, bad, 0.5, resamples=200)
    assert found.auroc_change == pytest.approx(roc_auc_score(labels, bad) - roc_auc_score(labels, good))
    assert found.intervals["auroc_change"][1] < 0


def test_the_bootstrap_draws_groups() -> None:
    # One group holds all that changed: with groups of one the interval is narrower.
    labels = [0, 1] * 30
    before = np.where(np.array(labels) == 1, 0.9, 0.1)
    after = before.copy()
    after[:10] = 0.5
    together = compare(labels, ["changed"] * 10 + [str(k) for k in range(50)], before, after, 0.4, resamples=400)
    apart = compare(labels, [str(k) for k in range(60)], before, after, 0.4, resamples=400)

    def width(found: GateMetrics) -> float:
        low, high = found.intervals["auroc_change"]
        return high - low

    assert width(together) > 1.5 * width(apart)


def test_a_budget_names_the_bounds_that_are_broken(make_gate_metrics: Callable[..., GateMetrics]) -> None:
    budget = Budget(same_decision=0.97, auroc_change=-0.01, mean_difference=0.005)
    metrics = make_gate_metrics(
        same_decision=0.97, auroc_change=-0.0101, mean_difference=0.004, sensitivity_change=-1.0
    )
    assert budget.broken(metrics) == ["auroc_change -0.0101, bound -0.01"]
    assert Budget().broken(metrics) == []


def test_a_metric_that_is_nan_breaks_its_bound(make_gate_metrics: Callable[..., GateMetrics]) -> None:
    apart = differences(np.array([0.5, 0.5]), np.array([0.5, np.nan]))
    metrics = make_gate_metrics(largest_difference=apart.largest)
    assert Budget(largest_difference=1.0).broken(metrics) == ["largest_difference nan, bound 1"]


def test_fidelity_by_hand() -> None:
    # Log-odds of Keras -2, 0, 2, 4 (standard deviation 5 ** 0.5), threshold at 0.5: 0 is fractured.
    keras = np.array([-2.0, 0.0, 2.0, 4.0])
    file = keras + np.array([0.5, -0.5, -2.5, 0.5])
    found = fidelity([0, 1, 1, 1], expit(keras), expit(file), 0.5)
    assert asdict(found) == {
        "images": 4,
        "fractured": 3,
        "mean_difference": pytest.approx(np.abs(expit(file) - expit(keras)).mean()),
        "same_decision": 0.5,
        # 2 is 0.89 deviations away, 0 is at the threshold.
        "far_flips": 0.25,
        "net_flips": -0.5,
        "noise": pytest.approx(np.std([0.5, -0.5, -2.5, 0.5]) / 5**0.5),
        "auroc_change": 0.0,
        "sensitivity_change": pytest.approx(-2 / 3),
    }


def test_probabilities_of_8_bits_that_end_at_0_and_1() -> None:
    keras = expit(np.linspace(-12, 12, 200))
    found = fidelity([0, 1] * 100, keras, np.rint(keras * 255) / 255, 0.5)
    # Beyond half a step of 8 bits all log-odds are the same.
    assert found.noise < 0.05
    assert (found.same_decision, found.far_flips) == (1.0, 0.0)


def test_an_answer_that_is_always_the_same() -> None:
    same = np.full(4, 0.25)
    assert fidelity([0, 1, 0, 1], same, same, 0.5).noise == 0.0
    assert fidelity([0, 1, 0, 1], same, np.array([0.25, 0.3, 0.2, 0.25]), 0.5).noise == 1.0


#: Draws of made-up files, and how many of them a good one must pass and a bad one must fail.
DRAWS, MOST = 100, 99


def _accepted(noise: float, bias: float) -> int:
    """Count the draws of images on which the gate accepts a file with errors of this size.

    Log-odds as those of a classifier with an AUROC of 0.82; errors in standard deviations of them. Images as in
    FracAtlas: 342 for validation with 17 % fractured, 1,000 others with 38 %.
    """
    budget, passed = load_budgets()["int8"], 0
    for seed in range(DRAWS):
        random = np.random.default_rng(seed)
        labels = np.concatenate([random.random(342) < 0.17, random.random(1000) < 0.38]).astype(int)
        odds = random.normal(1.3 * labels - 1, 1)
        error = (bias + random.normal(0, noise, len(odds))) * odds.std()
        keras, file = expit(odds), expit(odds + error)
        groups = [str(image // 2) for image in range(342)]
        metrics = compare(labels[:342].tolist(), groups, keras[:342], file[:342], 0.45, resamples=100)
        passed += not budget.broken(metrics, fidelity(labels.tolist(), keras, file, 0.45))
    return passed


@pytest.mark.parametrize("noise", [0.0, 0.03, 0.05])
def test_a_good_file_passes(noise: float) -> None:
    assert _accepted(noise, 0.0) >= MOST


def test_a_noisy_file_is_refused() -> None:
    assert _accepted(0.2, 0.0) <= DRAWS - MOST


@pytest.mark.parametrize("bias", [-0.1, 0.1])
def test_a_biased_file_is_refused(bias: float) -> None:
    assert _accepted(0.03, bias) <= DRAWS - MOST


@pytest.mark.parametrize(
    ("noise", "bias", "least", "most"), [(0.05, 0.0, 36, 40), (0.4, 0.0, 0, 8), (0.1, -0.4, 0, 0)]
)
def test_a_compressed_network_at_a_threshold_fitted_to_the_images(
    noise: float, bias: float, least: int, most: int
) -> None:
    budget, passed = load_budgets()["compressed"], 0
    for seed in range(40):
        random = np.random.default_rng(seed)
        labels = (random.random(342) < 0.17).astype(int)
        odds = random.normal(1.3 * labels - 1, 1)
        # As training chooses it: a fractured image lies on the threshold of the largest balanced accuracy.
        fractured, others = np.sort(odds[labels == 1]), odds[labels == 0]
        threshold = max(fractured, key=lambda value: (fractured >= value).mean() + (others < value).mean())
        file = odds + (bias + random.normal(0, noise, len(odds))) * odds.std()
        groups = [str(image // 2) for image in range(342)]
        metrics = compare(
            labels.tolist(), groups, expit(odds), expit(file), float(expit(threshold)), resamples=200
        )
        passed += not budget.broken(metrics)
    assert least <= passed <= most


def test_bounds_of_many_images_and_of_an_interval(make_gate_metrics: Callable[..., GateMetrics]) -> None:
    metrics = make_gate_metrics(
        sensitivity_change=-0.1, intervals={"sensitivity_change": (-0.2, -0.05), "auroc_change": (0.0, 0.0)}
    )
    odds = logit(np.linspace(0.1, 0.9, 50))
    followed = fidelity([0, 1] * 25, expit(odds), expit(odds - 0.5), 0.5)
    budget = Budget(sensitivity_change_high=0.0, pooled_net_flips=0.01, pooled_noise=0.1)
    assert budget.broken(metrics, followed) == [
        "sensitivity_change_high -0.05, bound 0",
        f"pooled_net_flips {followed.net_flips:.4g}, bound 0.01",
    ]
    assert followed.net_flips < 0
    # A file of the gate before has nothing of the second kind.
    assert budget.broken(metrics) == ["sensitivity_change_high -0.05, bound 0"]


@pytest.mark.parametrize(("noise", "bias", "accepted"), [(0.03, 0.0, 1.0), (0.3, 0.0, 0.0), (0.03, 0.15, 0.0)])
def test_the_verdict_hardly_depends_on_the_images(
    noise: float, bias: float, accepted: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("export.stability.DRAWS", 40)
    random = np.random.default_rng(0)
    labels = (random.random(2500) < 0.17).astype(int)
    odds = random.normal(1.3 * labels - 1, 1)
    file = expit(odds + (bias + random.normal(0, noise, len(odds))) * odds.std())
    found = stability(labels.tolist(), expit(odds), file, 0.45, validation=342, budget="int8")
    assert (found.images, found.draws) == (2500, 40)
    assert (found.accepted, found.changed) == (accepted, 0.0)
