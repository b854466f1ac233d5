from collections.abc import Callable
from dataclasses import asdict

import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

from export.gate import compare
from export.recipes import Budget
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
