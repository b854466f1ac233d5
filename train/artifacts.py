"""Folders ``artifacts/<model>``: trained models, and ``training.json`` as a typed record.

Imports nothing heavy: evaluation, export and benchmarks use it.
"""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from fracture_edge.errors import FractureEdgeError
from fracture_edge.policy import Policy
from fracture_edge.preprocess import Preprocessing
from train.json_records import from_plain, read_versioned

TRAINING_SCHEMA = 1
TRAINING_FILE = "training.json"
#: Images that threshold, bands and operating points were settled on: the validation split, or all images of
#: training and validation, each predicted by a cross-validated model that was not trained on it.
VALIDATION, OUT_OF_FOLD = "validation", "out-of-fold"


@dataclass(frozen=True, slots=True)
class ClassCounts:
    """Number of images of a split by class."""

    fractured: int
    not_fractured: int


@dataclass(frozen=True, slots=True)
class TrainingData:
    """Data of a training run.

    Attributes:
        root: Data folder, as an absolute path.
        layout: Layout of the folder, see `train.data.dataset.read_table`.
        fingerprint: SHA-256 over images, labels and splits, see `train.data.batches.fingerprint`.
        images: Number of images by split and class.
    """

    root: str
    layout: str
    fingerprint: str
    images: dict[str, ClassCounts]


@dataclass(frozen=True, slots=True)
class ValidationMetrics:
    """Validation metrics (optimistic: epoch and threshold were selected on this split).

    Attributes:
        images: Number of images.
        fractured: Number of fractured ones.
        auroc: Area under the ROC curve.
        balanced_accuracy: Mean of sensitivity and specificity at the threshold.
        log_loss: Mean negative log-likelihood, in nats.
        uncertain_share: Share of images in the uncertain band, 0 to 1.
    """

    images: int
    fractured: int
    auroc: float
    balanced_accuracy: float
    log_loss: float
    uncertain_share: float


@dataclass(frozen=True, slots=True)
class OutOfFoldMetrics(ValidationMetrics):
    """Metrics of out-of-fold predictions (hardly optimistic: only calibration and threshold were fitted to them).

    Attributes:
        folds: Number of folds.
        kept_epochs: Epoch of each phase whose weights were kept, counted from 1 within the phase,
            [folds][phases]; empty if they are not known.
    """

    folds: int
    kept_epochs: list[list[int]] = field(default_factory=list)


@dataclass(frozen=True, slots=True, kw_only=True)
class DecidedMetrics:
    """Metrics of the decisions with an uncertain band, with 95 % intervals of a bootstrap over groups.

    Attributes:
        sensitivity: Sensitivity on the images outside the band.
        specificity: Specificity on the images outside the band.
        uncertain_share: Share of images inside the band, 0 to 1.
        sensitivity_interval: Lower and upper end of its interval; ``None`` if it was not computed.
        specificity_interval: Lower and upper end of its interval.
        uncertain_share_interval: Lower and upper end of its interval.
    """

    sensitivity: float
    specificity: float
    uncertain_share: float
    sensitivity_interval: tuple[float, float] | None = None
    specificity_interval: tuple[float, float] | None = None
    uncertain_share_interval: tuple[float, float] | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class OperatingPoint(DecidedMetrics):
    """Threshold and uncertain band on P(fractured), with metrics of the images that they were fitted to.

    Attributes:
        threshold: Decision threshold where no band is used; at or above it an image is predicted fractured.
        uncertain_low: Lower edge of the band; below it an image is predicted not fractured.
        uncertain_high: Upper edge of the band; at or above it an image is predicted fractured. uncertain_low <=
            threshold <= uncertain_high.
        images: Images that the point was fitted to, `VALIDATION` or `OUT_OF_FOLD`; empty in older files.
        sensitivity_margin: Amount by which the fit exceeds the target sensitivity, so that `nested` reaches it.
        specificity_margin: Amount by which the fit exceeds the target specificity, for the same reason.
        nested: The same metrics where each fold is decided by a point that was fitted to the other folds; ``None``
            without folds.
    """

    threshold: float
    uncertain_low: float
    uncertain_high: float
    images: str = ""
    sensitivity_margin: float = 0.0
    specificity_margin: float = 0.0
    nested: DecidedMetrics | None = None

    @property
    def policy(self) -> Policy:
        """Threshold and band, without the metrics."""
        return Policy(self.threshold, self.uncertain_low, self.uncertain_high)


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainingRecord:
    """Record of a training run, ``training.json``, for later stages and for readers.

    Attributes:
        schema_version: Version of this format.
        model: Name of the architecture.
        positive_class: Always ``fractured``.
        parameters: Number of parameters.
        temperature: Temperature of the calibration, folded into the model.
        intercept: Intercept of the calibration, folded into the model.
        threshold: Decision threshold on P(fractured), chosen on validation or out of fold.
        uncertain_low: Lower edge of the uncertain band.
        uncertain_high: Upper edge of the uncertain band.
        suitability: Fields of `fracture_edge.suitability.Limits`, fitted to the training images.
        operating_points: Operating points by name.
        validation: Metrics of the validation images; ``None`` if the model was trained on them too.
        out_of_fold: Metrics of the out-of-fold predictions that the settings were chosen by; ``None`` if they were
            chosen on validation.
        recipe_name: Name of the recipe, or path of its file.
        recipe: Recipe as it was trained, with what was overridden.
        seed: Random seed of initialisation, order and augmentation.
        initial_weights: Initial weights, in words.
        data: Data of the run.
        epochs: Number of epochs trained.
        best_epoch: Epoch whose weights were kept, counted from 1.
        seconds: Duration of the run.
        device: Device and backend, in words.
        precision: Dtype policy of Keras.
        backend: Backend of Keras.
        versions: Versions of the packages used.
        created: Time of completion, ISO 8601, UTC.
        teachers_auroc: AUROC of teacher models, in records of earlier versions that trained with some.
    """

    schema_version: int
    model: str
    positive_class: str
    parameters: int
    temperature: float
    intercept: float
    threshold: float
    uncertain_low: float
    uncertain_high: float
    validation: ValidationMetrics | None
    recipe_name: str
    recipe: Mapping[str, Any]
    seed: int
    initial_weights: str
    data: TrainingData
    epochs: int
    best_epoch: int
    seconds: float
    device: str
    precision: str
    backend: str
    versions: dict[str, str]
    created: str
    suitability: dict[str, float] = field(default_factory=dict)
    operating_points: dict[str, OperatingPoint] = field(default_factory=dict)
    out_of_fold: OutOfFoldMetrics | None = None
    teachers_auroc: float | None = None

    @property
    def preprocessing(self) -> Preprocessing:
        """Preprocessing of the recipe."""
        return Preprocessing.from_dict(self.recipe["preprocessing"])

    @property
    def policy(self) -> Policy:
        """Threshold and uncertain band."""
        return Policy(self.threshold, self.uncertain_low, self.uncertain_high)

    @property
    def planned_epochs(self) -> int:
        """Largest number of epochs that the recipe allows, all phases together."""
        return sum(int(phase["epochs"]) for phase in self.recipe["phases"])


def trained_models(artifacts: Path) -> list[str]:
    """List the models in `artifacts`: folders with a ``model.keras``, sorted.

    Raises:
        FractureEdgeError: There are none.
    """
    found = sorted(path.parent.name for path in artifacts.glob("[!.]*/model.keras"))
    if not found:
        raise FractureEdgeError(f"{artifacts}: no trained model here; `fracture-edge train` makes one")
    return found


def read_record(folder: Path) -> TrainingRecord:
    """Read ``training.json`` of a model's folder.

    Raises:
        FractureEdgeError: The file is missing, cannot be read, or has a newer schema.
    """
    path = folder / TRAINING_FILE
    if not path.is_file():
        raise FractureEdgeError(f"{folder}: no trained model here; `fracture-edge train {folder.name}` makes one")
    return from_plain(TrainingRecord, read_versioned(path, TRAINING_SCHEMA), str(path))


def sha256(path: Path) -> str:
    """Compute the SHA-256 of a file, in hexadecimal."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()
