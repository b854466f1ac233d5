"""One small class per runtime: a name, the file it runs, and `probabilities`. All get the same bytes."""

import hashlib
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from fracture_edge.classifier import FractureClassifier
from fracture_edge.modelfile import read_model, read_tflite_info


class Runner(Protocol):
    """What the benchmark needs of a runtime.

    Attributes:
        name: For the table, such as ``onnx int8``.
        size: Bytes of the model file.
        sha256: Of the model file.
    """

    name: str
    size: int
    sha256: str

    def probabilities(self, pixels: npt.NDArray[np.uint8]) -> npt.NDArray[np.floating[Any]]:
        """P(fractured) [N] of uint8 [N, H, W, 1]."""


class OnnxRunner:
    """onnxruntime, through the classifier that the device runs."""

    def __init__(self, path: Path | None, threads: int) -> None:
        """Load a model file, or the embedded model when `path` is ``None``."""
        self.classifier = FractureClassifier(path, threads)
        self.sha256 = self.classifier.sha256
        self.name = f"onnx {self.classifier.info.precision}"
        self.size = len(read_model(path)[1])

    def probabilities(self, pixels: npt.NDArray[np.uint8]) -> npt.NDArray[np.floating[Any]]:
        """P(fractured) [N] of uint8 [N, H, W, 1]."""
        return self.classifier.probabilities(pixels)


class LiteRtRunner:
    """LiteRT with XNNPACK, one image at a time, as `fracture-edge export` shapes its TFLite files."""

    def __init__(self, path: Path, threads: int) -> None:
        """Load a ``.tflite`` file of ours.

        Raises:
            ModelError: It has no metadata of ours.
        """
        from ai_edge_litert.interpreter import Interpreter

        self.info = read_tflite_info(path)
        self.name = f"tflite {self.info.precision}"
        self.size = path.stat().st_size
        self.sha256 = hashlib.sha256(path.read_bytes()).hexdigest()
        self._interpreter = Interpreter(model_path=str(path), num_threads=threads)
        self._interpreter.allocate_tensors()
        (self._input,) = self._interpreter.get_input_details()
        # A heat map, where there is one, has more values.
        self._output = min(self._interpreter.get_output_details(), key=lambda entry: int(np.prod(entry["shape"])))

    def probabilities(self, pixels: npt.NDArray[np.uint8]) -> npt.NDArray[np.floating[Any]]:
        """P(fractured) [N] of uint8 [N, H, W, 1]."""
        return np.array([self._one(pixels[row : row + 1]) for row in range(len(pixels))], np.float32)

    def _one(self, image: npt.NDArray[np.uint8]) -> float:
        self._interpreter.set_tensor(self._input["index"], _quantised(image, self._input))
        self._interpreter.invoke()
        value = self._interpreter.get_tensor(self._output["index"]).ravel()[0]
        scale, zero = self._output["quantization"]
        return float((float(value) - zero) * scale) if scale else float(value)


def _quantised(image: npt.NDArray[np.uint8], tensor: dict[str, Any]) -> npt.NDArray[Any]:
    """Grey levels in the type and the scale of an input tensor."""
    scale, zero = tensor["quantization"]
    kind = tensor["dtype"]
    if not scale or (kind is np.uint8 and (scale, zero) == (1.0, 0)):
        return image.astype(kind, copy=False)
    limits = np.iinfo(kind)
    return np.clip(np.rint(image / scale) + zero, limits.min, limits.max).astype(kind)


def runner_of(path: Path, threads: int) -> OnnxRunner | LiteRtRunner:
    """The runner of an exported file, by its suffix."""
    return LiteRtRunner(path, threads) if path.suffix == ".tflite" else OnnxRunner(path, threads)


class KerasRunner:
    """Keras on TensorFlow, compiled with `tf.function`: several times faster than `predict` for one image."""

    def __init__(self, path: Path, threads: int) -> None:
        """Load ``model.keras``; must be the first use of TensorFlow in the process for `threads` to hold."""
        import keras
        import tensorflow as tf

        # TensorFlow raises when it has started its thread pools already: better than a wrong number in a table.
        tf.config.threading.set_intra_op_parallelism_threads(threads)
        tf.config.threading.set_inter_op_parallelism_threads(threads)
        model = keras.saving.load_model(path, compile=False)
        self.name = "keras float32"
        self.size = path.stat().st_size
        self.sha256 = hashlib.sha256(path.read_bytes()).hexdigest()
        self._infer = tf.function(lambda image: model(image, training=False), reduce_retracing=True)

    def probabilities(self, pixels: npt.NDArray[np.uint8]) -> npt.NDArray[np.floating[Any]]:
        """P(fractured) [N] of uint8 [N, H, W, 1]."""
        return np.asarray(self._infer(pixels))[:, 0]
