"""What networks know together."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from benchmarks.studies.edge_model import averaged
from benchmarks.studies.edge_model.answers import Answers
from fracture_edge.errors import FractureEdgeError

#: Each of the two has one pair in the wrong order, and is sure where the other is not.
LABELS = (0, 0, 1, 1)
FIRST = np.array([0.1, 0.5, 0.4, 0.9])
SECOND = np.array([0.5, 0.1, 0.9, 0.4])


def _answers() -> Answers:
    images = tuple((f"{row}.png", "1", str(label), f"g{row}") for row, label in enumerate(LABELS))
    return Answers(images, {"a": FIRST, "b": SECOND})


def test_the_mean_of_log_odds_and_what_it_adds() -> None:
    # The mean log-odds are -1.10 of either image without fracture and 0.90 of either with one; 3 of 4 pairs of the
    # first network are in order.
    found = averaged.averaged(_answers(), ["a", "b"], resamples=50)
    assert found.startswith("The log-odds of a and b averaged: AUROC 1.000 [1.000, 1.000], 0.250 [")
    assert found.endswith("more than a alone (95 % intervals of a bootstrap over groups).")


def test_log_odds_not_probabilities() -> None:
    images = tuple((f"{row}.png", "1", str(label), "") for row, label in enumerate((1, 0)))
    # By the mean of probabilities the first image is behind, 0.525 to 0.55; by that of log-odds it is far ahead.
    answers = Answers(images, {"a": np.array([0.9999, 0.55]), "b": np.array([0.0501, 0.55])})
    assert "AUROC 1.000" in averaged.averaged(answers, ["a", "b"], resamples=20)


def test_certainty_is_no_infinity() -> None:
    answers = Answers(_answers().images, {"a": np.array([0.0, 0.5, 1.0, 1.0]), "b": SECOND})
    assert "nan" not in averaged.averaged(answers, ["a", "b"], resamples=20)


def test_a_network_without_answers(study: Callable[..., tuple[int, str, str]], tmp_path: Path) -> None:
    with pytest.raises(FractureEdgeError, match="no answers of 'c'; there are a, b"):
        averaged.averaged(_answers(), ["a", "c"])
    table = tmp_path / "folds.csv"
    _answers().write(table)
    code, _, err = study("averaged", table, "c")
    assert code == 1
    assert err.startswith("error: no answers of 'c'")
