"""Features of images by an ONNX file, those that its output ``atypicality`` is computed from.

They are what `train.evaluation.typicality.described_features` gives in Keras, by the arithmetic of the file. So
further outputs can be fitted to a file whose network is not at hand in Keras.
"""

import re
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from fracture_edge.errors import FractureEdgeError
from fracture_edge.modelfile import INPUT_NAME
from fracture_edge.runtimes.session import open_session

if TYPE_CHECKING:
    import onnx

#: Principal axes of the typicality, by the name that tf2onnx gives them.
_AXES = re.compile(r"/typicality_axes(_\d+)?/")
_BATCH = 16


def described_tensor(graph: "onnx.GraphProto") -> str:
    """Return the name of the tensor with the features, float32 [N, K].

    Raises:
        FractureEdgeError: The graph has no output ``atypicality`` of `train.evaluation.typicality`.
    """
    stored = {entry.name for entry in graph.initializer}
    makers = {name: node for node in graph.node for name in node.output}
    for node in graph.node:
        if node.op_type == "MatMul" and any(name in stored and _AXES.search(name) for name in node.input):
            centred = makers[next(name for name in node.input if name not in stored)]
            if centred.op_type == "Sub":
                return str(next(name for name in centred.input if name not in stored))
    raise FractureEdgeError(
        "the file has no output 'atypicality', whose features are needed; train and export again"
    )


def file_features(name: str, model: "onnx.ModelProto", pixels: npt.NDArray[np.uint8]) -> npt.NDArray[np.float64]:
    """Compute the features of images.

    Args:
        name: Name of the file in messages.
        model: Model with an output ``atypicality``.
        pixels: Images, uint8 [N, H, W, 1], preprocessed as the file says.

    Returns:
        Features, float64 [N, K].

    Raises:
        FractureEdgeError: The graph has no such output, or onnxruntime cannot load it.
    """
    import onnx

    tensor = described_tensor(model.graph)
    probe = onnx.ModelProto()
    probe.CopyFrom(model)
    probe.graph.output.append(onnx.helper.make_tensor_value_info(tensor, onnx.TensorProto.FLOAT, None))
    session = open_session(name, probe.SerializeToString(), None)
    batches = (pixels[start : start + _BATCH] for start in range(0, len(pixels), _BATCH))
    return np.concatenate([session.run([tensor], {INPUT_NAME: batch})[0] for batch in batches]).astype(np.float64)
