"""What was measured of one row, as ``RUN.json`` holds it."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from benchmarks.speed.latency import Percentiles
from train.evaluation.metrics import Estimate
from train.evaluation.paired import McNemar, PairedComparison

#: What the export said of a file.
Gate = Literal["accepted", "rejected"]


@dataclass(frozen=True, slots=True)
class Confusion:
    """Decisions at the threshold, counted; fractured is positive."""

    true_positive: int
    false_positive: int
    true_negative: int
    false_negative: int


@dataclass(frozen=True, slots=True)
class Uncertain:
    """What the uncertain band leaves open.

    Attributes:
        share: Share of the images that lie in it.
        images_decided: Number of the others.
        metrics_on_decided: Proportions of the others by name; see `train.evaluation.metrics.proportions`.
    """

    share: float
    images_decided: int
    metrics_on_decided: Mapping[str, Estimate]


@dataclass(frozen=True, slots=True)
class Subgroup:
    """Figures of the images that an attribute has in common.

    Attributes:
        by: Name of the attribute: ``body_part``, ``view`` or ``hardware``.
        value: Value of the attribute.
        images: Number of images.
        fractured: Number of fractured ones.
        auroc: Area under the ROC curve; not defined with few images or few of a class.
        recall: Share of the fractured ones that are found; not defined without any.
        specificity: Share of the others that are cleared; not defined without any.
    """

    by: str
    value: str
    images: int
    fractured: int
    auroc: Estimate
    recall: Estimate
    specificity: Estimate


@dataclass(frozen=True, slots=True)
class Quality:
    """What the probabilities of one row are worth.

    Attributes:
        metrics: Figures by name; see `train.evaluation.metrics.evaluate`.
        confusion: Counts at the frozen threshold.
        uncertain: What the uncertain band leaves open.
        subgroups: Figures by body part, view and hardware.
    """

    metrics: Mapping[str, Estimate]
    confusion: Confusion
    uncertain: Uncertain
    subgroups: tuple[Subgroup, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class PairedChange:
    """A row against the one it was made from; see `train.evaluation.paired.PairedComparison`.

    Attributes:
        source: Id of the other row.
        agreement: Share of equal decisions.
        largest_difference: Largest absolute difference of probability.
        mean_difference: Mean absolute difference of probability.
        auroc_change: Change of AUROC.
        sensitivity_change: Change of sensitivity at the threshold.
        specificity_change: Change of specificity at the threshold.
        mcnemar: Test of the decisions.
    """

    source: str
    agreement: float
    largest_difference: float
    mean_difference: float
    auroc_change: Estimate
    sensitivity_change: Estimate
    specificity_change: Estimate
    mcnemar: McNemar

    @classmethod
    def of(cls, source: str, found: PairedComparison) -> "PairedChange":
        """Say of a comparison which row was the source."""
        return cls(
            source=source,
            agreement=found.agreement,
            largest_difference=found.largest_difference,
            mean_difference=found.mean_difference,
            auroc_change=found.auroc_change,
            sensitivity_change=found.sensitivity_change,
            specificity_change=found.specificity_change,
            mcnemar=found.mcnemar,
        )


@dataclass(frozen=True, slots=True)
class Speed:
    """How fast a row is at one number of threads.

    Attributes:
        inference_ms: Time of the graph alone.
        file_to_decision_ms: Time of the whole way; ``None`` when the row failed before.
        images_per_second: Throughput by batch size as text, of the batches that the row came to.
    """

    inference_ms: Percentiles
    file_to_decision_ms: Percentiles | None
    images_per_second: Mapping[str, float]


@dataclass(frozen=True, slots=True, kw_only=True)
class MeasuredRow:
    """One file through one runtime: what it is and what was measured.

    Attributes:
        id: Name in the run, such as ``edge/onnx int8``.
        model: Name of the model.
        runtime: One of `benchmarks.runtimes.runners.Runtime`.
        format: Words, unique within a model.
        precision: ``float32``, ``float16``, ``dynamic`` or ``int8``.
        file: Name of the file.
        bytes: Size of the file.
        sha256: Checksum of the file, hexadecimal.
        error: Reason why it gave no answers, if so.
        gate: Verdict of the export, or ``None`` where it had no say.
        quality: Figures of its probabilities; ``None`` when it failed.
        against_source: Comparison with the Keras row, where there is one.
        speed: Figures by number of threads as text; ``None`` when not measured.
        first_answer_ms: Time of a fresh process to its first answer, likewise.
        peak_memory_mb: Greatest memory of these processes in units of 10^6 bytes, likewise.
        speed_error: Reason why speed was not measured, or not all of it.
    """

    id: str
    model: str
    runtime: str
    format: str
    precision: str
    file: str
    bytes: int
    sha256: str
    error: str | None
    gate: Gate | None
    quality: Quality | None
    against_source: PairedChange | None
    speed: Mapping[str, Speed] | None
    first_answer_ms: Percentiles | None
    peak_memory_mb: float | None
    speed_error: str | None
