"""What an exported file says about itself."""

from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType

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
) -> ModelInfo:
    """The metadata of an exported file, from the training record. No path of the training machine is kept.

    Args:
        record: ``training.json``.
        name: The file's name without its suffix.
        precision: Of the file.
        versions: Of the tools that export.
        typicality: Of the output ``atypicality``, if the file has it.
        licence: Of the weights; FracAtlas's attribution when empty and the data were FracAtlas.
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
        suitability=record.suitability,
        operating_points=record.operating_points,
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
        metrics={"validation": to_plain(record.validation)},
        versions=versions | record.versions,
        licence=licence or (FRACATLAS_ATTRIBUTION if data.layout == "fracatlas" else ""),
        created=record.created,
        version=version,
    )
