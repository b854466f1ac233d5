"""Metrics of decisions with an uncertain band."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fracture_edge.policy import Policy
from train.evaluation.decided import decided_metrics, decisions
from train.evaluation.metrics import wilson

NAMES = {1: "fractured", 0: "uncertain", -1: "not_fractured"}


@given(
    edges=st.lists(st.sampled_from([0.0, 0.25, 0.5, 0.75, 1.0]), min_size=3, max_size=3).map(sorted),
    scores=st.lists(st.sampled_from([0.0, 0.1, 0.25, 0.4, 0.5, 0.6, 0.75, 0.9, 1.0]), min_size=1),
)
def test_decisions_are_those_of_the_device(edges: list[float], scores: list[float]) -> None:
    policy = Policy(edges[1], edges[0], edges[2])
    found = [NAMES[value] for value in decisions(scores, policy).tolist()]
    assert found == [policy.decide(score)[0] for score in scores]


def test_counted_by_hand() -> None:
    labels = [1, 1, 1, 1, 0, 0, 0, 0, 0, 0]
    decided = np.array([1, 1, -1, 0, -1, -1, -1, 1, 0, 0])
    found = decided_metrics(labels, decided)
    assert (found.sensitivity, found.specificity, found.uncertain_share) == (2 / 3, 3 / 4, 0.3)
    assert found.sensitivity_interval is None


def test_a_class_that_is_never_decided() -> None:
    labels, decided = [1, 1, 0, 0, 0], np.array([0, 0, -1, -1, 1])
    found = decided_metrics(labels, decided, list("abcde"))
    assert (found.sensitivity, found.sensitivity_interval) == (0.0, None)
    assert found.specificity == pytest.approx(2 / 3)
    low, high = found.specificity_interval or (1, 0)
    assert (low, high) == (0.0, 1.0)
    assert found.uncertain_share == 0.4


def test_all_right_is_no_certainty() -> None:
    # Eight images in four groups, all found: every bootstrap sample says 1.
    labels, decided = [1] * 8 + [0, 0], np.array([1] * 8 + [-1, 1])
    found = decided_metrics(labels, decided, [*"aabbccdd", "e", "f"])
    expected = wilson(4, 4)
    assert found.sensitivity_interval == (expected.low, expected.high)
    assert expected.low == pytest.approx(4 / (4 + 1.96**2), abs=1e-4)
