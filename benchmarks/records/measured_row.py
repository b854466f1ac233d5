"""Measurements of one row of a benchmark, as stored in ``RUN.json``."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from benchmarks.speed.latency import Percentiles
from train.evaluation.metrics import Estimate
from train.evaluation.paired import McNemar, PairedComparison

#: Attribute of subgroups by the body part that the model itself sees, where the data say none.
PREDICTED_PART = "predicted_body_part"
#: Verdict of the export gate.
Gate = Literal["accepted", "rejected"]


@dataclass(frozen=True, slots=True)
class Confusion:
    """Confusion matrix at the threshold; fractured is the positive class."""

    true_positive: int
    false_positive: int
    true_negative: int
    false_negative: int


@dataclass(frozen=True, slots=True)
class Uncertain:
    """Effect of the uncertain band.

    Attributes:
        share: Share of the images inside the band.
        images_decided: Number of images outside the band.
        metrics_on_decided: Metrics of the images outside the band by name, see
            `train.evaluation.metrics.proportions`.
    """

    share: float
    images_decided: int
    metrics_on_decided: Mapping[str, Estimate]


@dataclass(frozen=True, slots=True)
class Subgroup:
    """Metrics of the images that share the value of an attribute.

    Attributes:
        by: Name of the attribute: ``body_part``, ``view``, ``hardware`` or `PREDICTED_PART`.
        value: Value of the attribute.
        images: Number of images.
        fractured: Number of fractured images.
        auroc: Area under the ROC curve; undefined with few images or few of either class.
        recall: Share of the fractured images that are predicted as fractured; undefined without fractured images.
        specificity: Share of the other images that are predicted as not fractured; undefined without such images.
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
    """Metrics of the predictions of one row.

    Attributes:
        metrics: Metrics by name, see `train.evaluation.metrics.evaluate`.
        confusion: Confusion matrix at the frozen threshold.
        uncertain: Effect of the uncertain band.
        subgroups: Metrics by body part, view and hardware.
    """

    metrics: Mapping[str, Estimate]
    confusion: Confusion
    uncertain: Uncertain
    subgroups: tuple[Subgroup, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class PairedChange:
    """Paired comparison of a row with its source row; see `train.evaluation.paired.PairedComparison`.

    Attributes:
        source: Id of the source row.
        agreement: Share of images with the same decision.
        largest_difference: Largest absolute difference of P(fractured).
        mean_difference: Mean absolute difference of P(fractured).
        auroc_change: AUROC of the row minus that of the source.
        sensitivity_change: Sensitivity at the threshold minus that of the source.
        specificity_change: Specificity at the threshold minus that of the source.
        mcnemar: McNemar's test of the decisions.
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
        """Create the record from a comparison and the id of the source row."""
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
    """Latency and throughput of a row for one number of threads.

    Attributes:
        inference_ms: Latency of the model alone, in milliseconds.
        file_to_decision_ms: Latency from image file to decision, in milliseconds; ``None`` if the row failed
            before it was measured.
        images_per_second: Throughput by batch size (as text), for the batch sizes measured before a failure.
    """

    inference_ms: Percentiles
    file_to_decision_ms: Percentiles | None
    images_per_second: Mapping[str, float]


@dataclass(frozen=True, slots=True, kw_only=True)
class MeasuredRow:
    """Description and measurements of a model file in one runtime.

    Attributes:
        id: Identifier in the run, such as ``edge/onnx int8``.
        model: Name of the model.
        runtime: Runtime, one of `benchmarks.runtimes.runners.Runtime`.
        format: Description of the format, unique within a model.
        precision: ``float32``, ``float16``, ``dynamic`` or ``int8``.
        file: Name of the file.
        bytes: Size of the file.
        sha256: SHA-256 checksum of the file, hexadecimal.
        error: Error message if the row gave no predictions, else ``None``.
        gate: Verdict of the export gate; ``None`` if the file did not pass through it.
        quality: Metrics of the predictions; ``None`` if the row failed.
        against_source: Comparison with the Keras row; ``None`` if there is none.
        speed: Latency and throughput by number of threads (as text); ``None`` if not measured.
        first_answer_ms: Time from the start of a new process to its first prediction, in milliseconds; ``None`` if
            not measured.
        peak_memory_mb: Largest peak memory of these processes, in MB (10^6 bytes); ``None`` if not measured.
        speed_error: Error message if the speed measurement failed or is incomplete, else ``None``.
        timed_sha256: SHA-256 checksum of the file whose latency and memory these are, if this file was written
            since with the same probabilities; else ``None``.
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
    timed_sha256: str | None = None

    @property
    def sha256_of_times(self) -> str:
        """SHA-256 checksum of the file whose latency and memory the row has."""
        return self.timed_sha256 or self.sha256
