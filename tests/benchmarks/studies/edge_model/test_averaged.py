"""Ensembles of networks that average log-odds."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from benchmarks.studies.edge_model import averaged
from benchmarks.studies.edge_model.answers import FoldPredictions
from fracture_edge.errors import FractureEdgeError

#: Each of the two has one pair in the wrong order, where the other is confident.
LABELS = (0, 0, 1, 1)
FIRST = np.array([0.1, 0.5, 0.4, 0.9])
SECOND = np.array([0.5, 0.1, 0.9, 0.4])


def _predictions() -> FoldPredictions:
    images = tuple((f"{row}.png", "1", str(label), f"g{row}") for row, label in enumerate(LABELS))
    return FoldPredictions(images, {"a": FIRST, "b": SECOND})


def test_auroc_of_the_mean_log_odds_and_its_change() -> None:
    # The mean log-odds are -1.10 of either image without fracture and 0.90 of either with one; 3 of 4 pairs of the
    # first network are in order.
    found = averaged.average_log_odds(_predictions(), ["a", "b"], resamples=50)
    assert found.startswith("The log-odds of a and b averaged: AUROC 1.000 [1.000, 1.000], 0.250 [")
    assert found.endswith("more than a alone (95 % intervals of a bootstrap over groups).")


def test_log_odds_are_averaged_not_probabilities() -> None:
    images = tuple((f"{row}.png", "1", str(label), "") for row, label in enumerate((1, 0)))
    # By mean probability the first image ranks lower, 0.525 against 0.55; by mean log-odds it ranks far higher.
    predictions = FoldPredictions(images, {"a": np.array([0.9999, 0.55]), "b": np.array([0.0501, 0.55])})
    assert "AUROC 1.000" in averaged.average_log_odds(predictions, ["a", "b"], resamples=20)


def test_probabilities_of_0_and_1_are_clipped() -> None:
    predictions = FoldPredictions(_predictions().images, {"a": np.array([0.0, 0.5, 1.0, 1.0]), "b": SECOND})
    assert "nan" not in averaged.average_log_odds(predictions, ["a", "b"], resamples=20)


def test_a_network_without_predictions_is_refused(
    study: Callable[..., tuple[int, str, str]], tmp_path: Path
) -> None:
    with pytest.raises(FractureEdgeError, match="no predictions of 'c'; must be one of: a, b"):
        averaged.average_log_odds(_predictions(), ["a", "c"])
    table = tmp_path / "folds.csv"
    _predictions().write(table)
    code, _, err = study("averaged", table, "c")
    assert code == 1
    assert err.startswith("error: no predictions of 'c'")
