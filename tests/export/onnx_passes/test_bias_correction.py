"""What 8 bits shift on average is taken off the biases."""

from pathlib import Path

import numpy as np
import numpy.typing as npt
import onnx
import onnxruntime as ort
import pytest
from onnx import TensorProto, helper

from export.conversion.quantise import prepare, quantise
from export.onnx_passes.bias_correction import correct_biases
from export.recipes import FORMATS
from fracture_edge.runtimes.session import session_options

Pixels = npt.NDArray[np.uint8]


def _means(model: onnx.ModelProto, images: Pixels) -> dict[str, npt.NDArray[np.float64]]:
    """Channel means of what the convolutions give, by the name of the layer."""
    outputs = {node.name: node.output[0] for node in model.graph.node if node.op_type == "Conv"}
    probe = onnx.ModelProto()
    probe.CopyFrom(model)
    probe.graph.output.extend(
        helper.make_tensor_value_info(name, TensorProto.FLOAT, None) for name in outputs.values()
    )
    session = ort.InferenceSession(
        probe.SerializeToString(), session_options(1), providers=["CPUExecutionProvider"]
    )
    found = session.run(list(outputs.values()), {"image": images})
    return {
        name: np.asarray(values, np.float64).mean(axis=(0, 2, 3))
        for name, values in zip(outputs, found, strict=True)
    }


@pytest.mark.parametrize("target", ["x86", "arm64"])
def test_means_are_those_of_the_float_network(
    target: str, tiny_convolutions: Path, patches: Pixels, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    recipe = FORMATS[f"onnx_int8_static_{target}"]
    wanted = _means(onnx.load(tiny_convolutions), patches)
    quantise(tiny_convolutions, tmp_path / "corrected.onnx", patches, recipe)
    monkeypatch.setattr("export.conversion.quantise.correct_biases", lambda *_: None)
    quantise(tiny_convolutions, tmp_path / "plain.onnx", patches, recipe)
    corrected, plain = (_means(onnx.load(tmp_path / f"{name}.onnx"), patches) for name in ("corrected", "plain"))
    for layer in ("one", "deep"):
        before, after = (np.abs(found[layer] - wanted[layer]).max() for found in (plain, corrected))
        # onnxruntime rounds biases to steps of the scales of input and kernel: 6 / 255 times 30 / 127 at most.
        assert after < 6 / 255 * 30 / 127 / 2
        if layer == "deep":
            # Coarse kernels shift it far more.
            assert before > 20 * after
    assert np.abs(corrected["two"] - wanted["two"]).mean() < np.abs(plain["two"] - wanted["two"]).mean()


def test_only_biases_change(
    tiny_convolutions: Path, patches: Pixels, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("export.conversion.quantise.correct_biases", lambda *_: None)
    quantise(tiny_convolutions, tmp_path / "int8.onnx", patches, FORMATS["onnx_int8_static_x86"])
    prepare(tiny_convolutions, tmp_path / "prepared.onnx")
    model, before = onnx.load(tmp_path / "int8.onnx"), onnx.load(tmp_path / "int8.onnx")
    correct_biases(model, tmp_path / "prepared.onnx", patches)
    changed = {
        new.name
        for old, new in zip(before.graph.initializer, model.graph.initializer, strict=True)
        if old.SerializeToString() != new.SerializeToString()
    }
    biases = {node.input[2] for node in model.graph.node if node.op_type == "Conv" and len(node.input) > 2}
    assert changed == biases
    assert [node.SerializeToString() for node in model.graph.node] == [
        node.SerializeToString() for node in before.graph.node
    ]
