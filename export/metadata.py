"""What an exported file says about itself."""

from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any

from fracture_edge.modelfile import ModelInfo
from fracture_edge.policy import Policy
from fracture_edge.preprocess import Preprocessing
from train.data.dataset import FRACATLAS_ATTRIBUTION


def model_info(
    record: dict[str, Any],
    *,
    name: str,
    precision: str,
    versions: dict[str, str],
    licence: str = "",
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
    """
    return ModelInfo(
        name=name,
        architecture=record["model"],
        precision=precision,
        preprocessing=Preprocessing.from_dict(record["recipe"]["preprocessing"]),
        policy=Policy(record["threshold"], record["uncertain_low"], record["uncertain_high"]),
        typicality=dict(typicality),
        suitability=record.get("suitability", {}),
        operating_points=record.get("operating_points", {}),
        calibration={name: record[name] for name in ("temperature", "intercept")},
        training={
            **{name: value for name, value in record["data"].items() if name != "root"},
            "recipe": Path(record["recipe_name"]).name,
            "seed": record["seed"],
            "epochs": record["epochs"],
            "best_epoch": record["best_epoch"],
            "initial_weights": record["initial_weights"],
        },
        metrics={"validation": record["validation"]},
        versions=versions | record["versions"],
        licence=licence or (FRACATLAS_ATTRIBUTION if record["data"]["layout"] == "fracatlas" else ""),
        created=record["created"],
    )
