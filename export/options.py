"""Options of an export, and the outcome of one format."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from export.recipes import LADDER, Budget, Format, Rung, load_budgets
from train.artifacts import TrainingRecord
from train.export_record import Compression, ExportEntry, Retraining

#: Number of training images sampled for the ranges of the activations.
CALIBRATION_IMAGES = 256


@dataclass(frozen=True, slots=True, kw_only=True)
class ExportOptions:
    """Options of an export.

    Attributes:
        ladder: Attempts at an int8 file, tried in this order.
        calibration_images: Number of training images sampled for the ranges of the activations.
        seed: Random seed for sampling the calibration images and for fine-tuning.
        data: Path of the data folder if it has moved since training, otherwise ``None``.
        heatmap: Whether files get a heat map as second output, if their format supports it.
        compression: Compression before the export; ``None`` without any.
        tune_epochs: Number of epochs of quantisation-aware training.
        tune_rate: Learning rate of quantisation-aware training and of fine-tuning for the compression; that of the
            last phase of the model's recipe if ``None``.
        budgets: Budgets of the gate by precision, and by ``compressed``.
        licence: Licence of the weights, see `export.metadata.model_info`.
        version: Version of the weights, such as ``0.3``; written into the files.
        force: Whether existing files may be replaced.
        resume: Whether files that an interrupted export with the same options has finished are kept.
    """

    ladder: Sequence[Rung] = LADDER
    calibration_images: int = CALIBRATION_IMAGES
    seed: int = 0
    data: Path | None = None
    heatmap: bool = False
    compression: Compression | None = None
    tune_epochs: int = 3
    tune_rate: float | None = None
    budgets: Mapping[str, Budget] = field(default_factory=load_budgets)
    licence: str = ""
    version: str = ""
    force: bool = False
    resume: bool = False


@dataclass(frozen=True, slots=True)
class Outcome:
    """Outcome of one format.

    Attributes:
        file: Name of the file.
        path: Path of the file; ``None`` if none was written.
        reason: Reason for the failure or rejection; empty if the file is accepted.
        entry: Entry of the file in ``export.json``; ``None`` if none was written.
    """

    file: str
    path: Path | None
    reason: str = ""
    entry: ExportEntry | None = field(default=None, compare=False)


def has_heatmap(chosen: Format, options: ExportOptions) -> bool:
    """Return whether a format gets a heat map."""
    return options.heatmap and chosen.has_further_outputs


def retraining(options: ExportOptions) -> Retraining:
    """Return what `options` ask of quantisation-aware training."""
    return Retraining(options.tune_epochs, options.seed, options.tune_rate)


def tune_rate(options: ExportOptions, record: TrainingRecord) -> float:
    """Return the learning rate of fine-tuning: that of the options, or of the last phase of the model's recipe."""
    return options.tune_rate or float(record.recipe["phases"][-1]["learning_rate"])
