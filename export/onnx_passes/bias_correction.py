"""Bias correction: restore the mean of every output channel that int8 quantisation has shifted.

Rounding a kernel shifts the output of a channel by nearly the same amount for all images, most of all in depthwise
convolutions, whose kernels have few weights. Subtracting this shift from the bias costs nothing at inference
(Nagel et al., "Data-Free Quantization Through Weight Equalization and Bias Correction", ICCV 2019, section 4.2,
with means over calibration images in place of their closed form).
"""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
import onnx
import onnxruntime as ort
from onnx import helper, numpy_helper

from export.onnx_passes.graph import initializers, set_constant
from fracture_edge.runtimes.session import session_options

#: Number of images for the channel means.
IMAGES = 64

_Floats = npt.NDArray[np.float64]


def correct_biases(model: onnx.ModelProto, source: Path, images: npt.NDArray[np.uint8]) -> None:
    """Correct the biases of all quantised convolutions.

    Args:
        model: QDQ model with float biases, see `export.onnx_passes.storage.as_float_biases`; changed in place.
        source: Path of the float32 model that it was quantised from; its tensors have the same names.
        images: Training images, uint8 [N, H, W, 1]; the first `IMAGES` are used.
    """
    images = images[:IMAGES]
    stored = initializers(model.graph)
    biases = {
        node.output[0]: node.input[2]
        for node in model.graph.node
        if node.op_type == "Conv" and len(node.input) > 2 and node.input[2] in stored
    }
    float32 = onnx.load(source)
    before = _before_activation(float32)
    biases = {output: name for output, name in biases.items() if output in before}
    # A bias shared by two layers cannot be corrected for both.
    names = list(biases.values())
    biases = {output: name for output, name in biases.items() if names.count(name) == 1}
    if not biases:
        return
    wanted = _channel_means(float32, [before[output] for output in biases], images)
    # One layer after the other: correcting a layer changes the inputs of the next ones.
    for output, name in biases.items():
        shift = wanted[before[output]] - _channel_means(model, [output], images)[output]
        values = numpy_helper.to_array(stored[name]) + shift
        set_constant(stored[name], values.astype(np.float32))


def _before_activation(model: onnx.ModelProto) -> dict[str, str]:
    """Map each node's output in the float model to the tensor before its activation.

    The output of a quantised convolution has the name of the activation after it, which is merged into its scale
    and zero point.
    """
    return {
        node.output[0]: node.input[0] if node.op_type in ("Relu", "Clip") else node.output[0]
        for node in model.graph.node
    }


def _channel_means(
    model: onnx.ModelProto, tensors: Sequence[str], images: npt.NDArray[np.uint8]
) -> dict[str, _Floats]:
    """Compute the mean of each channel of tensors [N, channels, h, w] over images and positions."""
    probe = onnx.ModelProto()
    probe.CopyFrom(model)
    del probe.graph.output[:]
    probe.graph.output.extend(
        helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, None) for name in tensors
    )
    # The package's own session options: a sum that overflows on this processor would end up in the biases.
    options = session_options(None)
    session = ort.InferenceSession(probe.SerializeToString(), options, providers=["CPUExecutionProvider"])
    sums = {name: np.zeros(1) for name in tensors}
    # One image at a time: all tensors of a batch would take gigabytes.
    for row in range(len(images)):
        found = session.run(list(tensors), {session.get_inputs()[0].name: images[row : row + 1]})
        for name, values in zip(tensors, found, strict=True):
            sums[name] = sums[name] + np.asarray(values, np.float64).mean(axis=(0, 2, 3))
    return {name: total / len(images) for name, total in sums.items()}
