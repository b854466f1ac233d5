"""Soft targets between 0 and 1, and metrics that accept them."""

import keras
import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

from train.data.batches import Batches
from train.data.soft_targets import SoftAccuracy, SoftAuroc, soften

LABELS = [1, 0, 0, 1]
ANSWERS = np.array([0.9, 0.2, 0.7, 0.4])
WEIGHT_OF = {0: 0.6, 1: 2.8}


def _loss(target: np.ndarray, probability: float) -> np.ndarray:
    return -(target * np.log(probability) + (1 - target) * np.log(1 - probability))


def test_labels_alone_stay_as_they_are() -> None:
    targets, weights = soften(LABELS, ANSWERS, 0.0, WEIGHT_OF)
    assert targets.tolist() == [1, 0, 0, 1]
    assert weights.tolist() == [np.float32(WEIGHT_OF[label]) for label in LABELS]


def test_predictions_alone_have_the_expected_class_weight() -> None:
    targets, weights = soften(LABELS, ANSWERS, 1.0, WEIGHT_OF)
    # 0.9 * 2.8 = 2.52 of 2.52 + 0.1 * 0.6; 0.56 of 1.04; 1.96 of 2.14; 1.12 of 1.48.
    np.testing.assert_allclose(targets, [2.52 / 2.58, 0.56 / 1.04, 1.96 / 2.14, 1.12 / 1.48], rtol=1e-6)
    np.testing.assert_allclose(weights, [2.58, 1.04, 2.14, 1.48], rtol=1e-6)


@pytest.mark.parametrize("weight_of", [WEIGHT_OF, {0: 1.0, 1: 1.0}])
@pytest.mark.parametrize("probability", [0.05, 0.5, 0.8])
def test_the_loss_is_the_blend_of_both_losses(weight_of: dict[int, float], probability: float) -> None:
    targets, weights = soften(LABELS, ANSWERS, 0.7, weight_of)
    by_class = np.array([weight_of[c] * _loss(np.array(c), probability) for c in (0, 1)])
    of_label = by_class[LABELS]
    of_teacher = ANSWERS * by_class[1] + (1 - ANSWERS) * by_class[0]
    # float32 targets and weights.
    np.testing.assert_allclose(
        weights * _loss(targets.astype(float), probability), 0.3 * of_label + 0.7 * of_teacher, rtol=1e-5
    )


def test_batches_keep_targets_with_their_images() -> None:
    pixels = np.arange(4, dtype=np.uint8).reshape(4, 1, 1, 1)
    batches = Batches(pixels, LABELS, batch_size=2, predictions=ANSWERS, share=0.7, weights=WEIGHT_OF, seed=3)
    targets, weights = soften(LABELS, ANSWERS, 0.7, WEIGHT_OF)
    seen = []
    for number in range(len(batches)):
        images, given, weighed = batches[number]
        rows = images[:, 0, 0, 0]
        seen += rows.tolist()
        assert given.shape == (2, 1)
        assert given[:, 0].tolist() == targets[rows].tolist()
        assert weighed.tolist() == weights[rows].tolist()
    assert sorted(seen) == [0, 1, 2, 3]
    assert seen != [0, 1, 2, 3]


@pytest.mark.parametrize("soft", [False, True])
def test_metrics_round_soft_targets(soft: bool) -> None:
    labels = np.array([1, 0, 0, 1, 1, 0], np.float32)
    targets = np.array([0.9, 0.1, 0.4, 0.5, 0.6, 0.0], np.float32) if soft else labels
    answers = np.array([0.8, 0.1, 0.7, 0.6, 0.3, 0.2], np.float32)
    accuracy, auroc = SoftAccuracy(), SoftAuroc(num_thresholds=2000)
    for metric in (accuracy, auroc):
        metric.update_state(targets[:, None], answers[:, None])
    assert float(accuracy.result()) == pytest.approx(4 / 6)
    assert roc_auc_score(labels, answers) == pytest.approx(7 / 9)
    # The thresholds are 1/2000 apart, the predictions much further.
    assert float(auroc.result()) == pytest.approx(7 / 9, abs=1e-6)


def test_keras_auc_treats_every_soft_target_as_positive() -> None:
    """Keras's own metrics do not support soft targets; if this fails, ours can be removed."""
    auroc = keras.metrics.AUC(num_thresholds=2000)
    auroc.update_state(np.array([[0.9], [0.1]], np.float32), np.array([[0.8], [0.2]], np.float32))
    assert float(auroc.result()) == 0.0
