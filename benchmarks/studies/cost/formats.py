"""Compare all exported files of a model: `python -m benchmarks.studies formats artifacts/edge ...`.

Reads size and metrics of the export gate from ``export.json``, times all files in turns on one thread, and writes
``benchmarks/results/formats/MODEL.json``; `formats_table` makes the tables of ``docs/formats.md`` from it.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated

import numpy as np
import typer

from benchmarks.records.environment import Environment
from benchmarks.runtimes.runners import Runner, load_runner, runner_of
from benchmarks.speed.latency import Percentiles, interleaved
from fracture_edge.console import say
from fracture_edge.errors import FractureEdgeError
from train.artifacts import read_record
from train.evaluation.metrics import Estimate
from train.export_record import CalibrationImages, Compression, Fidelity, read_manifest
from train.json_records import WRITTEN_ALWAYS, from_plain, to_plain, write_record

app = typer.Typer(add_completion=False, rich_markup_mode=None)
#: Ending of the name of a file that is timed in OpenVINO.
_OPENVINO = " in OpenVINO"
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
        openvino_ms: The same in OpenVINO, for ONNX files that it can run; ``None`` where it was not measured.
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
    openvino_ms: Percentiles | None = None


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
    runners |= _in_openvino(folder, list(files))
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
            file: from_plain(ExportedFile, to_plain(entry) | _latencies(speed, file), file)
            for file, entry in files.items()
        },
        threads=1,
        environment=Environment.here(),
    )


def _in_openvino(folder: Path, files: Sequence[str]) -> dict[str, Runner]:
    """Open the ONNX files in OpenVINO, if it is installed and takes them; by file name and `_OPENVINO`."""
    found: dict[str, Runner] = {}
    for file in files:
        if not file.endswith(".onnx"):
            continue
        try:
            runner = load_runner("openvino", folder / file, threads=1)
            size = runner.info.preprocessing
            runner.probabilities(np.zeros((1, size.height, size.width, 1), np.uint8))
        except (FractureEdgeError, RuntimeError) as error:
            # Of operators that OpenVINO does not know.
            say(f"{file}: not timed in OpenVINO ({str(error).splitlines()[0]})")
        else:
            found[file + _OPENVINO] = runner
    return found


def _latencies(speed: Mapping[str, Percentiles], file: str) -> dict[str, object]:
    found = {"inference_ms": speed[file], "openvino_ms": speed.get(file + _OPENVINO)}
    return {name: to_plain(value) for name, value in found.items() if value is not None}


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
