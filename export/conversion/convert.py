"""Write one exported file: from a Keras model in the working folder of an export to a file with its metadata.

See `export.steps` for the files of the working folder.
"""

import os
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from export.recipes import FORMATS, Format, Rung
from export.results import Converted, Float32Onnx
from train.json_records import from_plain

FLOAT32_ONNX = "float32.onnx"
#: Names of the rewritten model, and of the factors by which it multiplies the outputs of its layers.
MODEL, SCALES = "model.keras", "scales.npz"
#: Names of the files written by training from which outputs are made, see the modules of these names in
#: `train.evaluation`; not all models have them.
TYPICALITY_FILE, ATTRIBUTES_FILE, LOCALISER_FILE = "typicality.npz", "attributes.npz", "localiser.npz"
OUTPUT_FILES = (TYPICALITY_FILE, ATTRIBUTES_FILE, LOCALISER_FILE)
#: Log-odds that decide nothing.
_TINY = 1e-6


def to_float32_onnx(work: str, architecture: str, heatmap: bool) -> Float32Onnx:
    """Write the float32 ONNX file that all other ONNX files are derived from.

    Args:
        work: Working folder.
        architecture: Name of the architecture.
        heatmap: Whether to add a heat map as second output.
    """
    from export.conversion.to_onnx import to_onnx

    model, scales = _load_model(work, heatmap=heatmap, attributes=architecture)
    described: dict[str, float] = {}
    file = Path(work) / TYPICALITY_FILE
    if file.is_file():
        from train.evaluation.typicality import FALSE_ALARMS, load_typicality, with_typicality

        typicality = load_typicality(file)
        model = with_typicality(model, architecture, typicality, scales)
        described = {"threshold": typicality.threshold, "false_alarms": FALSE_ALARMS}
    to_onnx(model, Path(work) / FLOAT32_ONNX)
    return Float32Onnx(described)


def convert(
    work: str,
    format_name: str,
    target: str,
    info: str,
    heatmap: bool,
    rung: Any,
    keep_float: list[str],
    threshold: float,
    epochs: int,
    learning_rate: float,
    seed: int,
) -> Converted:
    """Write one exported file with its metadata.

    Args:
        work: Working folder.
        format_name: Name of the format, a key of `export.recipes.FORMATS`.
        target: Path of the file to write.
        info: Metadata of the file as JSON, see `fracture_edge.modelfile.ModelInfo`.
        heatmap: Whether to add a heat map as second output.
        rung: Rung of an int8 file as JSON, see `export.recipes.Rung`; ``None`` for other files.
        keep_float: Names of the layers that stay float32 in int8 ONNX.
        threshold: Frozen threshold on P(fractured), around which an int8 file is recentred.
        epochs: Number of epochs of quantisation-aware training.
        learning_rate: Learning rate of quantisation-aware training.
        seed: Random seed of quantisation-aware training.
    """
    from export.operators import operators
    from fracture_edge.modelfile import ModelInfo, embed_info

    chosen, float32, path = FORMATS[format_name], Path(work) / FLOAT32_ONNX, Path(target)
    way = from_plain(Rung, rung, "rung") if rung else None
    about = ModelInfo.from_json(info)
    if chosen.retrained:
        from export.compression.prune_and_cluster import FineTuning
        from export.compression.qat import quantisation_aware, shift_trained_bias, to_int8_tflite

        images = np.load(Path(work) / "training.npz")
        tuning = FineTuning(
            images["pixels"], images["targets"], epochs=epochs, learning_rate=learning_rate, seed=seed
        )
        trained = quantisation_aware(_load_model(work, heatmap=False)[0], tuning)
        path.write_bytes(to_int8_tflite(trained))
        embed_info(path, about, path)
        shift_trained_bias(trained, _shift(path, work, threshold))
        path.write_bytes(to_int8_tflite(trained))
    elif way is not None and chosen.runtime == "tflite":
        _to_int8_tflite(work, chosen, way, path, info, threshold)
    elif chosen.runtime == "tflite":
        from export.conversion.recentre import shift_keras_bias
        from export.conversion.to_tflite import to_tflite

        attributes = about.architecture if about.attributes or about.classes else None
        model, _ = _load_model(work, heatmap=heatmap, attributes=attributes)
        to_tflite(model, path, chosen)
        if chosen.precision == "dynamic":
            embed_info(path, about, path)
            shift_keras_bias(model, _shift(path, work, threshold))
            to_tflite(model, path, chosen)
    elif chosen.precision == "float32":
        path.write_bytes(float32.read_bytes())
    elif chosen.precision == "float16":
        from export.conversion.to_float16 import to_float16

        to_float16(float32, path)
    elif way is not None:
        from export.conversion.recentre import shift_onnx_bias
        from export.onnx_passes.space_to_depth import group_pixels_of

        to_int8_onnx(work, chosen, way, path, keep_float)
        embed_info(path, about, path)
        shift_onnx_bias(path, _shift(path, work, threshold))
        # Files with uint8 weights are for other programs, which may be slower with it.
        if chosen.weights == "int8":
            group_pixels_of(path)
    described = operators(path)
    if about.typicality:
        about = replace(about, typicality={**about.typicality, "threshold": _typicality_threshold(path, work)})
    embed_info(path, about, path)
    return described


def to_int8_onnx(work: str, chosen: Format, way: Rung, path: Path, keep_float: Sequence[str] = ()) -> None:
    """Quantise the float32 ONNX file of the working folder; its layers keep their names and shapes.

    Args:
        work: Working folder.
        chosen: Format of the file.
        way: Rung of the ladder, with its calibration.
        path: Path of the int8 file to write.
        keep_float: Names of the layers that stay float32.
    """
    from export.conversion.quantise import quantise

    quantise(
        Path(work) / FLOAT32_ONNX,
        path,
        np.load(Path(work) / "calibration.npy"),
        chosen,
        method=way.calibration,
        dynamic_dense=way.dynamic_dense,
        keep_float=keep_float,
        ranges=Path(work) / f"ranges-{way.calibration}{'-dense' * way.dynamic_dense}.json",
    )


def _to_int8_tflite(work: str, chosen: Format, way: Rung, path: Path, info: str, threshold: float) -> None:
    """Write an int8 TFLite file; all of them start from the same calibrated models in the working folder."""
    from export.conversion.quantise_tflite import calibrate, least_error_ranges, quantise, shift_bias
    from export.conversion.recentre import shift_keras_bias
    from export.conversion.to_tflite import one_image
    from fracture_edge.modelfile import ModelInfo, embed_info

    images = np.load(Path(work) / "calibration.npy")
    calibrated, narrowed = Path(work) / "calibrated.bin", Path(work) / f"calibrated-{way.calibration}.bin"
    if not calibrated.is_file():
        model, _ = _load_model(work, heatmap=False)
        # The converter leaves out a bias of exactly 0, and there would be nothing to shift.
        shift_keras_bias(model, -_TINY)
        calibrated.write_bytes(calibrate(one_image(model, quantised=True), images))
    if way.calibration == "mse":
        if not narrowed.is_file():
            narrowed.write_bytes(least_error_ranges(calibrated.read_bytes(), images))
        calibrated = narrowed
    content = calibrated.read_bytes()
    path.write_bytes(quantise(content, chosen, float_tail=way.float_tail, float_front=way.float_front))
    embed_info(path, ModelInfo.from_json(info), path)
    content = shift_bias(content, _shift(path, work, threshold))
    path.write_bytes(quantise(content, chosen, float_tail=way.float_tail, float_front=way.float_front))


def _shift(path: Path, work: str, threshold: float) -> float:
    """Compute the shift of a file's log-odds on the calibration images, see `export.conversion.recentre`."""
    from benchmarks.runtimes.runners import runner_of
    from export.conversion.recentre import threshold_shift

    runner = runner_of(path, threads=os.cpu_count() or 1)
    found = runner.probabilities(np.load(Path(work) / "calibration.npy"))
    runner.close()
    return threshold_shift(np.load(Path(work) / "reference.npz")["calibration"], found, threshold)


def _typicality_threshold(path: Path, work: str) -> float:
    """Compute the threshold of ``atypicality`` for one file, whose features differ if quantised or compressed.

    It is the quantile of the validation images that the share of false alarms allows.
    """
    from fracture_edge.modelfile import ATYPICALITY_NAME, INPUT_NAME
    from fracture_edge.runtimes.session import open_session
    from train.evaluation.typicality import FALSE_ALARMS

    session = open_session(path.name, path.read_bytes(), None)
    images = np.load(Path(work) / "validation.npy")
    found = [session.run([ATYPICALITY_NAME], {INPUT_NAME: images[k : k + 1]})[0] for k in range(len(images))]
    return float(np.quantile(np.concatenate(found), 1 - FALSE_ALARMS, method="higher"))


def use_tensorflow() -> None:
    """Select TensorFlow as Keras backend, which the converters require, whatever the model was trained with."""
    from train.quiet_tensorflow import quiet_tensorflow

    os.environ["KERAS_BACKEND"] = "tensorflow"
    quiet_tensorflow()


def _load_model(
    work: str, *, heatmap: bool, attributes: str | None = None
) -> tuple[Any, Mapping[str, npt.NDArray[np.floating[Any]]]]:
    """Load the model to convert, and add further outputs.

    Args:
        work: Working folder.
        heatmap: Whether to add a heat map.
        attributes: Name of the architecture, to add body part and view if the model has them; ``None`` to leave
            them out.

    Returns:
        The model, and the factors by which outputs of its layers have been multiplied, by name.
    """
    use_tensorflow()
    import keras

    from export.keras_passes.heatmap import with_heatmap

    model = keras.saving.load_model(Path(work) / MODEL, compile=False)
    scales = dict(np.load(Path(work) / SCALES))
    if heatmap:
        located = None
        if (Path(work) / LOCALISER_FILE).is_file():
            from train.evaluation.localiser import graph_log_odds, load_localiser

            located = graph_log_odds(model, load_localiser(Path(work) / LOCALISER_FILE), scales)
        model = with_heatmap(model, located)
    if attributes is not None and (Path(work) / ATTRIBUTES_FILE).is_file():
        from train.evaluation.attributes import load_heads, with_attributes

        model = with_attributes(model, attributes, load_heads(Path(work) / ATTRIBUTES_FILE), scales)
    return model, scales
