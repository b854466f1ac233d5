"""Compare all exported files of a model: `python -m benchmarks.studies formats artifacts/edge ...`.

Reads size and metrics of the export gate from ``export.json``, times all files in turns on one thread, and writes
``benchmarks/results/formats/MODEL.json``; `benchmarks.studies.documents.fill` makes ``docs/formats.md`` from it.
"""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated

import numpy as np
import typer

from benchmarks.records.environment import Environment
from benchmarks.runtimes.runners import Runner, runner_of
from benchmarks.speed.latency import Percentiles, interleaved
from fracture_edge.console import say
from train.artifacts import read_record
from train.evaluation.formatting import interval, markdown_table
from train.evaluation.metrics import Estimate
from train.export_record import CalibrationImages, Compression, Fidelity, read_manifest
from train.json_records import WRITTEN_ALWAYS, from_plain, read_json, to_plain, write_record

app = typer.Typer(add_completion=False, rich_markup_mode=None)
#: Bounds of version 1 of the gate for int8 and dynamic files, all on the validation images.
_GATE_1 = {"same_decision": 0.97, "auroc_change": -0.01, "sensitivity_change": -0.02}
RESULTS = Path(__file__).resolve().parents[2] / "results" / "formats"


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainingSummary:
    """Summary of a training run.

    Attributes:
        initial_weights: Initial weights, in words.
        epochs: Number of epochs trained.
        best_epoch: Epoch whose weights were kept, counted from 1.
        device: Device and backend, in words.
        precision: Keras dtype policy.
        epochs_of_recipe: Maximum number of epochs of the recipe, all phases together.
        recipe: Name of the recipe.
        fingerprint: Checksum of data and splits.
    """

    initial_weights: str
    epochs: int
    best_epoch: int
    device: str
    precision: str
    epochs_of_recipe: int
    recipe: str
    fingerprint: str


@dataclass(frozen=True, slots=True, kw_only=True)
class GateMetrics:
    """Comparison of a file with its Keras model on the validation images; see `export.gate`.

    Attributes:
        images: Number of images.
        fractured: Number of fractured images.
        threshold: Decision threshold of both.
        largest_difference: Largest absolute difference of P(fractured).
        mean_difference: Mean absolute difference of P(fractured).
        images_compared: Number of images of the comparison; ``None`` if it is `images`.
        same_decision: Share of images with the same decision.
        auroc_keras: AUROC of the Keras model.
        auroc_exported: AUROC of the file.
        auroc_change: AUROC of the file minus that of the Keras model.
        sensitivity_change: Sensitivity of the file minus that of the Keras model.
        intervals: 95 % intervals of the changes by name.
    """

    images: int
    fractured: int
    threshold: float
    largest_difference: float
    mean_difference: float
    images_compared: int | None = None
    same_decision: float
    auroc_keras: float
    auroc_exported: float
    auroc_change: float
    sensitivity_change: float
    intervals: dict[str, tuple[float, float]]

    def change(self, name: str) -> Estimate:
        """Return a change with its interval.

        Args:
            name: Name of the change, such as ``auroc_change``.
        """
        return Estimate(getattr(self, name), *self.intervals[name])


@dataclass(frozen=True, slots=True, kw_only=True)
class ExportedFile:
    """Entry of ``export.json`` for one file, and its latency.

    Attributes:
        recipe: Name of the format.
        precision: ``float32``, ``float16``, ``dynamic`` or ``int8``.
        sha256: SHA-256 checksum of the file, hexadecimal.
        source_sha256: SHA-256 checksum of the Keras file that it was exported from, hexadecimal.
        bytes: Size of the file.
        gzip_bytes: Size of the file compressed with gzip.
        heatmap: Whether the model has a heat map as second output.
        opset: Version of the ONNX operator set; ``None`` for TFLite.
        operators: Number of operators by type.
        peak_memory_mb: Peak memory of the export by step, in MB (10^6 bytes).
        budget: Name of the limits that the gate applied.
        broken: Limits that the file exceeds, in words; empty if it was accepted.
        compression: Compression before the export.
        calibration: Images and method of the calibration.
        float_layers: Names of the layers that stayed in float32.
        seconds: Duration of the export, in seconds.
        versions: Versions of the tools.
        gate: Comparison with the Keras model by the gate.
        rung: Name of the attempt that the file comes from; empty if there was but one way.
        fidelity: Comparison with the Keras model on many images; ``None`` before version 2 of the gate.
        gate_version: Version of the gate that judged the file.
        inference_ms: Latency of one inference on one thread, in milliseconds.
    """

    recipe: str
    precision: str
    sha256: str
    source_sha256: str
    bytes: int
    gzip_bytes: int
    heatmap: bool
    opset: int | None = None
    operators: dict[str, int] | None = None
    peak_memory_mb: dict[str, float]
    budget: str
    broken: tuple[str, ...]
    compression: Compression | None = None
    calibration: CalibrationImages | None = None
    float_layers: tuple[str, ...] | None = None
    seconds: float
    versions: dict[str, str]
    gate: GateMetrics
    rung: str = ""
    fidelity: Fidelity | None = None
    gate_version: int = field(default=1, metadata=WRITTEN_ALWAYS)
    inference_ms: Percentiles


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelFormats:
    """Exported files of one model.

    Attributes:
        model: Name of the model.
        training: Summary of the training run.
        files: Files by path within the model's folder.
        threads: Number of threads of the timing.
        environment: Machine and package versions.
    """

    model: str
    training: TrainingSummary
    files: dict[str, ExportedFile]
    threads: int
    environment: Environment


def measure(folder: Path, runs: int) -> ModelFormats:
    """Describe and time all files in the manifest of a model.

    Args:
        folder: Folder of the model, ``artifacts/<model>``.
        runs: Number of timed rounds; each file runs once per round, on one image of random bytes.
    """
    record, files = read_record(folder), read_manifest(folder).files
    size = record.preprocessing
    runners: dict[str, Runner] = {file: runner_of(folder / file, threads=1) for file in files}
    images = np.random.default_rng(0).integers(0, 256, (8, 1, size.height, size.width, 1), np.uint8)
    speed = interleaved({file: runner.probabilities for file, runner in runners.items()}, list(images), runs)
    return ModelFormats(
        model=record.model,
        training=TrainingSummary(
            initial_weights=record.initial_weights,
            epochs=record.epochs,
            best_epoch=record.best_epoch,
            device=record.device,
            precision=record.precision,
            epochs_of_recipe=record.planned_epochs,
            recipe=Path(record.recipe_name).name,
            fingerprint=record.data.fingerprint,
        ),
        files={
            file: from_plain(ExportedFile, to_plain(entry) | {"inference_ms": to_plain(speed[file])}, file)
            for file, entry in files.items()
        },
        threads=1,
        environment=Environment.here(),
    )


def table() -> str:
    """Render all models in ``benchmarks/results/formats`` as Markdown."""
    results = (from_plain(ModelFormats, read_json(path), str(path)) for path in sorted(RESULTS.glob("*.json")))
    return "\n".join(map(_one, results))


def _one(result: ModelFormats) -> str:
    files, trained, machine = result.files, result.training, result.environment
    first = next(iter(files.values()))
    float32_bytes = {
        file.rsplit(".", 1)[1]: entry.bytes
        for file, entry in files.items()
        if entry.precision == "float32" and entry.compression is None
    }
    in_order = sorted(files.items(), key=lambda pair: (pair[0].rsplit(".", 1)[1], -pair[1].bytes))
    table = markdown_table(
        (
            "file",
            "MB (of float32)",
            "gzip MB",
            "mean / largest difference of P",
            "same decision",
            "AUROC, change",
            "sensitivity, change",
            "on many images: same decision, net flips, noise",
            "ms, 1 thread",
            "verdict",
            "gate before",
        ),
        (_cells(file, entry, float32_bytes.get(file.rsplit(".", 1)[1])) for file, entry in in_order),
    )
    return (
        f"### {result.model}\n\n"
        f"Recipe `{trained.recipe}` with at most {trained.epochs_of_recipe} epochs, {trained.epochs} "
        f"trained (kept: {trained.best_epoch}), started from: {trained.initial_weights}; "
        f"{trained.device}, {trained.precision}. Judged on {first.gate.images} validation images, "
        f"{first.gate.fractured} fractured; AUROC in Keras {first.gate.auroc_keras:.4f}.\n\n"
        f"{table}\n"
        f"Latency: median of {first.inference_ms.runs} runs, files taking turns, on {machine.cpu} "
        f"({machine.cores} cores; {', '.join(machine.cpu_flags)}).\n"
    )


def _cells(file: str, entry: ExportedFile, float32_bytes: int | None) -> tuple[str, ...]:
    gate = entry.gate
    share = f" ({entry.bytes / float32_bytes:.2f})" if float32_bytes else ""
    images = "" if gate.images_compared is None else f" ({gate.images_compared} images)"
    return (
        f"`{Path(file).name}`",
        f"{entry.bytes / 1e6:.2f}{share}",
        f"{entry.gzip_bytes / 1e6:.2f}",
        f"{gate.mean_difference:.1e} / {gate.largest_difference:.1e}{images}",
        f"{gate.same_decision:.3f}",
        interval(gate.change("auroc_change")),
        interval(gate.change("sensitivity_change")),
        _followed(entry.fidelity),
        f"{entry.inference_ms.p50:.1f}",
        _verdict(entry),
        _before(entry),
    )


def _followed(fidelity: Fidelity | None) -> str:
    if fidelity is None:
        return ""
    figures = f"{fidelity.same_decision:.3f}, {fidelity.net_flips:+.3f}, {fidelity.noise:.3f}"
    return f"{figures} ({fidelity.images} images)"


def _before(entry: ExportedFile) -> str:
    """Return the verdict of version 1 of the gate, which asked of the validation images alone."""
    if entry.gate_version == 1 or entry.fidelity is None:
        return ""
    broken = [name for name, least in _GATE_1.items() if not getattr(entry.gate, name) >= least]
    return f"rejected ({', '.join(broken)})" if broken else "accepted"


def _verdict(entry: ExportedFile) -> str:
    words = [f"rejected: {'; '.join(entry.broken)}" if entry.broken else "accepted"]
    words += [f"by `{entry.rung}`"] if entry.rung else []
    words += [f"calibration {entry.calibration.method}"] if entry.calibration else []
    if entry.float_layers:
        words.append(f"{len(entry.float_layers)} layers in float32")
    if entry.heatmap:
        words.append("with heat map")
    return ", ".join(words)


@app.command()
def run(
    folders: Annotated[
        list[Path], typer.Argument(metavar="ARTIFACTS/MODEL...", help="Folders of exported models.")
    ],
    runs: Annotated[int, typer.Option(min=1, help="Number of timed rounds; each file runs once per round.")] = 100,
) -> None:
    """Describe and time all exported files of models, for the tables of docs/formats.md."""
    for folder in folders:
        say(f"{folder.name}: timing")
        result = measure(folder, runs)
        write_record(RESULTS / f"{result.model}.json", result)
