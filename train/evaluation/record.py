"""Evaluations as typed records: ``evaluation-SPLIT.json`` of a model, ``folds.json`` of a cross-validation."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from fracture_edge.errors import FractureEdgeError
from train.artifacts import ClassCounts
from train.evaluation.metrics import Estimate
from train.json_records import from_plain, read_versioned

EVALUATION_SCHEMA = 1
FOLDS_SCHEMA = 1
FOLDS_FILE = "folds.json"


@dataclass(frozen=True, slots=True)
class EvaluatedData:
    """Images of the split.

    Attributes:
        layout: Layout of the data folder.
        images: Number of images.
        fractured: Number of fractured ones.
        groups: Number of groups of images that belong together.
        fingerprint: SHA-256 of the complete data set, see `train.data.batches.fingerprint`.
    """

    layout: str
    images: int
    fractured: int
    groups: int
    fingerprint: str


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainingSummary:
    """Training run of the evaluated model; fields as in `train.artifacts.TrainingRecord`."""

    recipe_name: str
    initial_weights: str
    seed: int
    parameters: int
    epochs: int
    best_epoch: int
    seconds: float
    device: str
    precision: str
    backend: str
    versions: dict[str, str]
    images: ClassCounts


@dataclass(frozen=True, slots=True)
class ProperScores:
    """Proper scoring rules of probabilities: lower is better.

    Attributes:
        brier: Mean squared error of P(fractured).
        log_loss: Mean negative log-likelihood, in nats.
    """

    brier: float
    log_loss: float


@dataclass(frozen=True, slots=True, kw_only=True)
class SplitMetrics:
    """Metrics of predictions for the images of a split.

    Attributes:
        metrics: Estimates with 95 % intervals by name, see `train.evaluation.metrics.evaluate`.
        confusion: Counts, see `train.evaluation.metrics.confusion`.
        auroc_without_hardware: AUROC of the images known to show no metal; ``None`` where a class is missing
            among them.
        calibration: Scores ``before`` and ``after`` calibration.
    """

    metrics: dict[str, Estimate]
    confusion: dict[str, int]
    auroc_without_hardware: Estimate | None
    calibration: dict[str, ProperScores]


@dataclass(frozen=True, slots=True, kw_only=True)
class EvaluationRecord(SplitMetrics):
    """``evaluation-SPLIT.json``.

    Attributes:
        schema_version: Version of this format.
        model: Name of the architecture.
        positive_class: Always ``fractured``.
        split: ``val``, ``test`` or ``out-of-fold``.
        threshold: Threshold on P(fractured), chosen on validation or out of fold.
        data: Images of the split.
        training: Training run of the model.
        trivial_baseline: AUROC of size, brightness and contrast alone; ``None`` where it cannot be learnt.
    """

    schema_version: int
    model: str
    positive_class: str
    split: str
    threshold: float
    data: EvaluatedData
    training: TrainingSummary
    trivial_baseline: Estimate | None


@dataclass(frozen=True, slots=True, kw_only=True)
class FoldMetrics(SplitMetrics):
    """One round of a cross-validation: metrics of the fold that it was tested on.

    Attributes:
        fold: Number of the fold, counted from 1.
        images: Number of images in it.
        fractured: Number of fractured ones.
        threshold: Threshold on P(fractured), chosen on the round's validation images, or without any by the
            predictions of the other rounds.
        epochs: Number of epochs trained.
        seconds: Duration of the training.
        kept: Epoch of each phase whose weights were kept, counted from 1 within the phase; empty in older files.
    """

    fold: int
    images: int
    fractured: int
    threshold: float
    epochs: int
    seconds: float
    kept: list[int] = field(default_factory=list)


@dataclass(frozen=True, slots=True, kw_only=True)
class PooledMetrics(SplitMetrics):
    """Metrics of the out-of-fold predictions of all rounds together."""

    images: int
    fractured: int


@dataclass(frozen=True, slots=True, kw_only=True)
class CrossValidationRecord:
    """``folds.json``.

    Attributes:
        schema_version: Version of this format.
        model: Name of the architecture.
        positive_class: Always ``fractured``.
        recipe_name: Name of the recipe, or path of its file.
        recipe: Recipe as it was trained.
        initial_weights: Initial weights, in words.
        seed: Random seed of folds, initialisation, order and augmentation.
        device: Device and backend, in words.
        precision: Dtype policy of Keras.
        data_fingerprint: SHA-256 of the data, see `train.data.batches.fingerprint`.
        folds: Metrics of each round.
        pooled: Metrics over all rounds.
        weights: Initial weights as they were asked for, without folders; empty in older files.
    """

    schema_version: int
    model: str
    positive_class: str
    recipe_name: str
    recipe: Mapping[str, Any]
    initial_weights: str
    seed: int
    device: str
    precision: str
    data_fingerprint: str
    folds: list[FoldMetrics]
    pooled: PooledMetrics
    weights: str = ""


def evaluation_file(folder: Path, split: str) -> Path:
    """Return the path of a model's evaluation on `split`."""
    return folder / f"evaluation-{split}.json"


def read_evaluation(folder: Path, split: str) -> EvaluationRecord:
    """Read an evaluation.

    Raises:
        FractureEdgeError: The model has not been evaluated on `split`, or the file cannot be read.
    """
    path = evaluation_file(folder, split)
    if not path.is_file():
        raise FractureEdgeError(f"{path} is missing: fracture-edge evaluate {folder.name} --split {split}")
    return from_plain(EvaluationRecord, read_versioned(path, EVALUATION_SCHEMA), str(path))
