"""Models of a benchmark run, and the images they are evaluated on."""

import csv
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

from benchmarks.records.result import ModelDescription, TrainingSummary
from benchmarks.rows import BenchmarkRow
from fracture_edge.classifier import FractureClassifier
from fracture_edge.errors import FractureEdgeError
from fracture_edge.modelfile import ModelInfo, read_tflite_info
from fracture_edge.policy import Policy
from fracture_edge.preprocess import Preprocessing
from train.artifacts import read_record
from train.data.dataset import Item

_TRAINING = tuple(field.name for field in fields(TrainingSummary))
_YES_OR_NO = {"0": "no", "1": "yes"}


@dataclass(frozen=True, slots=True, kw_only=True)
class BenchmarkedModel:
    """A model of a benchmark run, with the properties that all its rows share.

    Attributes:
        name: Name of the trained model, ``embedded``, or the file's name without its suffix.
        rows: Combinations of file and runtime; a Keras row comes first.
        preprocessing: Preprocessing of the images for every row.
        policy: Decision threshold and uncertain band, frozen on validation.
        fingerprint: Checksum of the training data and splits; empty if unknown.
        architecture: Name of the network architecture.
        training: Summary of the training run.
        parameters: Number of parameters; ``None`` if unknown.
        history: Metrics of each epoch by name; empty if unknown.
        has_validation: Whether the validation split was kept back from the training.
    """

    name: str
    rows: tuple[BenchmarkRow, ...]
    preprocessing: Preprocessing
    policy: Policy
    fingerprint: str
    architecture: str
    training: TrainingSummary
    parameters: int | None = None
    history: tuple[Mapping[str, float], ...] = ()
    has_validation: bool = True

    @property
    def source(self) -> str | None:
        """Id of the Keras row that the other rows were exported from, or ``None``."""
        return self.rows[0].id if self.rows[0].runtime == "keras" else None

    def describe(self, fingerprint: str) -> ModelDescription:
        """Return the description of this model for ``RUN.json``.

        Args:
            fingerprint: Checksum of the data and splits of the evaluation.
        """
        return ModelDescription(
            architecture=self.architecture,
            threshold=self.policy.threshold,
            uncertain_low=self.policy.uncertain_low,
            uncertain_high=self.policy.uncertain_high,
            input=(self.preprocessing.height, self.preprocessing.width),
            training=self.training,
            parameters=self.parameters,
            history=self.history,
            splits_of_training=fingerprint == self.fingerprint,
        )


def model_of(rows: tuple[BenchmarkRow, ...]) -> BenchmarkedModel:
    """Read the properties of the model that some rows belong to.

    Args:
        rows: Rows of one model, as returned by `benchmarks.rows.rows_of`.

    Raises:
        FractureEdgeError: The training record or the metadata of the file cannot be read.
    """
    first = rows[0]
    if first.runtime == "keras" and first.path:
        return _trained(rows, first.path.parent)
    if first.path and first.path.suffix == ".tflite":
        info = read_tflite_info(first.path)
    else:
        info = FractureClassifier(first.path, 1).info
    return _exported(rows, info)


def _trained(rows: tuple[BenchmarkRow, ...], folder: Path) -> BenchmarkedModel:
    record = read_record(folder)
    counts = record.data.images["train"]
    return BenchmarkedModel(
        name=rows[0].model,
        rows=rows,
        preprocessing=record.preprocessing,
        policy=record.policy,
        fingerprint=record.data.fingerprint,
        architecture=record.model,
        training=TrainingSummary(
            recipe=Path(record.recipe_name).name,
            initial_weights=record.initial_weights,
            epochs=record.epochs,
            best_epoch=record.best_epoch,
            seed=record.seed,
            device=record.device,
            precision=record.precision,
            images=counts.fractured + counts.not_fractured,
        ),
        parameters=record.parameters,
        history=_history(folder / "history.csv"),
        has_validation=record.validation is not None,
    )


def _exported(rows: tuple[BenchmarkRow, ...], info: ModelInfo) -> BenchmarkedModel:
    images = info.training.get("images", {}).get("train", {})
    training = {**info.training, "images": sum(images.values()) or None}
    return BenchmarkedModel(
        name=rows[0].model,
        rows=rows,
        preprocessing=info.preprocessing,
        policy=info.policy,
        fingerprint=info.training.get("fingerprint", ""),
        architecture=info.architecture,
        training=_summary(training),
        # Older files name no metrics, and none of them was trained on its validation split.
        has_validation="validation" in info.metrics or "out_of_fold" not in info.metrics,
    )


def _summary(training: dict[str, Any]) -> TrainingSummary:
    # Which training details a model file contains depends on what exported it.
    return TrainingSummary(**{name: training.get(name) for name in _TRAINING})


def _history(path: Path) -> tuple[dict[str, float], ...]:
    """Read the metrics of each epoch; return nothing if the history file is missing."""
    if not path.is_file():
        return ()
    with path.open(newline="", encoding="utf-8", errors="surrogateescape") as stream:
        rows = [{name: float(value) for name, value in row.items() if value} for row in csv.DictReader(stream)]
    # JSON has no NaN, and an epoch that diverged contains NaN.
    return tuple({name: value for name, value in row.items() if math.isfinite(value)} for row in rows)


def data_of(models: Sequence[BenchmarkedModel], data: Path | None, splits: Path | None) -> tuple[Path, Path]:
    """Return the data folder and the split file: the given ones, or those used for training.

    Args:
        models: Models to evaluate.
        data: Data folder, or ``None`` for that of the training run.
        splits: Split file, or ``None`` for that of the training run.

    Raises:
        FractureEdgeError: They are not given, and the models have no training run or were trained with different
            data or splits.
    """
    if data and splits:
        return data, splits
    folders = [row.path.parent for each in models if (row := each.rows[0]).runtime == "keras" and row.path]
    if not folders:
        raise FractureEdgeError("no trained model tells which images to use; give --data and --splits")
    if splits is None and len({each.fingerprint for each in models if each.source}) > 1:
        raise FractureEdgeError(
            "these models were trained with different data or splits; give --data and --splits to evaluate all of "
            "them on the same images"
        )
    root = data or Path(read_record(folders[0]).data.root)
    return root, splits or folders[0] / "splits.csv"


def about_image(item: Item) -> dict[str, str]:
    """Return ``body_part``, ``view`` and ``hardware`` of an image as text, each empty if unknown."""
    return {
        "body_part": item.body_part,
        "view": item.view,
        "hardware": _YES_OR_NO.get(item.metadata.get("hardware", ""), ""),
    }
