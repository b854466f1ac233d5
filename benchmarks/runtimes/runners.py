"""Common interface to the runtimes, one class each. All runtimes get the same input bytes.

Runtimes are imported only when a runner is created: the time to the first prediction and the peak memory of one
runtime must not include another one.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from types import MappingProxyType
from typing import Any, ClassVar, Literal

import numpy as np
import numpy.typing as npt

from fracture_edge.errors import FractureEdgeError, ModelError
from fracture_edge.modelfile import (
    INPUT_NAME,
    METADATA_KEY,
    OUTPUT_NAME,
    ModelInfo,
    read_model,
)
from fracture_edge.models import EMBEDDED
from fracture_edge.policy import Decision
from train.artifacts import read_record, sha256

Runtime = Literal["keras", "onnxruntime", "litert", "openvino"]
#: Maximum length of OpenVINO's error messages, which span many lines, in characters.
_LONGEST_REASON = 500
Probabilities = npt.NDArray[np.floating[Any]]


class Runner(ABC):
    """A model file in one runtime.

    Attributes:
        runtime: Name of the runtime.
        path: Path of the model file; ``None`` for the embedded model.
        info: Metadata of the model file with preprocessing and policy; for Keras, read from the ``training.json``
            beside it.
        name: Display name, such as ``onnx int8``.
    """

    runtime: ClassVar[str]

    def __init__(self, path: Path | None, info: ModelInfo, name: str) -> None:
        self.path, self.info, self.name = path, info, name

    @abstractmethod
    def probabilities(self, pixels: npt.NDArray[np.uint8]) -> Probabilities:
        """Return P(fractured), [N], of preprocessed images, uint8 [N, H, W, 1]."""

    def decide(self, image: Path) -> Decision:
        """Classify an image file: decode, preprocess, run the model, apply the policy.

        Args:
            image: Path of the image file.

        Raises:
            ImageError: The image cannot be used.
        """
        pixels = self.info.preprocessing.load(image)
        decision, _ = self.info.policy.decide(float(self.probabilities(pixels[np.newaxis])[0]))
        return decision

    @abstractmethod
    def close(self) -> None:
        """Release the memory of the model; no other method may be called afterwards."""

    @property
    def size(self) -> int:
        """Size of the model file in bytes."""
        return self.path.stat().st_size if self.path else len(read_model(None)[1])

    @property
    def sha256(self) -> str:
        """SHA-256 checksum of the model file, hexadecimal."""
        return sha256(self.path) if self.path else read_model(None)[2]


class _DeviceRunner(Runner):
    """Runner of the `FractureClassifier` that runs on the device.

    Attributes:
        kind: Kind of file in the display name.
    """

    kind: ClassVar[str]

    def __init__(self, path: Path | None, threads: int) -> None:
        """Load a model file.

        Args:
            path: Path of a file of `fracture-edge export`; the embedded model if ``None``.
            threads: Number of threads of one inference.

        Raises:
            FractureEdgeError: The file cannot be used, or its runtime is not installed.
        """
        from fracture_edge.classifier import FractureClassifier

        self.classifier = FractureClassifier(path, threads)
        super().__init__(path, self.classifier.info, f"{self.kind} {self.classifier.info.precision}")

    def probabilities(self, pixels: npt.NDArray[np.uint8]) -> Probabilities:
        """Return P(fractured), [N], of preprocessed images, uint8 [N, H, W, 1]."""
        return self.classifier.probabilities(pixels)

    def close(self) -> None:
        """Release the memory of the model; no other method may be called afterwards."""
        del self.classifier


class OnnxRunner(_DeviceRunner):
    """onnxruntime, for ``.onnx`` files."""

    runtime, kind = "onnxruntime", "onnx"


class LiteRtRunner(_DeviceRunner):
    """LiteRT with XNNPACK, for ``.tflite`` files; one image at a time."""

    runtime, kind = "litert", "tflite"


class OpenVinoRunner(Runner):
    """OpenVINO on the same ``.onnx`` files, as an independent reference; not used on devices.

    The model is compiled for each batch size: with a fixed shape it is faster than with a dynamic one.
    """

    runtime = "openvino"

    def __init__(self, path: Path | None, threads: int) -> None:
        """Load an ``.onnx`` file of `fracture-edge export`, or the embedded model when `path` is ``None``.

        Raises:
            ModelError: OpenVINO cannot read the file, or it has no fracture-edge metadata.
            FractureEdgeError: OpenVINO is not installed.
        """
        name = path or EMBEDDED
        self._core = _module("openvino", "openvino").Core()
        try:
            self._model = self._core.read_model(path or read_model(None)[1])
        except RuntimeError as error:
            reason = " ".join(str(error).split())[:_LONGEST_REASON]
            raise ModelError(f"{name}: OpenVINO cannot read it ({reason})") from error
        try:
            info = ModelInfo.from_json(self._model.get_rt_info(["framework", METADATA_KEY]).astype(str))
        except RuntimeError as error:
            raise ModelError(f"{name}: no fracture-edge metadata inside") from error
        super().__init__(path, info, f"openvino {info.precision}")
        self._settings = {
            "INFERENCE_NUM_THREADS": threads,
            "NUM_STREAMS": 1,
            "PERFORMANCE_HINT": "LATENCY",
            # Otherwise float32 silently becomes bfloat16 on processors that support it.
            "INFERENCE_PRECISION_HINT": "f32",
            # Workers pin their own process, if at all.
            "ENABLE_CPU_PINNING": False,
        }
        self._compiled: dict[int, Any] = {}

    def probabilities(self, pixels: npt.NDArray[np.uint8]) -> Probabilities:
        """Return P(fractured), [N], of preprocessed images, uint8 [N, H, W, 1]."""
        if len(pixels) not in self._compiled:
            self._compiled[len(pixels)] = self._compile(list(pixels.shape))
        request = self._compiled[len(pixels)]
        request.infer({INPUT_NAME: pixels})
        return np.array(request.get_tensor(OUTPUT_NAME).data[:, 0])

    def _compile(self, shape: list[int]) -> Any:
        self._model.reshape({INPUT_NAME: shape})
        return self._core.compile_model(self._model, "CPU", self._settings).create_infer_request()

    def close(self) -> None:
        """Release the memory of the model; no other method may be called afterwards."""
        del self._compiled, self._model, self._core


class KerasRunner(Runner):
    """Keras on TensorFlow, compiled with `tf.function`: several times faster than `predict` for one image."""

    runtime = "keras"

    def __init__(self, path: Path, threads: int) -> None:
        """Load ``model.keras``; must be the first use of TensorFlow in the process for `threads` to take effect.

        Raises:
            FractureEdgeError: There is no ``training.json`` beside it, or Keras or TensorFlow is not installed.
            RuntimeError: TensorFlow is running already with another number of threads, so that the timing would
                be wrong.
        """
        record = read_record(path.parent)
        info = ModelInfo(
            name=f"{path.parent.name}-float32",
            architecture=record.model,
            precision="float32",
            preprocessing=record.preprocessing,
            policy=record.policy,
        )
        super().__init__(path, info, "keras float32")
        tensorflow, keras = _module("tensorflow", "train"), _module("keras", "train")
        tensorflow.config.threading.set_intra_op_parallelism_threads(threads)
        tensorflow.config.threading.set_inter_op_parallelism_threads(threads)
        model = keras.saving.load_model(path, compile=False)
        self._infer = tensorflow.function(lambda image: model(image, training=False), reduce_retracing=True)

    def probabilities(self, pixels: npt.NDArray[np.uint8]) -> Probabilities:
        """Return P(fractured), [N], of preprocessed images, uint8 [N, H, W, 1]."""
        return np.asarray(self._infer(pixels))[:, 0]

    def close(self) -> None:
        """Release the memory of the model; no other method may be called afterwards."""
        del self._infer
        _module("keras", "train").backend.clear_session()


_RUNNERS: MappingProxyType[str, Callable[[Any, int], Runner]] = MappingProxyType(
    {runner.runtime: runner for runner in (KerasRunner, OnnxRunner, LiteRtRunner, OpenVinoRunner)}
)


def load_runner(runtime: str, path: Path | None, threads: int) -> Runner:
    """Load a model file in a runtime.

    Args:
        runtime: Name of the runtime, a `Runtime`.
        path: Path of the file; ``None`` for the embedded model (onnxruntime and OpenVINO only).
        threads: Number of threads of one inference.

    Raises:
        FractureEdgeError: The file cannot be used, or the runtime is not installed.
    """
    return _RUNNERS[runtime](path, threads)


def runner_of(path: Path, threads: int) -> Runner:
    """Load an exported file in the runtime that its suffix implies; see `load_runner`."""
    return load_runner("litert" if path.suffix == ".tflite" else "onnxruntime", path, threads)


def _module(name: str, extra: str) -> Any:
    try:
        return import_module(name)
    except ModuleNotFoundError as error:
        raise FractureEdgeError(f"needs {error.name}: pip install 'fracture-edge[{extra}]'") from error
