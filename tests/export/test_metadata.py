"""Metadata of exported files says which images the settings were chosen by."""

import json
from collections.abc import Callable

import pytest

from export.metadata import model_info
from fracture_edge.modelfile import ModelInfo
from fracture_edge.policy import Policy
from train.artifacts import OUT_OF_FOLD, DecidedMetrics, OperatingPoint, OutOfFoldMetrics, TrainingRecord

POINT = OperatingPoint(
    threshold=0.3,
    uncertain_low=0.2,
    uncertain_high=0.4,
    sensitivity=0.91,
    specificity=0.9,
    uncertain_share=0.5,
    sensitivity_interval=(0.85, 0.95),
    images=OUT_OF_FOLD,
    sensitivity_margin=0.01,
    nested=DecidedMetrics(sensitivity=0.9, specificity=0.89, uncertain_share=0.52),
)


@pytest.fixture
def make_info(make_training_record: Callable[..., TrainingRecord]) -> Callable[..., ModelInfo]:
    def make(**changes: object) -> ModelInfo:
        record = make_training_record(**changes)
        return model_info(record, name="edge-int8", precision="int8", versions={})

    return make


def test_a_model_without_validation_says_out_of_fold(make_info: Callable[..., ModelInfo]) -> None:
    found = OutOfFoldMetrics(100, 20, 0.9, 0.8, 0.3, 0.5, folds=5, kept_epochs=[[3, 1]] * 5)
    info = make_info(
        threshold=0.3, uncertain_low=0.2, uncertain_high=0.4, operating_points={"balanced": POINT},
        validation=None, out_of_fold=found,
    )  # fmt: skip
    read = ModelInfo.from_json(info.to_json())
    assert read.policy == read.policy_named("balanced") == Policy(0.3, 0.2, 0.4)
    assert read.operating_points["balanced"] == {
        "threshold": 0.3,
        "uncertain_low": 0.2,
        "uncertain_high": 0.4,
        "sensitivity": 0.91,
        "specificity": 0.9,
        "uncertain_share": 0.5,
        "sensitivity_interval": [0.85, 0.95],
        "images": "out-of-fold",
        "sensitivity_margin": 0.01,
        "nested": {"sensitivity": 0.9, "specificity": 0.89, "uncertain_share": 0.52},
    }
    assert read.metrics == {
        "out_of_fold": {
            "images": 100, "fractured": 20, "auroc": 0.9, "balanced_accuracy": 0.8, "log_loss": 0.3,
            "uncertain_share": 0.5, "folds": 5, "kept_epochs": [[3, 1]] * 5,
        }
    }  # fmt: skip


def test_an_ordinary_model_has_its_validation_metrics(make_info: Callable[..., ModelInfo]) -> None:
    metrics = json.loads(make_info().to_json())["metrics"]
    assert list(metrics) == ["validation"]
    assert metrics["validation"]["images"] == 7
