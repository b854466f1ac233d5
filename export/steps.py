"""Steps of an export, each run in a separate process by `export.jobs`.

They exchange arrays and files in a working folder: ``validation.npy`` and ``calibration.npy`` (uint8 [N, H, W,
1]), ``reference.npz`` (P(fractured) from Keras for both), ``float32.onnx`` and the exported files.
"""

import json
import os
import shutil
import sys
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np
import numpy.typing as npt

from benchmarks.runtimes.process import die_with
from export.recipes import FORMATS
from export.results import Converted, Float32Onnx, Prepared, SensitiveLayers
from fracture_edge.errors import FractureEdgeError
from fracture_edge.machine import peak_memory_mb
from train.export_record import CalibrationImages, Compression, GateMetrics
from train.json_records import from_plain, to_plain

FLOAT32_ONNX = "float32.onnx"
#: Name of the file written by training, see `train.evaluation.typicality`; models of earlier versions have none.
TYPICALITY_FILE = "typicality.npz"
#: Number of images for finding sensitive layers; all their activations are held in memory.
SENSITIVITY_IMAGES = 4


def prepare(
    folder: str,
    work: str,
    data: str | None,
    calibration_images: int,
    seed: int,
    compression: Any,
    training: bool,
) -> Prepared:
    """Read the images, run the Keras model on them, and compress the model if requested.

    Args:
        folder: Folder of the model, ``artifacts/<model>``.
        work: Working folder.
        data: Path of the data folder if it has moved since training.
        calibration_images: Number of training images for the ranges of the activations.
        seed: Random seed for sampling the calibration images.
        compression: Compression as JSON, see `train.export_record.Compression`; ``None`` without any.
        training: Whether to write all training images and labels to ``training.npz``, for formats that are
            retrained.
    """
    _use_tensorflow()
    import keras

    from export.source import read_source
    from train.evaluation.predict import predict

    source = read_source(Path(folder), data=Path(data) if data else None)
    calibration, fingerprint = source.calibration(calibration_images, seed)
    validation = source.validation()
    model = keras.saving.load_model(Path(folder) / "model.keras", compile=False)
    target = Path(work)
    np.save(target / "validation.npy", validation)
    np.save(target / "calibration.npy", calibration)
    np.savez(
        target / "reference.npz",
        validation=predict(model, validation),
        calibration=predict(model, calibration),
    )
    if compression or training:
        from export.compression.compress import compress

        pixels, labels = source.training()
        if compression:
            model = compress(model, pixels, labels, from_plain(Compression, compression, "compression"))
        if training:
            np.savez(target / "training.npz", pixels=pixels, labels=labels)
    model.save(target / "model.keras")
    typicality = Path(folder) / TYPICALITY_FILE
    if typicality.is_file():
        shutil.copy(typicality, target / TYPICALITY_FILE)
    return Prepared(
        labels=source.val.labels,
        groups=source.groups,
        calibration=CalibrationImages(images=len(calibration), seed=seed, fingerprint=fingerprint),
    )


def to_float32_onnx(work: str, architecture: str, heatmap: bool) -> Float32Onnx:
    """Write the float32 ONNX file that all other ONNX files are derived from.

    Args:
        work: Working folder.
        architecture: Name of the architecture.
        heatmap: Whether to add a heat map as second output.
    """
    from export.conversion.to_onnx import to_onnx

    model, described = _load_model(work, heatmap=heatmap), {}
    file = Path(work) / TYPICALITY_FILE
    if file.is_file():
        from train.evaluation.typicality import FALSE_ALARMS, load_typicality, with_typicality

        typicality = load_typicality(file)
        model = with_typicality(model, architecture, typicality)
        described = {"threshold": typicality.threshold, "false_alarms": FALSE_ALARMS}
    to_onnx(model, Path(work) / FLOAT32_ONNX)
    return Float32Onnx(described)


def convert(
    work: str,
    format_name: str,
    target: str,
    info: str,
    heatmap: bool,
    method: str,
    keep_float: list[str],
    epochs: int,
    seed: int,
) -> Converted:
    """Write one exported file with its metadata.

    Args:
        work: Working folder.
        format_name: Name of the format, a key of `export.recipes.FORMATS`.
        target: Path of the file to write.
        info: Metadata of the file as JSON, see `fracture_edge.modelfile.ModelInfo`.
        heatmap: Whether to add a heat map as second output.
        method: Calibration method of int8 ONNX.
        keep_float: Names of the layers that stay float32 in int8 ONNX.
        epochs: Number of epochs of quantisation-aware training.
        seed: Random seed of quantisation-aware training.
    """
    from export.operators import operators
    from fracture_edge.modelfile import ModelInfo, embed_info

    chosen, float32, path = FORMATS[format_name], Path(work) / FLOAT32_ONNX, Path(target)
    if chosen.retrained:
        from export.compression.prune_and_cluster import FineTuning
        from export.compression.qat import quantisation_aware

        images = np.load(Path(work) / "training.npz")
        tuning = FineTuning(images["pixels"], images["labels"].tolist(), epochs=epochs, seed=seed)
        path.write_bytes(quantisation_aware(_load_model(work, heatmap=False), tuning))
    elif chosen.runtime == "tflite":
        from export.conversion.to_tflite import to_tflite
        from export.keras_passes.recentre_bias import recentre_bias

        model, images = _load_model(work, heatmap=heatmap), np.load(Path(work) / "calibration.npy")
        to_tflite(model, path, chosen, images)
        if chosen.precision in ("int8", "dynamic"):
            embed_info(path, ModelInfo.from_json(info), path)
            recentre_bias(model, path, images)
            to_tflite(model, path, chosen, images)
    elif chosen.precision == "float32":
        path.write_bytes(float32.read_bytes())
    elif chosen.precision == "float16":
        from export.conversion.to_float16 import to_float16

        to_float16(float32, path)
    else:
        from export.conversion.quantise import quantise

        images = np.load(Path(work) / "calibration.npy")
        ranges = Path(work) / f"ranges-{method}.json"
        quantise(float32, path, images, chosen, method=method, keep_float=keep_float, ranges=ranges)
    described, about = operators(path), ModelInfo.from_json(info)
    if about.typicality:
        about = replace(about, typicality={**about.typicality, "threshold": _typicality_threshold(path, work)})
    embed_info(path, about, path)
    return described


def _typicality_threshold(path: Path, work: str) -> float:
    """Compute the threshold of ``atypicality`` for one file, whose features differ if quantised or compressed.

    It is the quantile of the validation images that the share of false alarms allows.
    """
    from fracture_edge.modelfile import ATYPICALITY_NAME, INPUT_NAME
    from fracture_edge.session import open_session
    from train.evaluation.typicality import FALSE_ALARMS

    session = open_session(path.name, path.read_bytes(), None)
    images = np.load(Path(work) / "validation.npy")
    found = [session.run([ATYPICALITY_NAME], {INPUT_NAME: images[k : k + 1]})[0] for k in range(len(images))]
    return float(np.quantile(np.concatenate(found), 1 - FALSE_ALARMS, method="higher"))


def compare_with_keras(
    work: str, format_name: str, file: str, labels: list[int], groups: list[str], threshold: float
) -> GateMetrics:
    """Run a file with its runtime on the validation images and compare its predictions with those of Keras.

    float32 files are also compared on the calibration images, which needs no labels.

    Args:
        work: Working folder.
        format_name: Name of the format, a key of `export.recipes.FORMATS`.
        file: Path of the exported file.
        labels: Labels of the validation images, 0 or 1.
        groups: Groups of the validation images.
        threshold: Frozen threshold on P(fractured).

    Raises:
        FractureEdgeError: A predicted probability is NaN or infinite.
    """
    from benchmarks.runtimes.runners import runner_of
    from export.gate import compare
    from train.evaluation.paired import differences

    runner = runner_of(Path(file), threads=os.cpu_count() or 1)
    reference = np.load(Path(work) / "reference.npz")

    def probabilities(name: str) -> npt.NDArray[np.floating[Any]]:
        pixels = np.load(Path(work) / f"{name}.npy", mmap_mode="r")
        return np.concatenate([runner.probabilities(pixels[k : k + 16]) for k in range(0, len(pixels), 16)])

    validation = probabilities("validation")
    if not np.isfinite(validation).all():
        raise FractureEdgeError("predicts NaN or infinity for some of the validation images")
    metrics = compare(labels, groups, reference["validation"], validation, threshold)
    if FORMATS[format_name].precision == "float32":
        keras = np.concatenate([reference["validation"], reference["calibration"]])
        difference = differences(keras, np.concatenate([validation, probabilities("calibration")]))
        metrics = replace(
            metrics,
            largest_difference=difference.largest,
            mean_difference=difference.mean,
            images_compared=len(keras),
        )
    return metrics


def sensitive(work: str, file: str) -> SensitiveLayers:
    """Return the layers of an int8 ONNX file, the most sensitive to quantisation first.

    Args:
        work: Working folder.
        file: Path of the int8 file.
    """
    from export.conversion.sensitivity import most_sensitive

    images = np.load(Path(work) / "calibration.npy")[:SENSITIVITY_IMAGES]
    return SensitiveLayers(most_sensitive(Path(work) / FLOAT32_ONNX, Path(file), images))


#: Steps by name.
STEPS: MappingProxyType[str, Callable[..., object]] = MappingProxyType(
    {step.__name__: step for step in (prepare, to_float32_onnx, convert, compare_with_keras, sensitive)}
)


def _use_tensorflow() -> None:
    """Select TensorFlow as Keras backend, which the converters require, whatever the model was trained with."""
    from train.quiet_tensorflow import quiet_tensorflow

    os.environ["KERAS_BACKEND"] = "tensorflow"
    quiet_tensorflow()


def _load_model(work: str, *, heatmap: bool) -> Any:
    """Load the model to convert, fold the batch norms that converters cannot, and add a heat map if requested."""
    _use_tensorflow()
    import keras

    from export.keras_passes.fold_batch_norms import fold_batch_norms
    from export.keras_passes.heatmap import with_heatmap

    model = fold_batch_norms(keras.saving.load_model(Path(work) / "model.keras", compile=False))
    return with_heatmap(model) if heatmap else model


def main() -> None:
    """Run the step described by the job file on the command line, and write its result or error as JSON."""
    job = json.loads(Path(sys.argv[1]).read_text(encoding="utf-8"))
    die_with(job["parent"])
    try:
        result = STEPS[job["step"]](**job["arguments"])
        reply: Mapping[str, object] = {
            "result": to_plain(result),
            "peak_memory_mb": round(peak_memory_mb() or 0),
        }
    except FractureEdgeError as error:
        reply = {"error": str(error)}
    except ModuleNotFoundError as error:
        reply = {"error": f"needs {error.name}: pip install 'fracture-edge[export]'"}
    Path(job["result"]).write_text(json.dumps(reply), encoding="utf-8")


if __name__ == "__main__":
    main()
