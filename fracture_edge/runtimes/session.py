"""onnxruntime sessions, and the metadata of a model read through its session.

Pillow is imported late, because the embedded model is opened while other modules are still being imported.
"""

from typing import TYPE_CHECKING

import onnxruntime as ort

from fracture_edge.errors import ModelError
from fracture_edge.machine import exact_int8_sums
from fracture_edge.runtimes.threads import inference_threads

if TYPE_CHECKING:
    from fracture_edge.modelfile import ModelInfo


def session_options(threads: int | None) -> ort.SessionOptions:
    """Make the session options that the classifier and the benchmarks share.

    Args:
        threads: Number of threads of one inference; the default of `inference_threads` if ``None``.
    """
    options = ort.SessionOptions()
    options.intra_op_num_threads = inference_threads(threads)
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
