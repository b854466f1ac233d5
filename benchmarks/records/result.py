"""What a run of `fracture-edge benchmark` measured, as ``RUN.json`` holds it."""

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
    """How a model was trained; ``None`` what its file does not tell.

    Attributes:
        recipe: Name of the recipe.
        initial_weights: Where the weights came from.
        epochs: Epochs that were trained.
        best_epoch: Epoch whose weights were kept.
        seed: Seed of all that was drawn.
        device: Device that it was trained on.
        precision: Precision of the arithmetic.
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
    """What all rows of a model share.

    Attributes:
        architecture: Name of the network.
        threshold: Threshold that was frozen on validation.
        uncertain_low: Start of the uncertain band.
        uncertain_high: End of the uncertain band.
        input: Rows and columns of the input.
        training: Training behind it, where that is known.
        parameters: Number of weights, where that is known.
        history: Figures of each epoch by name; empty where they are not known.
        splits_of_training: Whether these are the data and splits that it was trained with.
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
    """The images that judged.

    Attributes:
        layout: How the data folder is laid out.
        split: Name of the split.
        images: Number of images.
        fractured: Number of fractured ones.
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
    """How speed was measured; zeros and nothing when it was not.

    Attributes:
        runs: Timed inferences of each row.
        rounds: Number of rounds in which the rows took turns.
        threads: Numbers of threads.
        batches: Images at once, for the throughput.
        first_answers: Fresh processes of each row.
    """

    runs: int
    rounds: int
    threads: tuple[int, ...]
    batches: tuple[int, ...]
    first_answers: int


@dataclass(frozen=True, slots=True)
class Harness:
    """What timing itself costs.

    Attributes:
        overhead_us: Time of a runner that does nothing, in microseconds.
    """

    overhead_us: Percentiles


@dataclass(frozen=True, slots=True, kw_only=True)
class BenchmarkResult:
    """All of ``RUN.json``.

    Attributes:
        schema_version: `RESULT_SCHEMA`.
        created: Date and time, ISO 8601.
        positive_class: Name of the positive class.
        environment: Machine and versions.
        data: Images that judged.
        trivial_baseline: AUROC of size and brightness alone; not defined where there is nothing to learn it from.
        settings: Settings of the speed.
        harness: Overhead of timing; ``None`` when speed was not measured.
        models: Descriptions by model.
        rows: Rows in the order in which they were measured.

    Raises:
        FractureEdgeError: It is of another schema.
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
    """What was measured, and the answers behind it.

    Attributes:
        result: Contents of ``RUN.json``.
        predictions: A row per image: path, label, group, what is known of it, and P(fractured) by row id.
    """

    result: BenchmarkResult
    predictions: Sequence[Mapping[str, str]]


def read_result(path: Path) -> BenchmarkResult:
    """Read ``RUN.json``.

    Raises:
        FractureEdgeError: It cannot be read, is none, or is of another schema.
    """
    return result_of(read_json(path), str(path))


def result_of(values: object, source: str = "RUN.json") -> BenchmarkResult:
    """Read a result from plain values.

    Args:
        values: Contents of ``RUN.json``.
        source: Name of the file, for the message.

    Raises:
        FractureEdgeError: They are none, or of another schema.
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
