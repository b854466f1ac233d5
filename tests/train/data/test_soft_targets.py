"""Soft targets between 0 and 1, and metrics that accept them."""

import keras
import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

from train.data.soft_targets import SoftAccuracy, SoftAuroc


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
