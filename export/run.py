"""`fracture-edge export`: from ``artifacts/<model>/`` to ONNX files with metadata, and ``export.json``."""

import hashlib
import json
import sys
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import keras
import numpy as np
import numpy.typing as npt
import onnx

from export.compare import compare
from export.quantise import MOST_IMAGES, check_settings, quantise
from export.to_onnx import OPSET, to_onnx
from fracture_edge._version import __version__, installed
from fracture_edge.classifier import FractureClassifier
from fracture_edge.errors import FractureEdgeError
from fracture_edge.files import atomic_path, atomic_write_text, refuse_overwrite
from fracture_edge.modelfile import ModelInfo, embed_info
from fracture_edge.policy import Policy
from fracture_edge.preprocess import Preprocessing
from train.dataset import FRACATLAS_ATTRIBUTION, ImageTable, read_splits
from train.evaluation import read_record
from train.loading import load_pixels
from train.loop import predict

EXPORT_SCHEMA = 1
#: Most that float32 may differ from Keras in probability.
FLOAT32_TOLERANCE = 1e-4
_TOOLS = ("onnx", "onnxruntime", "tf2onnx", "keras", "tensorflow", "numpy", "pillow")


class ExportError(FractureEdgeError):
    """There is nothing to export, or what came out is not the model that went in."""


@dataclass(frozen=True, slots=True)
class Source:
    """A trained model, and real images to calibrate and to check with.

    Attributes:
        folder: ``artifacts/<model>``.
        record: ``training.json``.
        model: The Keras model.
        preprocessing: As in the record.
        training: Images for calibration, uint8 [N, H, W, 1].
        training_rows: Paths of those images.
        validation: Images to check with, uint8 [N, H, W, 1].
        labels: Of the validation images.
        reference: P(fractured) of the validation images from Keras.
    """

    folder: Path
    record: dict[str, Any]
    model: keras.Model
    preprocessing: Preprocessing
    training: npt.NDArray[np.uint8]
    training_rows: tuple[str, ...]
    validation: npt.NDArray[np.uint8]
    labels: list[int]
    reference: npt.NDArray[np.float64]


def export_model(
    name: str,
    *,
    artifacts: Path,
    int8: bool = False,
    processor: str = "x86",
    method: str = "minmax",
    calibration_images: int = 256,
    data: Path | None = None,
    seed: int = 0,
    licence: str = "",
    force: bool = False,
) -> list[Path]:
    """Export one model to float32 ONNX and, if asked for, to int8.

    Args:
        name: Of the model; its folder in `artifacts`.
        artifacts: Folder of all artefacts.
        int8: Whether to quantise too.
        processor: A key of `export.quantise.TARGETS`.
        method: A key of `export.quantise.METHODS`.
        calibration_images: Training images drawn for calibration; at most `export.quantise.MOST_IMAGES`.
        data: The data folder, where it is not the one of the training run any more.
        seed: Of the draw.
        licence: Of the weights, for the metadata; see `model_info`.
        force: Whether existing files may be replaced.

    Returns:
        The files written.

    Raises:
        ExportError: float32 differs from Keras by more than `FLOAT32_TOLERANCE`.
        FractureEdgeError: No such trained model, data cannot be read, or files exist.
    """
    folder = artifacts / name
    targets = {"float32": folder / f"{name}-float32.onnx"}
    if int8:
        targets["int8"] = folder / f"{name}-int8.onnx"
    if not force:
        for target in targets.values():
            refuse_overwrite(target)
    check_settings(processor, method)
    calibration_images = min(calibration_images, MOST_IMAGES[method])
    source = read_source(folder, calibration_images=calibration_images, data=data, seed=seed)
    float32 = model_info(source.record, "float32", licence)
    entries = [_produce(source, targets["float32"], float32, {}, lambda path: to_onnx(source.model, path))]
    if int8:
        settings = {"target": processor, "method": method, "seed": seed, "images": len(source.training)}
        settings["fingerprint"] = hashlib.sha256("\n".join(source.training_rows).encode()).hexdigest()
        entries.append(
            _produce(
                source,
                targets["int8"],
                model_info(source.record, "int8", licence),
                {"calibration": settings},
                lambda path: quantise(
                    targets["float32"], path, source.training, processor=processor, method=method
                ),
            )
        )
    manifest = {
        "schema_version": EXPORT_SCHEMA,
        "model": name,
        "positive_class": "fractured",
        "source_sha256": _sha256(folder / "model.keras"),
        "artifacts": entries,
        "versions": _versions(),
        "created": datetime.now(UTC).isoformat(timespec="seconds"),
    }
    atomic_write_text(folder / "export.json", json.dumps(manifest, indent=2) + "\n")
    return list(targets.values())


def read_source(folder: Path, *, calibration_images: int, data: Path | None, seed: int) -> Source:
    """Load a trained model with calibration and validation images."""
    record = read_record(folder)
    table = read_splits(data or Path(record["data"]["root"]), folder / "splits.csv")
    preprocessing = Preprocessing.from_dict(record["recipe"]["preprocessing"])
    model = keras.saving.load_model(folder / "model.keras", compile=False)
    drawn = _draw(table.where("train"), calibration_images, seed)
    val_part = table.where("val")
    validation = load_pixels(val_part, preprocessing, label="reading val")
    return Source(
        folder,
        record,
        model,
        preprocessing,
        load_pixels(drawn, preprocessing, label="reading train"),
        tuple(item.path for item in drawn),
        validation,
        val_part.labels,
        predict(model, validation),
    )


def _draw(table: ImageTable, count: int, seed: int) -> ImageTable:
    rows = np.random.default_rng(seed).permutation(len(table))[:count]
    return replace(table, items=tuple(table.items[row] for row in sorted(rows.tolist())))


def _produce(
    source: Source,
    target: Path,
    info: ModelInfo,
    extra: dict[str, Any],
    write: Callable[[Path], None],
) -> dict[str, Any]:
    """Write one file, check it with onnxruntime, and only then give it its name."""
    started = time.monotonic()
    with atomic_path(target) as temporary:
        write(temporary)
        embed_info(temporary, info, temporary)
        classifier = FractureClassifier(temporary)
        probabilities = np.concatenate([classifier.probabilities(batch) for batch in _batches(source.validation)])
        if not np.isfinite(probabilities).all():
            raise ExportError(f"{target.name}: gives no number for some of the validation images")
        figures = compare(source.labels, source.reference, probabilities, source.record["threshold"])
        if info.precision == "float32" and figures["largest_difference"] > FLOAT32_TOLERANCE:
            raise ExportError(
                f"{target.name}: differs from Keras by {figures['largest_difference']:.1e} in probability on "
                f"{figures['images']} validation images, more than {FLOAT32_TOLERANCE:.0e}"
            )
        graph = onnx.load(temporary).graph
    print(
        f"{target.name}: {target.stat().st_size / 1e6:.2f} MB, mean difference from Keras "
        f"{figures['mean_difference']:.1e} (largest {figures['largest_difference']:.1e}), validation AUROC "
        f"{figures['auroc_exported']:.4f} against {figures['auroc_keras']:.4f}, same decision on "
        f"{figures['same_decision']:.1%}, sensitivity {figures['sensitivity_exported']:.3f} against "
        f"{figures['sensitivity_keras']:.3f}",
        file=sys.stderr,
    )
    return {
        "file": target.name,
        "precision": info.precision,
        "sha256": _sha256(target),
        "bytes": target.stat().st_size,
        "opset": OPSET,
        "operators": dict(sorted(Counter(node.op_type for node in graph.node).items())),
        **extra,
        "validation": figures,
        "seconds": round(time.monotonic() - started, 1),
    }


def model_info(record: dict[str, Any], precision: str, licence: str = "") -> ModelInfo:
    """The metadata of an exported file, from the training record. No path of the training machine is kept.

    Args:
        record: ``training.json``.
        precision: ``float32`` or ``int8``.
        licence: Of the weights; FracAtlas's attribution when empty and the data were FracAtlas.
    """
    return ModelInfo(
        name=f"{record['model']}-{precision}",
        architecture=record["model"],
        precision=precision,
        preprocessing=Preprocessing.from_dict(record["recipe"]["preprocessing"]),
        policy=Policy(record["threshold"], record["uncertain_low"], record["uncertain_high"]),
        calibration={name: record[name] for name in ("temperature", "intercept")},
        training={
            **{name: value for name, value in record["data"].items() if name != "root"},
            "recipe": Path(record["recipe_name"]).name,
            "seed": record["seed"],
            "epochs": record["epochs"],
            "best_epoch": record["best_epoch"],
            "initial_weights": record["initial_weights"],
        },
        metrics={"validation": record["validation"]},
        versions=_versions() | record["versions"],
        licence=licence or (FRACATLAS_ATTRIBUTION if record["data"]["layout"] == "fracatlas" else ""),
        created=record["created"],
    )


def _batches(images: npt.NDArray[np.uint8], size: int = 32) -> list[npt.NDArray[np.uint8]]:
    return [images[start : start + size] for start in range(0, len(images), size)]


def _versions() -> dict[str, str]:
    return {"fracture-edge": __version__, **installed(*_TOOLS)}


def _sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()
