"""Result of a run of `fracture-edge benchmark`, as stored in ``RUN.json``."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from benchmarks.records.environment import Environment
from benchmarks.records.measured_row import MeasuredRow
from benchmarks.speed.latency import Percentiles
from fracture_edge.errors import FractureEdgeError
from train.evaluation.metrics import Estimate
from train.json_records import from_plain, read_json

RESULT_SCHEMA = 2


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainingSummary:
    """Summary of a training run; ``None`` for values that the model file does not contain.

    Attributes:
        recipe: Name of the recipe.
        initial_weights: Origin of the initial weights, in words.
        epochs: Number of epochs trained.
        best_epoch: Epoch whose weights were kept, counted from 1.
        seed: Random seed of the training run.
        device: Device and backend, in words.
        precision: Keras dtype policy.
        images: Number of training images.
    """

    recipe: str | None
    initial_weights: str | None
    epochs: int | None
    best_epoch: int | None
    seed: int | None
    device: str | None
    precision: str | None
    images: int | None


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelDescription:
    """Properties that all rows of a model share.

    Attributes:
        architecture: Name of the network architecture.
        threshold: Decision threshold, frozen on validation.
        uncertain_low: Start of the uncertain band (inclusive).
        uncertain_high: End of the uncertain band (exclusive).
        input: Height and width of the model input, in pixels.
        training: Summary of the training run; ``None`` if unknown.
        parameters: Number of parameters; ``None`` if unknown.
        history: Metrics of each epoch by name; empty if unknown.
        splits_of_training: Whether the model was trained with the same data and splits.
    """

    architecture: str
    threshold: float
    uncertain_low: float
    uncertain_high: float
    input: tuple[int, int]
    training: TrainingSummary | None
    parameters: int | None
    history: tuple[Mapping[str, float], ...]
    splits_of_training: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class BenchmarkData:
    """Images of the evaluation.

    Attributes:
        layout: Layout of the data folder.
        split: Name of the split.
        images: Number of images.
        fractured: Number of fractured images.
        groups: Number of groups.
        fingerprint: Checksum of data and splits.
        predictions: Name of the CSV file beside ``RUN.json``; empty before it is written.
    """

    layout: str
    split: str
    images: int
    fractured: int
    groups: int
    fingerprint: str
    predictions: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """Settings of the speed measurement; zeros and empty tuples if speed was not measured.

    Attributes:
        runs: Number of timed inferences per row.
        rounds: Number of rounds in which the rows took turns.
        threads: Numbers of threads.
        batches: Batch sizes of the throughput measurement.
        first_answers: Number of new processes per row that were timed to their first prediction.
    """

    runs: int
    rounds: int
    threads: tuple[int, ...]
    batches: tuple[int, ...]
    first_answers: int


@dataclass(frozen=True, slots=True)
class Harness:
    """Overhead of the timing code.

    Attributes:
        overhead_us: Latency of a runner that does nothing, in microseconds.
    """

    overhead_us: Percentiles


@dataclass(frozen=True, slots=True, kw_only=True)
class BenchmarkResult:
    """Contents of ``RUN.json``.

    Attributes:
        schema_version: Schema version, `RESULT_SCHEMA`.
        created: Date and time, ISO 8601.
        positive_class: Name of the positive class.
        environment: Machine and package versions.
        data: Images of the evaluation.
        trivial_baseline: AUROC of image size and brightness alone; undefined without training images to fit it.
        settings: Settings of the speed measurement.
        harness: Overhead of the timing code; ``None`` if speed was not measured.
        models: Descriptions of the models by name.
        rows: Rows in the order in which they were measured.

    Raises:
        FractureEdgeError: `schema_version` is not `RESULT_SCHEMA`.
    """

    schema_version: int
    created: str
    positive_class: str
    environment: Environment
    data: BenchmarkData
    trivial_baseline: Estimate
    settings: Settings
    harness: Harness | None
    models: Mapping[str, ModelDescription]
    rows: tuple[MeasuredRow, ...]

    def __post_init__(self) -> None:
        _check_schema(self.schema_version)


@dataclass(frozen=True, slots=True)
class Run:
    """Result of a benchmark with the predictions that it was computed from.

    Attributes:
        result: Contents of ``RUN.json``.
        predictions: One dictionary per image: path, label, group, body part, view, hardware, and P(fractured) by
            row id.
    """

    result: BenchmarkResult
    predictions: Sequence[Mapping[str, str]]


def read_result(path: Path) -> BenchmarkResult:
    """Read ``RUN.json``.

    Args:
        path: Path of the file.

    Raises:
        FractureEdgeError: The file cannot be read, is not a benchmark result, or has another schema version.
    """
    return result_of(read_json(path), str(path))


def result_of(values: object, source: str = "RUN.json") -> BenchmarkResult:
    """Convert plain values into a result.

    Args:
        values: Contents of ``RUN.json``.
        source: Name of the file, for error messages.

    Raises:
        FractureEdgeError: The values are not a benchmark result, or have another schema version.
    """
    if not isinstance(values, dict):
        raise FractureEdgeError(f"{source}: not the RUN.json of a benchmark")
    _check_schema(values.get("schema_version"))
    return from_plain(BenchmarkResult, values, source)


def _check_schema(version: object) -> None:
    if version != RESULT_SCHEMA:
        raise FractureEdgeError(
            f"a benchmark result of schema {version}, not {RESULT_SCHEMA}; run `fracture-edge benchmark` again"
        )
