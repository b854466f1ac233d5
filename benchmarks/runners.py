"""One small class per runtime: a name, the file it runs, and `probabilities`. All get the same bytes."""

import hashlib
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from fracture_edge.classifier import FractureClassifier
from fracture_edge.modelfile import read_model


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
