"""Biases that make up for what 8 bits shift: the mean of every channel becomes that of the float network again.

Rounding a kernel shifts what a channel gives by an amount that is much the same for all images, above all behind
depthwise convolutions, whose kernels have few numbers. Such a shift can be taken off the bias for nothing (Nagel
et al., "Data-Free Quantization Through Weight Equalization and Bias Correction", ICCV 2019, section 4.2, with the
means of calibration images in place of their closed form).
"""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
import onnx
import onnxruntime as ort
from onnx import helper, numpy_helper

from export.onnx_passes.graph import initializers, set_constant
from fracture_edge.session import session_options

#: Images that the means are taken of.
IMAGES = 64

_Floats = npt.NDArray[np.float64]


def correct_biases(model: onnx.ModelProto, source: Path, images: npt.NDArray[np.uint8]) -> None:
    """Correct the biases of all quantised convolutions.

    Args:
        model: A QDQ model with float biases, see `export.onnx_passes.storage.as_float_biases`; changed in place.
        source: The float32 model that it was quantised from: its tensors have the same names.
        images: Training images, uint8 [N, H, W, 1]; `IMAGES` of them are used.
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
    # A bias that two layers share has no mean of its own.
    names = list(biases.values())
    biases = {output: name for output, name in biases.items() if names.count(name) == 1}
    if not biases:
        return
    wanted = _means(float32, [before[output] for output in biases], images)
    # One after the other: a layer's correction changes what the next ones get.
    for output, name in biases.items():
        shift = wanted[before[output]] - _means(model, [output], images)[output]
        values = numpy_helper.to_array(stored[name]) + shift
        set_constant(stored[name], values.astype(np.float32))


def _before_activation(model: onnx.ModelProto) -> dict[str, str]:
    """For every tensor of the float model the one that a convolution gives.

    A quantised convolution has the name of the activation behind it, which its scale and zero point stand for.
    """
    return {
        node.output[0]: node.input[0] if node.op_type in ("Relu", "Clip") else node.output[0]
        for node in model.graph.node
    }


def _means(model: onnx.ModelProto, tensors: Sequence[str], images: npt.NDArray[np.uint8]) -> dict[str, _Floats]:
    """Mean of each channel of tensors [N, channels, h, w] over images and positions."""
    probe = onnx.ModelProto()
    probe.CopyFrom(model)
    del probe.graph.output[:]
    probe.graph.output.extend(
        helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, None) for name in tensors
    )
    # Those of the package: a sum that overflowed on this processor would go into the biases.
    options = session_options(None)
    session = ort.InferenceSession(probe.SerializeToString(), options, providers=["CPUExecutionProvider"])
    sums = {name: np.zeros(1) for name in tensors}
    # All tensors of a batch at a time would take gigabytes.
    for row in range(len(images)):
        found = session.run(list(tensors), {session.get_inputs()[0].name: images[row : row + 1]})
        for name, values in zip(tensors, found, strict=True):
            sums[name] = sums[name] + np.asarray(values, np.float64).mean(axis=(0, 2, 3))
    return {name: total / len(images) for name, total in sums.items()}
