"""LiteRT sessions of TFLite files, which need the ``[litert]`` extra."""

import os
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from threading import Lock
from typing import Any

import numpy as np
import numpy.typing as npt

from fracture_edge.errors import FractureEdgeError, ModelError
from fracture_edge.modelfile import INPUT_NAME, OUTPUT_NAME, tflite_info
from fracture_edge.runtimes.threads import inference_threads

#: Lock around the redirection of standard error, of which there is one in a process.
_STDERR_LOCK = Lock()
_STDERR = 2
#: Beginning of the lines that LiteRT prints whenever it opens a file.
_CHATTER = b"INFO: "


class LiteRtSession:
    """Model in LiteRT with XNNPACK; see `fracture_edge.runtimes.opening.Session`.

    The files of `fracture-edge export` take one image, [1, height, width, 1]: several are run one after the other.
    Quantised inputs and outputs are converted, so that callers see grey levels and probabilities whatever the
    file has.

    Attributes:
        info: Metadata of the model.
        output_sizes: Number of values of each output for one image, by name.
    """

    def __init__(self, name: str, data: bytes, threads: int | None) -> None:
        """Open a model.

        Args:
            name: Name of the file in messages.
            data: Content of the ``.tflite`` file.
            threads: Number of threads of one inference; the default of `inference_threads` if ``None``.

        Raises:
            ModelError: The metadata is missing, damaged or of a newer schema, LiteRT cannot load the file, or its
                inputs or outputs do not agree with the metadata.
            FractureEdgeError: LiteRT is not installed.
        """
        try:
            from ai_edge_litert.interpreter import Interpreter
        except ImportError as error:
            reason = "" if isinstance(error, ModuleNotFoundError) else f" (it does not load: {error})"
            raise FractureEdgeError(
                f"{name}: TFLite files need LiteRT{reason}: pip install 'fracture-edge[litert]'"
            ) from error
        self.info = tflite_info(name, data)
        try:
            with _quiet_stderr():
                self._interpreter = Interpreter(model_content=data, num_threads=inference_threads(threads))
                self._interpreter.allocate_tensors()
            signature = self._interpreter.get_signature_runner()
            inputs, outputs = signature.get_input_details(), signature.get_output_details()
        except (ValueError, RuntimeError) as error:
            raise ModelError(f"{name}: LiteRT cannot load it ({str(error).splitlines()[0]})") from error
        if len(outputs) == 1:
            # The converter names a single output itself.
            outputs = {OUTPUT_NAME: next(iter(outputs.values()))}
        expected = [1, self.info.preprocessing.height, self.info.preprocessing.width, 1]
        if (
            list(inputs) != [INPUT_NAME]
            or inputs[INPUT_NAME]["shape"].tolist() != expected
            or OUTPUT_NAME not in outputs
        ):
            raise ModelError(f"{name}: the graph is not '{INPUT_NAME}' {expected} to '{OUTPUT_NAME}'")
        self._input = _Tensor.of(inputs[INPUT_NAME])
        self._outputs = {key: _Tensor.of(details) for key, details in outputs.items()}
        self.output_sizes: Mapping[str, object] = {
            key: int(details["shape"][-1]) for key, details in outputs.items()
        }
        self._lock = Lock()

    def run(
        self, output_names: Sequence[str], input_feed: Mapping[str, npt.NDArray[np.uint8]], /
    ) -> list[npt.NDArray[np.float32]]:
        """Run the model; see `fracture_edge.runtimes.opening.Session`."""
        images = self._input.quantised(input_feed[INPUT_NAME])
        rows = [self._run_one(images[row : row + 1], output_names) for row in range(len(images))]
        return [np.concatenate(values) for values in zip(*rows, strict=True)]

    def _run_one(self, image: npt.NDArray[Any], names: Sequence[str]) -> list[npt.NDArray[np.float32]]:
        # An interpreter keeps input and output in place, so only one thread may use it.
        with self._lock:
            self._interpreter.set_tensor(self._input.index, image)
            self._interpreter.invoke()
            found = [self._interpreter.get_tensor(self._outputs[name].index) for name in names]
        return [self._outputs[name].dequantised(values) for name, values in zip(names, found, strict=True)]


@dataclass(frozen=True, slots=True)
class _Tensor:
    """Input or output tensor of a TFLite file.

    Attributes:
        index: Index of the tensor in LiteRT.
        dtype: NumPy type of the values.
        scale: Quantisation scale; 0 if the tensor is not quantised.
        zero: Quantisation zero point.
    """

    index: int
    dtype: Any
    scale: float
    zero: int

    @classmethod
    def of(cls, details: Mapping[str, Any]) -> "_Tensor":
        """Create a tensor from the details that LiteRT reports."""
        scale, zero = details["quantization"]
        return cls(details["index"], details["dtype"], scale, zero)

    def quantised(self, images: npt.NDArray[np.uint8]) -> npt.NDArray[Any]:
        """Convert grey levels to the type and quantisation of this tensor."""
        if not self.scale or (self.dtype is np.uint8 and (self.scale, self.zero) == (1.0, 0)):
            return images.astype(self.dtype, copy=False)
        limits = np.iinfo(self.dtype)
        levels = np.rint(images / self.scale) + self.zero
        return np.asarray(np.clip(levels, limits.min, limits.max), self.dtype)

    def dequantised(self, values: npt.NDArray[Any]) -> npt.NDArray[np.float32]:
        """Convert values of this tensor to real numbers."""
        if not self.scale:
            return np.asarray(values, np.float32)
        return (values.astype(np.float32) - np.float32(self.zero)) * np.float32(self.scale)


@contextmanager
def _quiet_stderr() -> Iterator[None]:
    """Hide what LiteRT prints when it opens a file; it has no setting for that. Other lines are not lost."""
    with _STDERR_LOCK, tempfile.TemporaryFile() as caught:
        try:
            kept = os.dup(_STDERR)
        except OSError:
            # The process has no standard error.
            yield
            return
        try:
            os.dup2(caught.fileno(), _STDERR)
            yield
        finally:
            os.dup2(kept, _STDERR)
            os.close(kept)
            caught.seek(0)
            for line in caught:
                if not line.startswith(_CHATTER):
                    os.write(_STDERR, line)
