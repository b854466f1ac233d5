"""onnxruntime sessions, and the metadata of a model read through its session.

Pillow is imported late, because `open_ahead` runs while other modules are still being imported.
"""

import os
from contextlib import suppress
from threading import Thread
from typing import TYPE_CHECKING, NamedTuple

import onnxruntime as ort

from fracture_edge.errors import ModelError
from fracture_edge.machine import at_most_cores, exact_int8_sums
from fracture_edge.models import EMBEDDED_FILE

if TYPE_CHECKING:
    from fracture_edge.modelfile import ModelInfo

#: Maximum number of threads by default: one image keeps few cores busy, and more threads only delay the start.
MOST_THREADS = 4
#: File identifier of TFLite files, from their fourth byte.
_TFLITE = b"TFL3"


class Opened(NamedTuple):
    """Model file with its session.

    Attributes:
        name: Name of the model in messages.
        sha256: SHA-256 of the file, hexadecimal.
        session: Session of the model.
    """

    name: str
    sha256: str
    session: ort.InferenceSession


class _BackgroundOpen(Thread):
    opened: Opened | None = None

    def run(self) -> None:
        # Errors are ignored here; `open_model` repeats the work and reports them.
        with suppress(Exception):
            data = EMBEDDED_FILE.read_bytes()
            session = open_session(EMBEDDED_FILE.stem, data, None)
            from fracture_edge.modelfile import read_model

            name, checked, digest = read_model(None)
            if checked == data:
                self.opened = Opened(name, digest, session)


_ahead: _BackgroundOpen | None = None


def open_ahead() -> None:
    """Start to open the embedded model with default threads in the background.

    The first call of `open_model` for the embedded model with default threads takes over the session. Imports hold
    the interpreter lock while onnxruntime releases it most of the time, so on two cores a session that is opened
    while the command line is being imported costs little time.
    """
    global _ahead  # noqa: PLW0603
    _ahead = _BackgroundOpen(name="fracture-edge-open")
    _ahead.start()


def open_model(model: str | os.PathLike[str] | None, threads: int | None) -> Opened:
    """Read a model file and open a session for it.

    Args:
        model: Path of an ``.onnx`` file; the embedded model if ``None``.
        threads: Number of threads of one inference; the default of `session_options` if ``None``.

    Returns:
        Name, SHA-256 and session of the model.

    Raises:
        ModelError: The file cannot be read, the embedded model differs from the one that was shipped, or
            onnxruntime cannot load the model.
    """
    global _ahead
    ahead, _ahead = _ahead, None
    if ahead is not None and model is None and threads is None:
        ahead.join()
        if ahead.opened is not None:
            return ahead.opened
    from fracture_edge.modelfile import read_model

    name, data, digest = read_model(model)
    return Opened(name, digest, open_session(name, data, threads))


def session_options(threads: int | None) -> ort.SessionOptions:
    """Make the session options that the classifier and the benchmarks share.

    Args:
        threads: Number of threads of one inference, at most one per usable core; `MOST_THREADS` if ``None``.
    """
    options = ort.SessionOptions()
    options.intra_op_num_threads = at_most_cores(threads or MOST_THREADS)
    options.inter_op_num_threads = 1
    # Spinning workers keep a core busy after each inference and slow down whatever runs next.
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    if not exact_int8_sums():
        # Wider sums: slower, but with the same results as on every other processor.
        options.add_session_config_entry("session.x64quantprecision", "1")
    options.log_severity_level = 3
    return options


def open_session(name: str, data: bytes, threads: int | None) -> ort.InferenceSession:
    """Open a session for the content of a model file.

    Args:
        name: Name of the model in messages.
        data: Content of the ``.onnx`` file.
        threads: Number of threads of one inference; the default of `session_options` if ``None``.

    Raises:
        ModelError: onnxruntime cannot load the model.
    """
    if data[4:8] == _TFLITE or name.lower().endswith(".tflite"):
        raise ModelError(
            f"{name}: TFLite files run in LiteRT, not here; give the .onnx file that `fracture-edge export` makes"
        )
    try:
        return ort.InferenceSession(data, session_options(threads), providers=["CPUExecutionProvider"])
    except Exception as error:  # onnxruntime raises a dozen unrelated types
        raise ModelError(f"{name}: onnxruntime cannot load it ({str(error).splitlines()[0]})") from error


def read_info(name: str, session: ort.InferenceSession) -> "ModelInfo":
    """Read the metadata of a model, and check that the inputs and outputs of its graph agree with it.

    Args:
        name: Name of the model in messages.
        session: Session of the model.

    Raises:
        ModelError: The metadata is missing, damaged or of a newer schema, or the graph has other inputs or
            outputs.
    """
    from fracture_edge.modelfile import INPUT_NAME, METADATA_KEY, OUTPUT_NAME, ModelInfo

    text = session.get_modelmeta().custom_metadata_map.get(METADATA_KEY)
    if text is None:
        raise ModelError(f"{name}: no fracture-edge metadata inside; make model files with `fracture-edge export`")
    try:
        info = ModelInfo.from_json(text)
    except ModelError as error:
        raise ModelError(f"{name}: {error}") from error
    inputs, outputs = session.get_inputs(), session.get_outputs()
    expected = [info.preprocessing.height, info.preprocessing.width, 1]
    if (
        [entry.name for entry in inputs] != [INPUT_NAME]
        or inputs[0].type != "tensor(uint8)"
        or list(inputs[0].shape[1:]) != expected
        or OUTPUT_NAME not in [entry.name for entry in outputs]
    ):
        raise ModelError(f"{name}: the graph is not uint8 '{INPUT_NAME}' [N, *{expected}] to '{OUTPUT_NAME}'")
    return info


def output_sizes(session: ort.InferenceSession) -> dict[str, object]:
    """Return the number of values of each output for one image, by name; the name of a size that is not fixed."""
    return {output.name: (output.shape or [0])[-1] for output in session.get_outputs()}
