"""Metadata of exported files."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Any

from fracture_edge.modelfile import ModelInfo
from train.artifacts import TrainingRecord
from train.data.dataset import FRACATLAS_ATTRIBUTION
from train.json_records import to_plain


def model_info(
    record: TrainingRecord,
    *,
    name: str,
    precision: str,
    versions: dict[str, str],
    licence: str = "",
    version: str = "",
    typicality: Mapping[str, float] = MappingProxyType({}),
    attributes: Mapping[str, Mapping[str, Any]] = MappingProxyType({}),
    classes: Sequence[str] = (),
) -> ModelInfo:
    """Build the metadata of an exported file from the training record, without paths of the training machine.

    Args:
        record: Training record of the model, ``training.json``.
        name: File name without its suffix.
        precision: Precision of the file.
        versions: Versions of the export tools.
        typicality: Threshold and share of false alarms of the output ``atypicality``; empty if the file has none.
        attributes: Labels and thresholds of the outputs ``body_part`` and ``view``; empty if the file has none.
        classes: Names of the classes of the output ``classes``; empty if the file has none.
        licence: Licence of the weights; FracAtlas's attribution if empty and the model was trained on FracAtlas.
        version: Version of the weights.
    """
    data = record.data
    return ModelInfo(
        name=name,
        architecture=record.model,
        precision=precision,
        preprocessing=record.preprocessing,
        policy=record.policy,
        typicality=dict(typicality),
        attributes=dict(attributes),
        classes=list(classes),
        suitability=record.suitability,
        operating_points=to_plain(record.operating_points),
        calibration={"temperature": record.temperature, "intercept": record.intercept},
        training={
            "layout": data.layout,
            "fingerprint": data.fingerprint,
            "images": to_plain(data.images),
            "recipe": Path(record.recipe_name).name,
            "seed": record.seed,
            "epochs": record.epochs,
            "best_epoch": record.best_epoch,
            "initial_weights": record.initial_weights,
        },
        metrics=_metrics(record),
        versions=versions | record.versions,
        licence=licence or (FRACATLAS_ATTRIBUTION if data.layout == "fracatlas" else ""),
        created=record.created,
        version=version,
    )


def _metrics(record: TrainingRecord) -> dict[str, Any]:
    """Collect the metrics of the images that the settings were chosen by."""
    found = {"validation": record.validation, "out_of_fold": record.out_of_fold}
    return {name: to_plain(metrics) for name, metrics in found.items() if metrics is not None}
