"""Answers of two processors to the same images, compared."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import mean

from benchmarks.records.environment import Environment
from benchmarks.studies.processors.emulator import Answer
from fracture_edge.errors import FractureEdgeError


@dataclass(frozen=True, slots=True)
class Judgement:
    """What one processor said of an image: status, decision and P(fractured), ``None`` without an answer."""

    status: str
    decision: str | None
    probability: float | None

    @classmethod
    def of(cls, answer: Answer) -> "Judgement":
        """Leave out path and time."""
        return cls(answer.status, answer.decision, answer.probability)


@dataclass(frozen=True, slots=True)
class Difference:
    """An image with two decisions.

    Attributes:
        path: Name of the file.
        native: Judgement on this processor.
        emulated: Judgement on the emulated one.
    """

    path: str
    native: Judgement
    emulated: Judgement


@dataclass(frozen=True, slots=True, kw_only=True)
class Comparison:
    """Answers of two processors to the same images.

    Attributes:
        images: Number of images.
        answered: Number of images that both answer.
        same_decisions: Number of those with the same decision.
        largest_difference: Largest absolute difference of P(fractured) over the images that both answer.
        mean_difference: Mean of it.
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
    """This processor.

    Attributes:
        cpu_features: Instructions that the process finds.
        versions: Versions of the packages.
        p50_ms: Median time of one image, in milliseconds.
    """

    cpu_features: tuple[str, ...]
    versions: dict[str, str]
    p50_ms: float


@dataclass(frozen=True, slots=True)
class Emulated:
    """The emulated processor.

    Attributes:
        architecture: Name of the architecture.
        cpu: Name of the processor.
        cpu_features: Instructions that the process finds.
        qemu: Version of the emulator.
        versions: Versions of the packages.
        p50_ms: Median time of one image, in milliseconds; means nothing.
    """

    architecture: str
    cpu: str
    cpu_features: tuple[str, ...]
    qemu: str
    versions: dict[str, str]
    p50_ms: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Emulation(Comparison):
    """A comparison, and under what it was made.

    Attributes:
        model: Name of the model file.
        plain: Whether it was opened there without our session options.
        model_sha256: Checksum of the file, hexadecimal.
        emulated: Emulated processor.
        native: This processor.
        environment: Machine and versions.
    """

    model: str
    plain: bool
    model_sha256: str
    emulated: Emulated
    native: Native
    environment: Environment


def compare(native: Sequence[Answer], other: Sequence[Answer]) -> Comparison:
    """Compare decisions and probabilities image by image.

    Args:
        native: Records of `Answers`.
        other: Records of the same images in the same order.

    Raises:
        FractureEdgeError: No image has an answer in both.
    """
    pairs = list(zip(native, other, strict=True))
    answered, differences = [], []
    for one, two in pairs:
        if one.probability is not None and two.probability is not None:
            answered.append((one, two))
            differences.append(abs(one.probability - two.probability))
    if not differences:
        raise FractureEdgeError(f"none of the {len(pairs)} images has an answer in both; give radiographs")
    return Comparison(
        images=len(pairs),
        answered=len(answered),
        same_decisions=sum(one.decision == two.decision for one, two in answered),
        largest_difference=max(differences),
        mean_difference=mean(differences),
        differing=tuple(
            Difference(Path(one.path).name, Judgement.of(one), Judgement.of(two))
            for one, two in pairs
            if one.decision != two.decision
        ),
    )
