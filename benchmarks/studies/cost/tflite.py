"""Compare the TFLite files of a model with its ONNX files: `python -m benchmarks.studies tflite FOLDER ...`.

All files classify the validation images as `fracture-edge classify` does, from the image file to the record. The
probabilities are held against those of the float32 ONNX file, by the bounds of the gate on these images. Then all
files are timed in turns on one thread.
"""

import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Annotated

import numpy as np
import typer

from benchmarks.records.environment import Environment
from benchmarks.speed.latency import Percentiles, rounds, summary
from benchmarks.speed.ratio import Ratio, ratio
from fracture_edge.classifier import FractureClassifier
from fracture_edge.console import say
from fracture_edge.errors import FractureEdgeError
from fracture_edge.prediction import Prediction
from train.artifacts import read_record
from train.data.splits import read_table_with_splits
from train.evaluation.formatting import markdown_table, megabytes
from train.evaluation.paired import PairedComparison, compare_pairs
from train.export_record import read_manifest
from train.json_records import from_plain, read_json, write_record

app = typer.Typer(add_completion=False, rich_markup_mode=None)
RESULTS = Path(__file__).resolve().parents[2] / "results" / "tflite"
#: Bounds of the gate as data: `export` comes after `benchmarks` in the order of the imports.
_BOUNDS = Path(__file__).resolve().parents[3] / "export" / "recipes.toml"


@dataclass(frozen=True, slots=True, kw_only=True)
class ComparedFile:
    """One exported file against the float32 ONNX file.

    Attributes:
        file: Name of the file.
        sha256: SHA-256 of the file, hexadecimal.
        bytes: Size of the file.
        precision: ``float32``, ``float16``, ``dynamic`` or ``int8``.
        largest_difference: Largest absolute difference of P(fractured).
        mean_difference: Mean absolute difference of P(fractured).
        same_decision: Share of images on the same side of the threshold, 0 to 1.
        same_record: Share of records with the same decision, band and checks of the image included, 0 to 1.
        broken: Bounds of the gate on these images that the file exceeds, in words; empty if it keeps them.
        milliseconds: Latency of one image on one thread.
        ratio: Latency over that of the float32 ONNX file.
    """

    file: str
    sha256: str
    bytes: int
    precision: str
    largest_difference: float
    mean_difference: float
    same_decision: float
    same_record: float
    broken: tuple[str, ...]
    milliseconds: Percentiles
    ratio: Ratio


@dataclass(frozen=True, slots=True, kw_only=True)
class TfliteComparison:
    """Comparison of the files of one model.

    Attributes:
        model: Name of the model.
        images: Number of validation images.
        fractured: Number of fractured ones.
        threshold: Frozen threshold on P(fractured).
        fingerprint: Checksum of data and splits.
        files: Files that the gate accepted, the float32 ONNX file first.
        rejected: TFLite files that the gate rejected, as ``export.json`` names them; they are not compared.
        environment: Machine and package versions.
    """

    model: str
    images: int
    fractured: int
    threshold: float
    fingerprint: str
    files: tuple[ComparedFile, ...]
    rejected: tuple[str, ...]
    environment: Environment


@lru_cache
def _bounds() -> Mapping[str, Mapping[str, float]]:
    with _BOUNDS.open("rb") as stream:
        budgets: Mapping[str, Mapping[str, float]] = tomllib.load(stream)["budgets"]
    return budgets


def broken_bounds(found: PairedComparison, precision: str) -> tuple[str, ...]:
    """Describe each bound of the gate that a comparison exceeds, of those for validation images.

    Args:
        found: Comparison with the float32 file.
        precision: Precision of the file.
    """
    values = {
        "largest_difference": found.largest_difference,
        "mean_difference": found.mean_difference,
        "same_decision": found.agreement,
        "auroc_change": found.auroc_change.value,
        "sensitivity_change": found.sensitivity_change.value,
        "sensitivity_change_high": found.sensitivity_change.high,
    }
    return tuple(
        f"{name} {values[name]:.4g}, bound {bound:g}"
        for name, bound in _bounds()[precision].items()
        if name in values and not (values[name] <= bound if name.endswith("difference") else values[name] >= bound)
    )


def compare_files(folder: Path, data: Path | None, runs: int) -> TfliteComparison:
    """Compare all accepted files of a model.

    Args:
        folder: Folder of the exported model.
        data: Data folder if it has moved since training.
        runs: Number of timed rounds.

    Raises:
        FractureEdgeError: The folder has no float32 ONNX file, or an image cannot be read.
    """
    record, entries = read_record(folder), read_manifest(folder).files
    reference = f"{record.model}-float32.onnx"
    accepted = {name: entry for name, entry in entries.items() if not entry.broken}
    if reference not in accepted:
        raise FractureEdgeError(f"{folder}: no {reference}; `fracture-edge export --onnx --float32` makes it")
    names = sorted(accepted, key=lambda name: (name != reference, name.endswith(".tflite"), name))
    table = read_table_with_splits(data or Path(record.data.root), folder / "splits.csv")
    items = table.where("val")
    labels, groups = [item.label for item in items], [item.group for item in items]
    classifiers = {name: FractureClassifier(folder / name, 1) for name in names}
    records = {name: _records(each, [table.file(item) for item in items]) for name, each in classifiers.items()}
    probabilities = {name: np.array([each.probability for each in found]) for name, found in records.items()}
    size = record.preprocessing
    pixels = np.random.default_rng(0).integers(0, 256, (8, 1, size.height, size.width, 1), np.uint8)
    seconds = rounds({name: each.probabilities for name, each in classifiers.items()}, list(pixels), runs)
    files = []
    for name in names:
        found = compare_pairs(labels, groups, probabilities[reference], probabilities[name], record.threshold)
        pairs = zip(records[reference], records[name], strict=True)
        files.append(
            ComparedFile(
                file=name,
                sha256=classifiers[name].sha256,
                bytes=accepted[name].bytes,
                precision=accepted[name].precision,
                largest_difference=found.largest_difference,
                mean_difference=found.mean_difference,
                same_decision=found.agreement,
                same_record=float(np.mean([one.decision == other.decision for one, other in pairs])),
                broken=broken_bounds(found, accepted[name].precision),
                milliseconds=summary(seconds[name]),
                ratio=ratio(seconds[name], seconds[reference]),
            )
        )
    return TfliteComparison(
        model=record.model,
        images=len(labels),
        fractured=sum(labels),
        threshold=record.threshold,
        fingerprint=record.data.fingerprint,
        files=tuple(files),
        rejected=tuple(sorted(name for name in entries if entries[name].broken and name.endswith(".tflite"))),
        environment=Environment.here(),
    )


def _records(classifier: FractureClassifier, files: Sequence[Path]) -> list[Prediction]:
    found = list(classifier.predict_many(files))
    if refused := [each for each in found if not each.ok]:
        raise FractureEdgeError(f"{refused[0].path}: {refused[0].reason}")
    return found


def tables() -> str:
    """Render the stored comparisons as one table for each model."""
    found = [from_plain(TfliteComparison, read_json(path), str(path)) for path in sorted(RESULTS.glob("*.json"))]
    return "\n".join(map(_table, found))


def _table(found: TfliteComparison) -> str:
    rows = [
        (
            f"`{each.file}`",
            megabytes(each.bytes),
            f"{each.mean_difference:.1e} / {each.largest_difference:.1e}",
            f"{each.same_decision:.3f}",
            f"{each.same_record:.3f}",
            f"exceeded: {'; '.join(each.broken)}" if each.broken else "kept",
            f"{each.milliseconds.p50:.1f} ({each.milliseconds.p90:.1f})",
            f"{each.ratio.value:.2f} [{each.ratio.low:.2f}, {each.ratio.high:.2f}]",
        )
        for each in found.files
    ]
    columns = (
        "file",
        "MB",
        "mean / largest difference of P",
        "same side of the threshold",
        "same decision in the record",
        "bounds of the gate",
        "ms (p90)",
        "ratio",
    )
    rejected = ", ".join(f"`{Path(name).name}`" for name in found.rejected)
    machine = found.environment
    return (
        f"{markdown_table(columns, rows)}\n"
        f"{found.images} validation images, {found.fractured} of them fractured, threshold {found.threshold:.4f}. "
        f"Rejected by the gate and not compared: {rejected or 'none'}. "
        f"{found.files[0].milliseconds.runs} rounds on one thread, files taking turns; {machine.cpu} "
        f"({machine.cores} cores), onnxruntime {machine.versions['onnxruntime']}, LiteRT "
        f"{machine.versions['ai-edge-litert']}.\n"
    )


@app.command()
def run(
    folders: Annotated[
        list[Path], typer.Argument(metavar="ARTIFACTS/MODEL...", help="Folders of exported models.")
    ],
    data: Annotated[Path | None, typer.Option(help="Data folder if it has moved since training.")] = None,
    runs: Annotated[int, typer.Option(min=1, help="Number of timed rounds; each file runs once per round.")] = 200,
) -> None:
    """Compare TFLite files with the ONNX files of the same model, for the table of docs/device.md."""
    RESULTS.mkdir(exist_ok=True)
    for folder in folders:
        say(f"{folder.name}: classifying and timing")
        result = compare_files(folder, data, runs)
        write_record(RESULTS / f"{result.model}.json", result)
        for each in result.files:
            print(f"{each.file}: {'; '.join(each.broken) or 'within the bounds of the gate'}")
