"""Every exported file of a model, side by side: `python -m benchmarks.studies formats artifacts/edge ...`.

Takes size and the gate's figures from ``export.json``, times all files in turns on one thread, and writes
``benchmarks/results/formats/MODEL.json``, of which `benchmarks.studies.documents.fill` makes ``docs/formats.md``.
"""

from dataclasses import dataclass
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
from train.export_record import CalibrationImages, Compression, read_manifest
from train.json_records import from_plain, read_json, to_plain, write_record

app = typer.Typer(add_completion=False, rich_markup_mode=None)
RESULTS = Path(__file__).resolve().parents[2] / "results" / "formats"


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainingSummary:
    """How a model was trained.

    Attributes:
        initial_weights: Initial weights, in words.
        epochs: Number of epochs trained.
        best_epoch: Epoch whose weights were kept, counted from 1.
        device: Device and backend, in words.
        precision: Keras's dtype policy.
        epochs_of_recipe: Most epochs of the recipe, all phases together.
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
class GateFigures:
    """What a file loses against its Keras model on the validation images; see `export.gate`.

    Attributes:
        images: Number of images.
        fractured: Number of fractured ones.
        threshold: Threshold at which both decide.
        largest_difference: Largest absolute difference of P(fractured).
        mean_difference: Mean of it.
        images_compared: Number of images that the differences are of, where there are more.
        same_decision: Share of images with the same decision.
        auroc_keras: AUROC of the Keras model.
        auroc_exported: AUROC of the file.
        auroc_change: AUROC of the file less that of the Keras model.
        sensitivity_change: Sensitivity of the file less that of the Keras model.
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
        """Give a change with its interval."""
        return Estimate(getattr(self, name), *self.intervals[name])


@dataclass(frozen=True, slots=True, kw_only=True)
class ExportedFile:
    """One file: what ``export.json`` says of it, and its latency.

    Attributes:
        recipe: Name of its format.
        precision: ``float32``, ``float16``, ``dynamic`` or ``int8``.
        sha256: Checksum of the file, hexadecimal.
        source_sha256: Checksum of the Keras file that it was made of.
        bytes: Size in bytes.
        gzip_bytes: Size after gzip.
        heatmap: Whether it has a heat map as second output.
        opset: Version of ONNX's operators.
        operators: Number of operators by kind.
        peak_memory_mb: Peak memory of its making by step, in units of 10^6 bytes.
        budget: Name of the bounds that it was held to.
        broken: Bounds that it breaks, in words; empty when it is accepted.
        compression: Compression before the export.
        calibration: Images and method of the calibration.
        float_layers: Names of the layers that stayed in float32.
        seconds: Duration of the export.
        versions: Versions of the tools.
        gate: Figures of the gate.
        inference_ms: Latency of one inference on one thread.
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
    gate: GateFigures
    inference_ms: Percentiles


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelFormats:
    """All files of one model.

    Attributes:
        model: Name of the model.
        training: How it was trained.
        files: Files by path within the model's folder.
        threads: Number of threads.
        environment: Machine and versions.
    """

    model: str
    training: TrainingSummary
    files: dict[str, ExportedFile]
    threads: int
    environment: Environment


def measure(folder: Path, runs: int) -> ModelFormats:
    """Describe and time all files in the manifest of one model.

    Args:
        folder: ``artifacts/<model>``.
        runs: Timed rounds; each file runs once a round, on one image of random bytes.
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
    """All models of ``benchmarks/results/formats`` as Markdown."""
    results = (from_plain(ModelFormats, read_json(path), str(path)) for path in sorted(RESULTS.glob("*.json")))
    return "\n".join(map(_one, results))


def _one(result: ModelFormats) -> str:
    files, trained, machine = result.files, result.training, result.environment
    first = next(iter(files.values()))
    whole = {
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
            "ms, 1 thread",
            "verdict",
        ),
        (_cells(file, entry, whole.get(file.rsplit(".", 1)[1])) for file, entry in in_order),
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


def _cells(file: str, entry: ExportedFile, whole: int | None) -> tuple[str, ...]:
    gate = entry.gate
    share = f" ({entry.bytes / whole:.2f})" if whole else ""
    images = "" if gate.images_compared is None else f" ({gate.images_compared} images)"
    return (
        f"`{Path(file).name}`",
        f"{entry.bytes / 1e6:.2f}{share}",
        f"{entry.gzip_bytes / 1e6:.2f}",
        f"{gate.mean_difference:.1e} / {gate.largest_difference:.1e}{images}",
        f"{gate.same_decision:.3f}",
        interval(gate.change("auroc_change")),
        interval(gate.change("sensitivity_change")),
        f"{entry.inference_ms.p50:.1f}",
        _verdict(entry),
    )


def _verdict(entry: ExportedFile) -> str:
    words = [f"rejected: {'; '.join(entry.broken)}" if entry.broken else "accepted"]
    if entry.calibration:
        words.append(f"calibration {entry.calibration.method}")
    if entry.float_layers:
        words.append(f"{len(entry.float_layers)} layers in float32")
    if entry.heatmap:
        words.append("with heat map")
    return ", ".join(words)


@app.command()
def run(
    folders: Annotated[list[Path], typer.Argument(metavar="ARTIFACTS/MODEL...", help="Exported models.")],
    runs: Annotated[int, typer.Option(min=1, help="Timed rounds; each file runs once a round.")] = 100,
) -> None:
    """Describe and time all exported files of models, for the tables of docs/formats.md."""
    for folder in folders:
        say(f"{folder.name}: timing")
        result = measure(folder, runs)
        write_record(RESULTS / f"{result.model}.json", result)
