"""``export.json`` of a model as typed records: exported files, their settings, and the metrics of the gate.

Imports nothing heavy: export and benchmarks use it.
"""

from dataclasses import dataclass, field
from pathlib import Path

from fracture_edge.errors import FractureEdgeError
from train.json_records import WRITTEN_ALWAYS, from_plain, read_json

EXPORT_SCHEMA = 2
MANIFEST = "export.json"


@dataclass(frozen=True, slots=True, kw_only=True)
class GateMetrics:
    """Metrics of an exported file against its Keras source on the validation images.

    Attributes:
        images: Number of validation images.
        fractured: Number of fractured ones.
        threshold: Threshold on P(fractured) at which both are compared.
        largest_difference: Largest absolute difference of P(fractured).
        mean_difference: Mean absolute difference of P(fractured).
        same_decision: Share of images with the same decision, 0 to 1.
        sensitivity_keras: Sensitivity of the Keras model.
        sensitivity_exported: Sensitivity of the file.
        specificity_keras: Specificity of the Keras model.
        specificity_exported: Specificity of the file.
        auroc_keras: AUROC of the Keras model.
        auroc_exported: AUROC of the file.
        auroc_change: AUROC of the file minus that of the Keras model.
        sensitivity_change: Sensitivity of the file minus that of the Keras model.
        intervals: 95 % intervals of the changes, as lower and upper bound by name.
        images_compared: Number of images that the differences are computed on, if more than the validation images:
            float32 files are compared on the calibration images too.
    """

    images: int
    fractured: int
    threshold: float
    largest_difference: float
    mean_difference: float
    same_decision: float
    sensitivity_keras: float
    sensitivity_exported: float
    specificity_keras: float
    specificity_exported: float
    auroc_keras: float
    auroc_exported: float
    auroc_change: float
    sensitivity_change: float
    intervals: dict[str, tuple[float, float]]
    images_compared: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Fidelity:
    """Metrics of an exported file against its Keras source on many images: validation and training together.

    How closely a file follows its source can be judged on images that the network was trained on, if the ranges of
    its activations were not measured on them. There are many more of them.

    Attributes:
        images: Number of images.
        fractured: Number of fractured ones.
        mean_difference: Mean absolute difference of P(fractured).
        same_decision: Share of images with the same decision, 0 to 1.
        far_flips: Share of images with another decision although the log-odds of the Keras model are far from the
            threshold, see `export.gate.FAR`.
        net_flips: Share of images that the file alone calls fractured minus share that Keras alone does.
        noise: Standard deviation of the difference of log-odds over the standard deviation of Keras's log-odds.
        auroc_change: AUROC of the file minus that of the Keras model.
        sensitivity_change: Sensitivity of the file minus that of the Keras model.
    """

    images: int
    fractured: int
    mean_difference: float
    same_decision: float
    far_flips: float
    net_flips: float
    noise: float
    auroc_change: float
    sensitivity_change: float


@dataclass(frozen=True, slots=True)
class PeakMemory:
    """Peak memory of an export's processes, in MB (10^6 bytes)."""

    conversion: int
    gate: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Compression:
    """Compression of a network before export, see `export.compression.compress.compress`.

    Attributes:
        rank: Rank of the factorised dense layers.
        sparsity: Share of the weights that are zero, 0 to 1.
        clusters: Number of different weights of a layer.
        epochs: Epochs of fine-tuning.
        seed: Random seed of fine-tuning.
        learning_rate: Learning rate of fine-tuning; ``None`` for that of the last phase of the model's recipe
            (1e-5 before version 2 of the gate).
    """

    rank: int | None = None
    sparsity: float | None = None
    clusters: int | None = None
    epochs: int
    seed: int
    learning_rate: float | None = None

    @property
    def tunes(self) -> bool:
        """Whether the network is fine-tuned."""
        return self.sparsity is not None or self.clusters is not None

    @property
    def words(self) -> tuple[str, ...]:
        """Words for a file name: ``factorised64``, ``pruned80``, ``clustered16``."""
        words = []
        if self.rank is not None:
            words.append(f"factorised{self.rank}")
        if self.sparsity is not None:
            words.append(f"pruned{self.sparsity:.0%}".removesuffix("%"))
        if self.clusters is not None:
            words.append(f"clustered{self.clusters}")
        return tuple(words)


@dataclass(frozen=True, slots=True)
class Retraining:
    """Quantisation-aware training of a file: epochs, random seed, and learning rate as in `Compression`."""

    epochs: int
    seed: int
    learning_rate: float | None = None


@dataclass(frozen=True, slots=True)
class CalibrationImages:
    """Training images that the ranges of activations come from.

    Attributes:
        images: Number of images.
        seed: Random seed of their selection.
        fingerprint: SHA-256 over their paths.
        method: How the ranges follow from the activations, of `export.recipes.METHODS`.
    """

    images: int
    seed: int
    fingerprint: str
    method: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class ExportEntry:
    """One file of ``export.json``.

    Attributes:
        recipe: Name of its format in ``recipes.toml``.
        precision: ``float32``, ``float16``, ``dynamic`` or ``int8``.
        source_sha256: SHA-256 of the ``model.keras`` that it was exported from.
        sha256: SHA-256 of the file.
        bytes: Size in bytes.
        gzip_bytes: Size after gzip.
        heatmap: Whether it has a heat map as second output.
        peak_memory_mb: Peak memory of its conversion and of the gate.
        gate: Metrics of the gate.
        budget: Name of the bounds that it was checked against.
        broken: Bounds that it exceeds, in words; empty if it is accepted.
        versions: Versions of the tools.
        seconds: Duration of all its attempts.
        created: Time of completion, ISO 8601, UTC.
        operators: Number of operators by kind.
        opset: Version of ONNX's operators; ``None`` for TFLite.
        compression: Compression before the export; ``None`` without any.
        retrained: Quantisation-aware training.
        calibration: Images and method of the calibration.
        float_layers: Names of the layers that stayed in float32.
        rung: Name of the attempt in ``recipes.toml`` that the file comes from; empty if there was but one way.
        fidelity: Metrics of the gate on many images; ``None`` before version 2 of the gate.
        milliseconds: Median time of one image with one thread, measured after the gate; for orientation,
            comparisons are made by the benchmark. ``None`` in files of before.
        ladder: Names of the attempts that there were for its runtime; for a rejected file all of them were made.
        licence: Licence of the weights as written into the file; empty if none was given.
        version: Version of the weights as written into the file; empty if none was given.
        gate_version: Version of the gate that judged it, see `export.gate.GATE_VERSION`.
        conversion_version: Version of the conversion that made it, see `export.recipes.CONVERSION_VERSION`.
    """

    recipe: str
    precision: str
    source_sha256: str
    sha256: str
    bytes: int
    gzip_bytes: int
    heatmap: bool
    peak_memory_mb: PeakMemory
    gate: GateMetrics
    budget: str
    broken: list[str]
    versions: dict[str, str]
    seconds: float
    created: str
    operators: dict[str, int] = field(default_factory=dict)
    opset: int | None = None
    compression: Compression | None = None
    retrained: Retraining | None = None
    calibration: CalibrationImages | None = None
    float_layers: tuple[str, ...] = ()
    rung: str = ""
    fidelity: Fidelity | None = None
    milliseconds: float | None = None
    ladder: tuple[str, ...] = ()
    licence: str = ""
    version: str = ""
    gate_version: int = field(default=1, metadata=WRITTEN_ALWAYS)
    conversion_version: int = field(default=1, metadata=WRITTEN_ALWAYS)


@dataclass(frozen=True, slots=True)
class Manifest:
    """``export.json``.

    Attributes:
        schema_version: Version of this format.
        model: Name of the model.
        positive_class: Always ``fractured``.
        files: Entries by the file's path within the model's folder.
    """

    schema_version: int
    model: str
    positive_class: str
    files: dict[str, ExportEntry]


def read_manifest(folder: Path) -> Manifest:
    """Read the manifest of a model's folder; an empty one where there is none.

    Raises:
        FractureEdgeError: The file cannot be read, or has another schema.
    """
    path = folder / MANIFEST
    if not path.is_file():
        return Manifest(EXPORT_SCHEMA, folder.name, "fractured", {})
    advice = "move it away and export again"
    try:
        values = read_json(path)
    except FractureEdgeError as error:
        raise FractureEdgeError(f"{error}; {advice}") from error
    if not isinstance(values, dict) or values.get("schema_version") != EXPORT_SCHEMA:
        version = values.get("schema_version") if isinstance(values, dict) else None
        raise FractureEdgeError(f"{path}: schema {version}, this version reads {EXPORT_SCHEMA}; {advice}")
    return from_plain(Manifest, values, str(path))
