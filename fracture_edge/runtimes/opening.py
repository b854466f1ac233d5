"""Opening of model files in the runtime that runs them: ``.onnx`` in onnxruntime, ``.tflite`` in LiteRT.

A runtime is imported when a file needs it, and Pillow is not imported here, because `open_ahead` runs while other
modules are still being imported.
"""

import os
from collections.abc import Mapping, Sequence
from contextlib import suppress
from threading import Thread
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

from fracture_edge.models import EMBEDDED_FILE

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    from fracture_edge.modelfile import ModelInfo


class Session(Protocol):
    """Model that is open in a runtime; threads may share it. onnxruntime's own sessions have this interface."""

    def run(
        self, output_names: Sequence[str], input_feed: Mapping[str, "npt.NDArray[np.uint8]"], /
    ) -> Sequence["npt.NDArray[np.float32]"]:
        """Run the model.

        Args:
            output_names: Names of the outputs to compute.
            input_feed: Preprocessed images by the name of the input, uint8 [N, height, width, 1].

        Returns:
            Values of the outputs, float32 [N, ...] each, in the order of `output_names`.
        """


class Opened(NamedTuple):
    """Model file that is open in its runtime.

    Attributes:
        name: Name of the file in messages.
        sha256: SHA-256 of the file, hexadecimal.
        session: Session of the model.
        info: Metadata of the model.
        outputs: Number of values of each output for one image, by name; the name of a size that is not fixed.
        lacks_typicality: Whether the format of the file cannot have the output ``atypicality``.
    """

    name: str
    sha256: str
    session: Session
    info: "ModelInfo"
    outputs: Mapping[str, object]
    lacks_typicality: bool = False


class _BackgroundOpen(Thread):
    opened: Opened | None = None

    def run(self) -> None:
        # Errors are ignored here; `open_model` repeats the work and reports them.
        with suppress(Exception):
            from fracture_edge.runtimes import session

            data = EMBEDDED_FILE.read_bytes()
            opened = session.open_session(EMBEDDED_FILE.stem, data, None)
            from fracture_edge.modelfile import read_model

            name, checked, digest = read_model(None)
            if checked == data:
                self.opened = _opened(name, digest, opened)


_ahead: _BackgroundOpen | None = None


def open_ahead() -> None:
    """Start to open the embedded model with default threads in the background.

    The first call of `open_model` for the embedded model with default threads takes over the session. Imports hold
    the interpreter lock while onnxruntime releases it most of the time, so on two cores a session that is opened
    while the command line is being imported costs little time.
    """
    global _ahead  # noqa: PLW0603
    import fracture_edge.runtimes.session  # noqa: F401 -- onnxruntime, in this thread

    _ahead = _BackgroundOpen(name="fracture-edge-open")
    _ahead.start()


def open_model(model: str | os.PathLike[str] | None, threads: int | None) -> Opened:
    """Read a model file and open it in its runtime.

    Args:
        model: Path of an ``.onnx`` or ``.tflite`` file; the embedded model if ``None``.
        threads: Number of threads of one inference, at most one per usable core;
            `fracture_edge.runtimes.threads.MOST_THREADS` if ``None``.

    Raises:
        ModelError: The file cannot be read, the embedded model differs from the one that was shipped, or the
            runtime cannot load the model.
        FractureEdgeError: The file needs a runtime that is not installed.
    """
    global _ahead
    ahead, _ahead = _ahead, None
    if ahead is not None and model is None and threads is None:
        ahead.join()
        if ahead.opened is not None:
            return ahead.opened
    from fracture_edge.modelfile import is_tflite, read_model

    name, data, digest = read_model(model)
    if is_tflite(name, data):
        from fracture_edge.runtimes.litert import LiteRtSession

        litert = LiteRtSession(name, data, threads)
        return Opened(name, digest, litert, litert.info, litert.output_sizes, lacks_typicality=True)
    from fracture_edge.runtimes import session

    return _opened(name, digest, session.open_session(name, data, threads))


def _opened(name: str, digest: str, made: Any) -> Opened:
    from fracture_edge.runtimes.session import output_sizes, read_info

    return Opened(name, digest, made, read_info(name, made), output_sizes(made))
