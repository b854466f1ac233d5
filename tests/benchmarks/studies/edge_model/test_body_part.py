import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

from benchmarks.records.measured_row import Subgroup
from benchmarks.studies.edge_model.body_part import UNNAMED, macro_auroc
from benchmarks.studies.edge_model.body_part_result import (
    AttributeResult,
    BodyPartResult,
    Label,
    SplitResult,
    fractures_of,
    table_of,
)
from train.evaluation.metrics import UNDEFINED, Estimate


def _scores(count: int, shift: float) -> tuple[np.ndarray, np.ndarray, list[str]]:
    random = np.random.default_rng(0)
    truth = random.random((count, 3)) < (0.5, 0.3, 0.1)
    return truth, random.normal(size=(count, 3)) + shift * truth, [f"g{n // 2}" for n in range(count)]


def test_macro_auroc_is_the_mean_of_the_labels() -> None:
    truth, scores, groups = _scores(300, 2.0)
    found = macro_auroc(truth, scores, groups)
    assert found.value == pytest.approx(np.mean([roc_auc_score(truth[:, k], scores[:, k]) for k in range(3)]))
    # Phi(2 / sqrt 2) = 0.921 is the AUROC of normal distributions two deviations apart.
    assert found.low < 0.921 < found.high
    assert 0.01 < found.high - found.low < 0.1


def test_scores_without_information_are_at_chance() -> None:
    found = macro_auroc(*_scores(300, 0.0))
    assert found.low < 0.5 < found.high


def test_a_label_that_some_samples_lack_has_an_interval_all_the_same() -> None:
    truth = np.zeros((40, 2), bool)
    truth[:20, 0] = truth[0, 1] = truth[1, 1] = True
    scores = np.linspace(1, 0, 80).reshape(40, 2)
    found = macro_auroc(truth, scores, [str(n) for n in range(40)])
    assert (found.value, found.high) == (1.0, 1.0)
    assert found.low > 0.9


def _estimate(value: float) -> Estimate:
    return Estimate(value, value - 0.01, value + 0.01)


RESULT = BodyPartResult(
    model="edge-int8",
    model_sha256="ab" * 32,
    data_fingerprint="f",
    seed=0,
    splits={
        "val": SplitResult(
            7,
            (
                AttributeResult(
                    name="body_part",
                    threshold=0.5,
                    labels=(Label("hand", 4, _estimate(0.98)), Label("leg", 3, _estimate(0.96))),
                    macro=_estimate(0.97),
                    trivial=_estimate(0.75),
                    shuffled=_estimate(0.51),
                    exact=_estimate(0.9),
                    unnamed=_estimate(0.02),
                ),
            ),
            (Subgroup("body_part", UNNAMED, 2, 0, UNDEFINED, UNDEFINED, _estimate(0.5)),),
        )
    },
)


def test_tables() -> None:
    text = table_of(RESULT, "val")
    assert "| body_part: leg | 3 | 0.960 [0.950, 0.970] |" in text
    assert "| body_part: mean | 7 | 0.970 [0.960, 0.980] | 0.750 [0.740, 0.760] | 0.510 [0.500, 0.520] |" in text
    assert "7 images of the val split, edge-int8 (SHA-256 abababababab)" in text
    assert "body_part: 90.0% [89.0%, 91.0%] get exactly their labels, 2.0% [1.0%, 3.0%] none" in text
    assert "| not recognised | 2 | 0 | – | – | 0.500 [0.490, 0.510] |" in fractures_of(RESULT, "val")
