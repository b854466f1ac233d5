"""The onnxruntime session of a model, and what the model says about itself.

Imports no Pillow before it is used: `open_ahead` is to begin while others are still being imported.
"""

import os
from contextlib import suppress
from threading import Thread
from typing import TYPE_CHECKING, NamedTuple

import onnxruntime as ort

from fracture_edge.errors import ModelError
from fracture_edge.machine import exact_int8_sums, usable_cores
from fracture_edge.models import EMBEDDED_FILE

if TYPE_CHECKING:
    from fracture_edge.modelfile import ModelInfo

#: One image keeps few cores busy; more threads than this cost start-up and win nothing.
MOST_THREADS = 4


class Opened(NamedTuple):
    """A model file with its session.

    Attributes:
        name: What messages call the model.
        sha256: Of the file, hexadecimal.
        session: Its session.
    """

    name: str
    sha256: str
    session: ort.InferenceSession


class _Ahead(Thread):
    opened: Opened | None = None

    def run(self) -> None:
        # What fails here is done again where it is needed, and fails there with its message.
        with suppress(Exception):
            data = EMBEDDED_FILE.read_bytes()
            session = open_session(EMBEDDED_FILE.stem, data, None)
            from fracture_edge.modelfile import read_model

            name, checked, digest = read_model(None)
            if checked == data:
                self.opened = Opened(name, digest, session)


_ahead: _Ahead | None = None


def open_ahead() -> None:
    """Begin to open the embedded model with default threads, for the first `open_model` that asks for just that.

    Imports hold the interpreter's lock, and onnxruntime lets go of it for the most part: on two cores a session
    that is opened beside the imports of the command line costs little time.
    """
    global _ahead  # noqa: PLW0603
    _ahead = _Ahead(name="fracture-edge-open")
    _ahead.start()


def open_model(model: str | os.PathLike[str] | None, threads: int | None) -> Opened:
    """Read a model file, or the embedded one when `model` is ``None``, and open a session for it.

    Args:
        model: An ``.onnx`` file.
        threads: See `session_options`.

    Raises:
        ModelError: It cannot be read, is not the embedded model that was shipped, or onnxruntime cannot load it.
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
    """Options of every session here and in the benchmarks.

    Args:
        threads: Threads of one inference, or ``None`` for the default of `FractureClassifier`.
    """
    options = ort.SessionOptions()
    options.intra_op_num_threads = threads or min(usable_cores(), MOST_THREADS)
    options.inter_op_num_threads = 1
    # Spinning workers keep a core busy after each answer and slow down whatever runs next.
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    if not exact_int8_sums():
        # Wider sums: slower, and the same answers as on every other processor.
        options.add_session_config_entry("session.x64quantprecision", "1")
    options.log_severity_level = 3
    return options


def open_session(name: str, data: bytes, threads: int | None) -> ort.InferenceSession:
    """Open a session for a model.

    Args:
        name: What messages call the model.
        data: The bytes of its ``.onnx`` file.
        threads: See `session_options`.

    Raises:
        ModelError: onnxruntime cannot load it.
    """
    try:
        return ort.InferenceSession(data, session_options(threads), providers=["CPUExecutionProvider"])
    except Exception as error:  # onnxruntime raises a dozen unrelated types
        raise ModelError(f"{name}: onnxruntime cannot load it ({str(error).splitlines()[0]})") from error


def read_info(name: str, session: ort.InferenceSession) -> "ModelInfo":
    """Read a model's metadata, and check that its graph is what they and this package expect.

    Args:
        name: What messages call the model.
        session: Its session.

    Raises:
        ModelError: There are none, they are damaged or of a newer schema, or the graph is another one.
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
