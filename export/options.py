"""How to export, and what became of one format."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from export.recipes import METHODS, Budget, load_budgets
from train.export_record import Compression

#: Training images drawn for the ranges of activations.
CALIBRATION_IMAGES = 256


@dataclass(frozen=True, slots=True, kw_only=True)
class ExportOptions:
    """How to export.

    Attributes:
        methods: Calibrations of int8 ONNX, of `export.recipes.METHODS`, tried in this order.
        calibration_images: Training images drawn for the ranges of activations.
        seed: Of the draw, and of fine-tuning after compression.
        data: The data folder, where it is not the one of the training run any more.
        heatmap: Whether files get a heat map as second output, where their format can hold it.
        compression: Compression before the export; ``None`` without any.
        tune_epochs: Of quantisation-aware training.
        budgets: By precision, and ``compressed``.
        licence: Of the weights, see `export.source.model_info`.
        version: Version of the weights, such as ``0.3``; goes into the files.
        force: Whether existing files may be replaced.
    """

    methods: Sequence[str] = METHODS
    calibration_images: int = CALIBRATION_IMAGES
    seed: int = 0
    data: Path | None = None
    heatmap: bool = False
    compression: Compression | None = None
    tune_epochs: int = 1
    budgets: Mapping[str, Budget] = field(default_factory=load_budgets)
    licence: str = ""
    version: str = ""
    force: bool = False


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of one format.

    Attributes:
        file: Its name.
        path: Where it lies; ``None`` when nothing was made.
        reason: Why it is not accepted; empty when it is.
    """

    file: str
    path: Path | None
    reason: str = ""
