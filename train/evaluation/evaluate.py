"""Evaluation of a trained model on one split: metrics with intervals, a report per class, and plots."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from sklearn.metrics import brier_score_loss, classification_report, log_loss

from fracture_edge.errors import FractureEdgeError
from fracture_edge.files import atomic_write_text
from fracture_edge.modelfile import POSITIVE_CLASS
from train.artifacts import OUT_OF_FOLD, TrainingRecord, read_record
from train.data.batches import fingerprint, load_pixels
from train.data.dataset import ImageTable
from train.evaluation.baseline import trivial_baseline
from train.evaluation.calibration import Calibration, Floats
from train.evaluation.metrics import Estimate, auroc, confusion, evaluate
from train.evaluation.plots import plot_confusion, plot_reliability, plot_roc_pr
from train.evaluation.predictions import Predictions, groups_of, write_predictions
from train.evaluation.record import (
    EVALUATION_SCHEMA,
    EvaluatedData,
    EvaluationRecord,
    ProperScores,
    SplitMetrics,
    TrainingSummary,
    evaluation_file,
)
from train.json_records import write_record

CLASSES = ("not fractured", "fractured")


def evaluate_model(folder: Path, split: str, *, data: Path | None = None) -> EvaluationRecord:
    """Evaluate a trained model on one of its splits and write metrics and plots into its folder.

    Args:
        folder: Folder of the model, ``artifacts/<model>``.
        split: ``val`` or ``test``.
        data: Data folder; that of the training run when ``None``.

    Returns:
        Contents of ``evaluation-SPLIT.json``.

    Raises:
        FractureEdgeError: The folder has no trained model, or the split lacks a class.
    """
    import keras

    from train.data.dataset import read_splits
    from train.evaluation.predict import predict

    record = read_record(folder)
    if split == "val" and record.validation is None:
        raise FractureEdgeError(
            f"{folder}: was trained on its validation images too; {evaluation_file(folder, OUT_OF_FOLD).name} has "
            "figures of images that a model had not seen, --split test is for the last look"
        )
    table = read_splits(data or Path(record.data.root), folder / "splits.csv")
    part = table.where(split)
    if set(part.labels) != {0, 1}:
        raise FractureEdgeError(f"{folder / 'splits.csv'}: the {split} split lacks a class")
    model = keras.saving.load_model(folder / "model.keras", compile=False)
    calibrated = predict(model, load_pixels(part, record.preprocessing, label=f"reading {split}"))
    raw = Calibration(record.temperature, record.intercept).inverse(calibrated)
    predictions = Predictions(raw, calibrated)
    write_predictions(part, predictions, folder / f"predictions-{split}.csv")
    return evaluate_predictions(folder, split, table, predictions)


def evaluate_predictions(
    folder: Path, split: str, table: ImageTable, predictions: Predictions
) -> EvaluationRecord:
    """Write ``evaluation-SPLIT.json``, ``SPLIT-report.txt`` and the plots of one split.

    Args:
        folder: Folder of the model, with ``training.json``, whose threshold is used.
        split: Split of the predictions.
        table: All images with their splits.
        predictions: Predictions for the images of `split`, in the table's order.

    Returns:
        Contents of ``evaluation-SPLIT.json``.
    """
    return _write(folder, split, table, table.where(split), predictions, trivial_baseline(table, split))


def evaluate_out_of_fold(
    folder: Path, table: ImageTable, part: ImageTable, predictions: Predictions
) -> EvaluationRecord:
    """Write ``evaluation-out-of-fold.json``, ``out-of-fold-report.txt`` and the plots of out-of-fold predictions.

    Args:
        folder: Folder of the model, with ``training.json``, whose threshold is used.
        table: All images with their splits.
        part: Images of the predictions.
        predictions: Predictions for them, in their order.

    Returns:
        Contents of ``evaluation-out-of-fold.json``.
    """
    return _write(folder, OUT_OF_FOLD, table, part, predictions, None)


def _write(
    folder: Path,
    split: str,
    table: ImageTable,
    part: ImageTable,
    predictions: Predictions,
    baseline: Estimate | None,
) -> EvaluationRecord:
    record = read_record(folder)
    threshold = record.threshold
    predicted = (predictions.calibrated >= threshold).astype(int)
    found = metrics_of(part, predictions, threshold)
    result = EvaluationRecord(
        schema_version=EVALUATION_SCHEMA,
        model=record.model,
        positive_class=POSITIVE_CLASS,
        split=split,
        threshold=threshold,
        data=EvaluatedData(
            layout=table.layout,
            images=len(part),
            fractured=sum(part.labels),
            groups=len(set(groups_of(part))),
            fingerprint=fingerprint(table),
        ),
        training=_summary(record),
        metrics=found.metrics,
        confusion=found.confusion,
        auroc_without_hardware=found.auroc_without_hardware,
        calibration=found.calibration,
        trivial_baseline=baseline,
    )
    report = classification_report(part.labels, predicted, target_names=CLASSES, digits=3, zero_division=0)
    title = f"{record.model} on {split}: {len(part)} images, {sum(part.labels)} fractured (the positive class)"
    atomic_write_text(
        folder / f"{split}-report.txt", f"{title}\nthreshold {threshold:.4f} on P(fractured)\n\n{report}"
    )
    write_record(evaluation_file(folder, split), result)
    plot_confusion(part.labels, predicted, folder / f"{split}-confusion.png", title=title)
    plot_roc_pr(part.labels, predictions.calibrated, threshold, folder / f"{split}-roc-pr.png", title=title)
    plot_reliability(part.labels, predictions, folder / f"{split}-reliability.png", title=title)
    return result


def _summary(record: TrainingRecord) -> TrainingSummary:
    return TrainingSummary(
        recipe_name=record.recipe_name,
        initial_weights=record.initial_weights,
        seed=record.seed,
        parameters=record.parameters,
        epochs=record.epochs,
        best_epoch=record.best_epoch,
        seconds=record.seconds,
        device=record.device,
        precision=record.precision,
        backend=record.backend,
        versions=record.versions,
        images=record.data.images["train"],
    )


def metrics_of(part: ImageTable, predictions: Predictions, threshold: float | Floats) -> SplitMetrics:
    """Compute metrics with 95 % intervals (`train.evaluation.metrics.evaluate`), and the effect of calibration."""
    labels, groups = part.labels, groups_of(part)
    return SplitMetrics(
        metrics=evaluate(labels, predictions.calibrated, groups, threshold),
        confusion=confusion(labels, predictions.calibrated, threshold),
        auroc_without_hardware=auroc_without_hardware(part, predictions.calibrated),
        calibration={
            "before": _proper_scores(labels, predictions.raw),
            "after": _proper_scores(labels, predictions.calibrated),
        },
    )


def _proper_scores(labels: Sequence[int], probabilities: Floats) -> ProperScores:
    return ProperScores(
        brier=float(brier_score_loss(labels, probabilities)),
        log_loss=float(log_loss(labels, np.clip(probabilities, 1e-7, 1 - 1e-7))),
    )


def auroc_without_hardware(part: ImageTable, scores: npt.NDArray[np.floating[Any]]) -> Estimate | None:
    """Compute the AUROC of the images known to show no metal; ``None`` where a class is missing among them."""
    rows = [row for row, item in enumerate(part) if item.metadata.get("hardware") == "0"]
    labels, groups = part.labels, groups_of(part)
    if {labels[row] for row in rows} != {0, 1}:
        return None
    return auroc([labels[row] for row in rows], scores[rows], [groups[row] for row in rows])
