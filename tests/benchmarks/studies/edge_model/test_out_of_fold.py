"""Check of operating points from out-of-fold predictions."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from benchmarks.studies.edge_model.out_of_fold import (
    calibrate_parts,
    compare_scale,
    cost_of_aims,
    decide_parts,
    measure,
)
from benchmarks.studies.edge_model.out_of_fold_result import (
    OutOfFold,
    describe_scale,
    table_of_costs,
    table_of_parts,
)
from fracture_edge.classifier import FractureClassifier
from fracture_edge.errors import FractureEdgeError
from fracture_edge.modelfile import ModelInfo, embed_info
from fracture_edge.policy import Policy
from train.data.dataset import ImageTable, Item
from train.evaluation.decided import decided_metrics, decisions
from train.evaluation.folded import FoldedPredictions
from train.evaluation.operating_points import RULES, fit_operating_points, nested_decisions, raised


def _sigmoid(values: np.ndarray) -> np.ndarray:
    return 1 / (1 + np.exp(-values))


def _folded(seed: int, *, hands: float = 0.0) -> tuple[FoldedPredictions, list[str]]:
    """600 images in 5 folds, a third each of hands, legs, and both; log-odds of hands are `hands` too high."""
    random = np.random.default_rng(seed)
    count = 600
    parts = [("hand", "leg", "hand+leg")[row % 3] for row in range(count)]
    odds = random.normal(-1.0, 1.5, count)
    labels = (random.random(count) < _sigmoid(odds)).astype(int)
    shift = np.array([hands * (part == "hand") for part in parts])
    names = [str(row) for row in range(count)]
    folded = FoldedPredictions(
        names, labels.tolist(), [f"g{row // 2}" for row in range(count)], [1 + row % 5 for row in range(count)],
        _sigmoid(odds + shift),
    )  # fmt: skip
    return folded, parts


def test_a_calibration_by_body_part_helps_where_the_parts_differ() -> None:
    _, changes = calibrate_parts(*_folded(1, hands=2.5))
    assert list(changes) == ["an intercept for each body part", "intercept and slope for each body part"]
    assert all(change.high < 0 for change in changes.values())


def test_and_not_where_they_do_not() -> None:
    folded, parts = _folded(1)
    log_loss, changes = calibrate_parts(folded, parts)
    labels = np.array(folded.labels)
    own = -np.log(np.where(labels == 1, folded.probabilities, 1 - folded.probabilities)).mean()
    # The scores are the true probabilities: a fit of two numbers to 480 of them costs next to nothing.
    assert log_loss == pytest.approx(own, abs=0.01)
    assert all(change.low <= 0.005 and change.high > -0.01 for change in changes.values())


def test_parts_are_decided_by_the_other_folds() -> None:
    folded, parts = _folded(2)
    rows = decide_parts(folded, parts)
    assert {name: row.images for name, row in rows.items()} == {"hand": 200, "leg": 200, "several": 200}
    labels, folds = np.array(folded.labels), np.array(folded.folds)
    point = fit_operating_points(folded.labels, folded.probabilities, folds=folded.folds)["balanced"]
    decided = nested_decisions(raised(RULES["balanced"], point), labels, folded.probabilities, folds)
    legs = np.array([part == "leg" for part in parts])
    expected = decided_metrics(labels[legs], decided[legs])
    assert rows["leg"].fractured == labels[legs].sum()
    assert rows["leg"].decided.sensitivity == expected.sensitivity
    assert rows["leg"].decided.uncertain_share == expected.uncertain_share


def test_a_higher_figure_costs_more_answers() -> None:
    folded, _ = _folded(4)
    costs = cost_of_aims(folded)
    shares = [row.uncertain_share for row in costs.values()]
    assert list(costs) == ["0.80", "0.85", "0.90", "0.95"]
    assert shares == sorted(shares)
    assert shares[0] < shares[-1]
    # What the other folds were fitted to is met here up to chance: 95 % of some 200 decided images of a class.
    assert costs["0.90"].sensitivity == pytest.approx(0.90, abs=0.06)
    assert costs["0.90"].specificity == pytest.approx(0.90, abs=0.06)


def test_a_model_that_was_trained_on_the_validation_images_is_not_compared_on_them(
    tiny_model: Path, tiny_info: ModelInfo, tmp_path: Path
) -> None:
    folded, parts = _folded(5)
    # None of the files exists: an image that is read is an error.
    items = [
        Item(path, label, group, "val", dict.fromkeys(part.split("+"), "1"))
        for path, label, group, part in zip(folded.paths, folded.labels, folded.groups, parts, strict=True)
    ]
    table, model = ImageTable(tmp_path, "fracatlas", tuple(items)), tmp_path / "final.onnx"
    embed_info(tiny_model, replace(tiny_info, metrics={"out_of_fold": {"auroc": 0.9}}), model)
    result = measure(table, folded, "n", FractureClassifier(model))
    assert result.scale is None
    assert result.parts["leg"].images == 200
    embed_info(tiny_model, replace(tiny_info, metrics={"validation": {"auroc": 0.9}}), model)
    with pytest.raises(FractureEdgeError, match="600 images cannot be read"):
        measure(table, folded, "n", FractureClassifier(model))


def test_scale_by_hand() -> None:
    folded, parts = _folded(3)
    labels = np.array(folded.labels) == 1
    policy = Policy(0.3, 0.2, 0.5)
    # The model's log-odds are 0.4 higher and half as wide about their mean.
    odds = np.log(folded.probabilities / (1 - folded.probabilities))
    model = _sigmoid(odds.mean() + 0.4 + (odds - odds.mean()) / 2)
    scale = compare_scale(labels, folded.groups, model, folded.probabilities, policy)
    assert scale.shift.value == pytest.approx(0.4)
    assert scale.spread.value == pytest.approx(0.5)
    assert (scale.auroc_change.value, scale.auroc.value) == (0, scale.auroc_out_of_fold.value)
    assert scale.ece.value > scale.ece_out_of_fold.value
    assert scale.decided.uncertain_share == np.mean(decisions(model, policy) == 0)
    result = OutOfFold(
        model="m", model_sha256="", network="n", scale=scale, parts=decide_parts(folded, parts),
        costs=cost_of_aims(folded), log_loss=0.5, log_loss_changes={"what": scale.shift},
    )  # fmt: skip
    assert "on average; their standard deviation is 0.500 [0.500, 0.500]" in describe_scale(result, scale)
    table = table_of_parts(result)
    assert table.splitlines()[0].startswith("| body part | images (fractured) | AUROC | uncertain |")
    assert f"| leg | 200 ({result.parts['leg'].fractured}) |" in table
    assert table_of_costs(result).splitlines()[2].startswith("| 0.80 | 0.")
    assert "changes the log loss of 0.5000 by: what 0.400 [" in table
