"""Steps of an export, each run in a separate process by `export.jobs`.

They exchange arrays and files in a working folder: ``validation.npy``, ``calibration.npy`` and ``fidelity.npy``
(uint8 [N, H, W, 1]; the last one has training images outside the calibration), ``reference.npz`` (P(fractured)
from Keras for all three), ``model.keras`` and ``scales.npz`` (the rewritten model, see
`export.keras_passes.rewrite`), ``float32.onnx`` and the exported files.
"""

import json
import os
import shutil
import statistics
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np
import numpy.typing as npt

from benchmarks.runtimes.process import die_with
from export.conversion.convert import (
    ATTRIBUTES_FILE,
    FLOAT32_ONNX,
    MODEL,
    OUTPUT_FILES,
    SCALES,
    convert,
    to_float32_onnx,
    to_int8_onnx,
    use_tensorflow,
)
from export.recipes import FORMATS, Rung
from export.results import Compared, Prepared, SensitiveLayers
from fracture_edge.errors import FractureEdgeError
from fracture_edge.machine import peak_memory_mb
from train.export_record import CalibrationImages, Compression
from train.json_records import from_plain, to_plain

#: Number of runs of the latency, and of those before that are not counted.
_RUNS, _WARM_UP = 15, 5
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
    fidelity_images: int,
    learning_rate: float,
) -> Prepared:
    """Read the images, run the Keras model on them, compress the model if requested, and rewrite it.

    Args:
        folder: Folder of the model, ``artifacts/<model>``.
        work: Working folder.
        data: Path of the data folder if it has moved since training.
        calibration_images: Number of training images for the ranges of the activations.
        seed: Random seed for sampling the calibration images.
        compression: Compression as JSON, see `train.export_record.Compression`; ``None`` without any.
        training: Whether to write all training images, and P(fractured) of them, to ``training.npz``, for formats
            that are retrained.
        fidelity_images: Number of training images outside the calibration that the gate looks at.
        learning_rate: Learning rate of fine-tuning for the compression.
    """
    use_tensorflow()
    import keras

    from export.keras_passes.rewrite import rewrite
    from export.source import read_source
    from train.evaluation.attributes import load_heads
    from train.evaluation.predict import predict

    source = read_source(Path(folder), data=Path(data) if data else None)
    calibration, fingerprint = source.calibration(calibration_images, seed)
    validation = source.validation()
    further, labels_of_further = source.outside_calibration(calibration_images, fidelity_images, seed)
    model = keras.saving.load_model(Path(folder) / "model.keras", compile=False)
    target = Path(work)
    np.save(target / "validation.npy", validation)
    np.save(target / "calibration.npy", calibration)
    np.save(target / "fidelity.npy", further)
    np.savez(
        target / "reference.npz",
        validation=predict(model, validation),
        calibration=predict(model, calibration),
        fidelity=predict(model, further) if len(further) else np.empty(0, np.float32),
    )
    if compression or training:
        from export.compression.compress import compress

        pixels = source.training()
        wanted = from_plain(Compression, compression, "compression") if compression else None
        # Fine-tuning goes towards the answers of the network as it is; factorising alone needs none.
        tuned = training or (wanted is not None and wanted.tunes)
        targets = predict(model, pixels) if tuned else np.empty(0)
        if training:
            np.savez(target / "training.npz", pixels=pixels, targets=targets)
        if wanted is not None:
            model = compress(model, pixels, targets, wanted, learning_rate)
    model, scales = rewrite(model, calibration)
    model.save(target / MODEL)
    np.savez(target / SCALES, allow_pickle=False, **scales)
    for name in OUTPUT_FILES:
        if (Path(folder) / name).is_file():
            shutil.copy(Path(folder) / name, target / name)
    heads = load_heads(target / ATTRIBUTES_FILE) if (target / ATTRIBUTES_FILE).is_file() else {}
    return Prepared(
        labels=source.val.labels,
        groups=source.groups,
        calibration=CalibrationImages(images=len(calibration), seed=seed, fingerprint=fingerprint),
        fidelity_labels=labels_of_further,
        attributes={name: head.metadata for name, head in heads.items() if not head.exclusive},
        classes=[name for head in heads.values() if head.exclusive for name in head.labels],
    )


def compare_with_keras(
    work: str,
    format_name: str,
    file: str,
    labels: list[int],
    groups: list[str],
    fidelity_labels: list[int] | None,
    threshold: float,
) -> Compared:
    """Run a file with its runtime on the validation images and compare its predictions with those of Keras.

    float32 files are also compared on the calibration images, which needs no labels.

    Args:
        work: Working folder.
        format_name: Name of the format, a key of `export.recipes.FORMATS`.
        file: Path of the exported file.
        labels: Labels of the validation images, 0 or 1.
        groups: Groups of the validation images.
        fidelity_labels: Labels of the training images to compare on as well; ``None`` for none.
        threshold: Frozen threshold on P(fractured).

    Raises:
        FractureEdgeError: A predicted probability is NaN or infinite.
    """
    from benchmarks.runtimes.runners import runner_of
    from export.gate import compare, fidelity
    from train.evaluation.paired import differences

    milliseconds = _milliseconds(Path(file), np.load(Path(work) / "validation.npy", mmap_mode="r")[:1])
    runner = runner_of(Path(file), threads=os.cpu_count() or 1)
    reference = np.load(Path(work) / "reference.npz")

    def probabilities(name: str) -> npt.NDArray[np.floating[Any]]:
        pixels = np.load(Path(work) / f"{name}.npy", mmap_mode="r")
        found = [runner.probabilities(pixels[k : k + 16]) for k in range(0, len(pixels), 16)]
        return np.concatenate(found) if found else np.empty(0, np.float32)

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
    if fidelity_labels is None:
        return Compared(metrics, milliseconds)
    followed = fidelity(
        [*labels, *fidelity_labels],
        np.concatenate([reference["validation"], reference["fidelity"]]),
        np.concatenate([validation, probabilities("fidelity")]),
        threshold,
    )
    return Compared(metrics, milliseconds, followed)


def _milliseconds(file: Path, image: npt.NDArray[np.uint8]) -> float:
    """Measure the median time of one image with one thread."""
    from benchmarks.runtimes.runners import runner_of

    runner = runner_of(file, threads=1)
    seconds = []
    for _ in range(_WARM_UP + _RUNS):
        started = time.perf_counter()
        runner.probabilities(image)
        seconds.append(time.perf_counter() - started)
    runner.close()
    return round(1000 * statistics.median(seconds[_WARM_UP:]), 2)


def sensitive(work: str, format_name: str, rung: Any) -> SensitiveLayers:
    """Return the layers of an int8 ONNX file, the most sensitive to quantisation first.

    Args:
        work: Working folder.
        format_name: Name of the format, a key of `export.recipes.FORMATS`.
        rung: Rung that the file comes from as JSON, see `export.recipes.Rung`.
    """
    from export.conversion.sensitivity import most_sensitive

    quantised = Path(work) / "sensitive.onnx"
    # Quantised again, from the cached ranges: the exported file no longer has the layers of the float32 one.
    to_int8_onnx(work, FORMATS[format_name], from_plain(Rung, rung, "rung"), quantised)
    images = np.load(Path(work) / "calibration.npy")[:SENSITIVITY_IMAGES]
    return SensitiveLayers(most_sensitive(Path(work) / FLOAT32_ONNX, quantised, images))


#: Steps by name.
STEPS: MappingProxyType[str, Callable[..., object]] = MappingProxyType(
    {step.__name__: step for step in (prepare, to_float32_onnx, convert, compare_with_keras, sensitive)}
)


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
