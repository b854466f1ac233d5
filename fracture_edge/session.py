"""The onnxruntime session of a model, and what the model says about itself."""

import onnxruntime as ort

from fracture_edge.errors import ModelError
from fracture_edge.machine import exact_int8_sums, usable_cores
from fracture_edge.modelfile import INPUT_NAME, METADATA_KEY, OUTPUT_NAME, ModelInfo

#: One image keeps few cores busy; more threads than this cost start-up and win nothing.
MOST_THREADS = 4


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


def read_info(name: str, session: ort.InferenceSession) -> ModelInfo:
    """Read a model's metadata, and check that its graph is what they and this package expect.

    Args:
        name: What messages call the model.
        session: Its session.

    Raises:
        ModelError: There are none, they are damaged or of a newer schema, or the graph is another one.
    """
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
