"""Record of a training run: what goes into ``training.json``."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict

import keras
import numpy as np
from sklearn.metrics import balanced_accuracy_score, log_loss, roc_auc_score

from fracture_edge._version import installed
from fracture_edge.modelfile import POSITIVE_CLASS
from fracture_edge.policy import Policy
from train.artifacts import (
    TRAINING_SCHEMA,
    ClassCounts,
    OperatingPoint,
    OutOfFoldMetrics,
    TrainingData,
    TrainingRecord,
    ValidationMetrics,
)
from train.data.dataset import SPLITS, ImageTable
from train.device import Device
from train.evaluation.calibration import Calibration, Floats
from train.evaluation.operating_points import AIMS, DEFAULT, choose_threshold, fit_band
from train.recipes.recipe import Recipe

_PACKAGES = ("keras", "tensorflow", "jax", "torch", "numpy", "pillow", "scikit-learn")


def training_record(
    *,
    recipe: Recipe,
    recipe_name: str,
    seed: int,
    initial_weights: str,
    table: ImageTable,
    data_fingerprint: str,
    parameters: int,
    kept_epoch: int,
    epochs: int,
    seconds: float,
    calibration: Calibration,
    points: Mapping[str, OperatingPoint],
    validation: ValidationMetrics | None = None,
    out_of_fold: OutOfFoldMetrics | None = None,
    device: Device,
    suitability: Mapping[str, float],
    version: str,
    created: str,
) -> TrainingRecord:
    """Create the contents of ``training.json``.

    Args:
        recipe: Recipe as it was trained, with what was overridden.
        recipe_name: Name of the recipe, or path of its file.
        seed: Random seed of the run.
        initial_weights: Initial weights, in words.
        table: All images with the splits that the model was trained by.
        data_fingerprint: SHA-256 of the data, see `train.data.batches.fingerprint`.
        parameters: Number of parameters of the network.
        kept_epoch: Epoch whose weights were kept, counted from 1.
        epochs: Number of epochs trained.
        seconds: Duration of the run.
        calibration: Calibration, already folded into the model.
        points: Operating points by name; empty for a threshold of 0.5 without a band.
        validation: Metrics of the validation images; ``None`` if the model was trained on them.
        out_of_fold: Metrics of the out-of-fold predictions; ``None`` without.
        device: Device and precision of the training.
        suitability: Fields of `fracture_edge.suitability.Limits`, fitted to the training images.
        version: Version of fracture-edge.
        created: Time of completion, ISO 8601, UTC.
    """
    counts = Counter((item.split, item.label) for item in table)
    point = default_policy(points)
    return TrainingRecord(
        schema_version=TRAINING_SCHEMA,
        model=recipe.architecture,
        positive_class=POSITIVE_CLASS,
        parameters=parameters,
        temperature=calibration.temperature,
        intercept=calibration.intercept,
        threshold=point.threshold,
        uncertain_low=point.uncertain_low,
        uncertain_high=point.uncertain_high,
        suitability=dict(suitability),
        operating_points=dict(points),
        validation=validation,
        out_of_fold=out_of_fold,
        recipe_name=recipe_name,
        recipe=recipe.to_dict(),
        seed=seed,
        initial_weights=initial_weights,
        data=TrainingData(
            root=str(table.root.resolve()),
            layout=table.layout,
            fingerprint=data_fingerprint,
            images={split: ClassCounts(counts[split, 1], counts[split, 0]) for split in SPLITS},
        ),
        epochs=epochs,
        best_epoch=kept_epoch,
        seconds=round(seconds),
        device=device.name,
        precision=device.precision,
        backend=keras.backend.backend(),
        versions={"fracture-edge": version, **installed(*_PACKAGES)},
        created=created,
    )


def operating_point(labels: Sequence[int], probabilities: Floats, *, chosen: bool) -> Policy:
    """Choose threshold and uncertain band on validation images; 0.5 without a band if `chosen` is false."""
    if not chosen:
        return Policy.at(0.5)
    return fit_band(labels, probabilities, choose_threshold(labels, probabilities), AIMS[DEFAULT]).policy


def default_policy(points: Mapping[str, OperatingPoint]) -> Policy:
    """Return the policy of the default operating point; 0.5 without a band if there are no points."""
    return points[DEFAULT].policy if points else Policy.at(0.5)


def out_of_fold_metrics(
    labels: Sequence[int],
    probabilities: Floats,
    point: Policy,
    *,
    folds: int,
    kept_epochs: Sequence[Sequence[int]] = (),
) -> OutOfFoldMetrics:
    """Compute metrics of out-of-fold predictions (hardly optimistic: only calibration and threshold were fitted).

    Args:
        labels: Labels, 0 or 1, [N].
        probabilities: Calibrated P(fractured), [N].
        point: Default operating point.
        folds: Number of folds.
        kept_epochs: Epochs that were kept, see `train.artifacts.OutOfFoldMetrics`.
    """
    found = validation_metrics(labels, probabilities, point)
    return OutOfFoldMetrics(**asdict(found), folds=folds, kept_epochs=[list(each) for each in kept_epochs])


def validation_metrics(labels: Sequence[int], probabilities: Floats, point: Policy) -> ValidationMetrics:
    """Compute validation metrics (optimistic: epoch and threshold were selected on this split)."""
    uncertain = (probabilities >= point.uncertain_low) & (probabilities < point.uncertain_high)
    return ValidationMetrics(
        images=len(labels),
        fractured=sum(labels),
        auroc=float(roc_auc_score(labels, probabilities)),
        balanced_accuracy=float(balanced_accuracy_score(labels, probabilities >= point.threshold)),
        log_loss=float(log_loss(labels, probabilities)),
        uncertain_share=float(np.mean(uncertain)),
    )
