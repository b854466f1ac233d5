"""Comparison of the predictions of two processors for the same images."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import mean

from benchmarks.records.environment import Environment
from benchmarks.studies.processors.emulator import PredictionRecord
from fracture_edge.errors import FractureEdgeError


@dataclass(frozen=True, slots=True)
class Outcome:
    """Prediction of one processor for an image.

    Attributes:
        status: ``ok``, or the reason why the image was refused; the other values are ``None`` then.
        decision: Decision of the model.
        probability: P(fractured).
    """

    status: str
    decision: str | None
    probability: float | None

    @classmethod
    def of(cls, record: PredictionRecord) -> "Outcome":
        """Create the outcome from a record, without path and time."""
        return cls(record.status, record.decision, record.probability)


@dataclass(frozen=True, slots=True)
class Difference:
    """Image with different decisions on the two processors.

    Attributes:
        path: Name of the file.
        native: Outcome on the native processor.
        emulated: Outcome on the emulated processor.
    """

    path: str
    native: Outcome
    emulated: Outcome


@dataclass(frozen=True, slots=True, kw_only=True)
class Comparison:
    """Comparison of the predictions of two processors for the same images.

    Attributes:
        images: Number of images.
        answered: Number of images with a prediction on both processors.
        same_decisions: Number of those with the same decision.
        largest_difference: Largest absolute difference of P(fractured) over the images with both predictions.
        mean_difference: Mean absolute difference of P(fractured) over these images.
        differing: Images whose decisions differ.
    """

    images: int
    answered: int
    same_decisions: int
    largest_difference: float
    mean_difference: float
    differing: tuple[Difference, ...]


@dataclass(frozen=True, slots=True)
class Native:
    """Native processor.

    Attributes:
        cpu_features: Instruction sets that the process detects, by NumPy's names.
        versions: Versions of the packages.
        p50_ms: Median time of one image, in milliseconds.
    """

    cpu_features: tuple[str, ...]
    versions: dict[str, str]
    p50_ms: float


@dataclass(frozen=True, slots=True)
class Emulated:
    """Emulated processor.

    Attributes:
        architecture: Name of the architecture.
        cpu: Name of the processor, as in ``qemu-<architecture> -cpu``.
        cpu_features: Instruction sets that the process detects, by NumPy's names.
        qemu: Version of the emulator.
        versions: Versions of the packages.
        p50_ms: Median time of one image under emulation, in milliseconds; says nothing about the real processor.
    """

    architecture: str
    cpu: str
    cpu_features: tuple[str, ...]
    qemu: str
    versions: dict[str, str]
    p50_ms: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Emulation(Comparison):
    """Comparison with a description of the model and both processors.

    Attributes:
        model: Name of the model file.
        plain: Whether the emulated process opened the model without the session options of `FractureClassifier`.
        model_sha256: SHA-256 checksum of the model file, hexadecimal.
        emulated: Emulated processor.
        native: Native processor.
        environment: Machine and package versions.
    """

    model: str
    plain: bool
    model_sha256: str
    emulated: Emulated
    native: Native
    environment: Environment


def compare(native: Sequence[PredictionRecord], other: Sequence[PredictionRecord]) -> Comparison:
    """Compare decisions and probabilities image by image.

    Args:
        native: Predictions of the native processor.
        other: Predictions of the other processor for the same images in the same order.

    Raises:
        FractureEdgeError: No image has a prediction on both processors.
    """
    pairs = list(zip(native, other, strict=True))
    answered, differences = [], []
    for one, two in pairs:
        if one.probability is not None and two.probability is not None:
            answered.append((one, two))
            differences.append(abs(one.probability - two.probability))
    if not differences:
        raise FractureEdgeError(
            f"none of the {len(pairs)} images has a prediction on both processors; use radiographs"
        )
    return Comparison(
        images=len(pairs),
        answered=len(answered),
        same_decisions=sum(one.decision == two.decision for one, two in answered),
        largest_difference=max(differences),
        mean_difference=mean(differences),
        differing=tuple(
            Difference(Path(one.path).name, Outcome.of(one), Outcome.of(two))
            for one, two in pairs
            if one.decision != two.decision
        ),
    )
