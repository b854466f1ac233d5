"""Layers kept in float32 stay it when onnxruntime opens the file."""

from pathlib import Path

import numpy as np
import numpy.typing as npt
import onnx
import onnxruntime as ort
import pytest
from onnx import numpy_helper

from export.conversion.quantise import quantise
from export.recipes import FORMATS
from fracture_edge.runtimes.session import session_options

Pixels = npt.NDArray[np.uint8]


def _answers(path: Path, images: Pixels, *disabled: str) -> npt.NDArray[np.float64]:
    session = ort.InferenceSession(
        path, session_options(1), providers=["CPUExecutionProvider"], disabled_optimizers=disabled
    )
    return np.asarray(session.run(None, {"image": images})[0], np.float64)


@pytest.mark.parametrize("target", ["x86", "safe", "arm64"])
def test_a_float_layer_is_not_quantised_when_the_file_is_opened(
    target: str, tiny_convolutions: Path, patches: Pixels, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = onnx.load(tiny_convolutions)
    (kernel,) = (entry for entry in model.graph.initializer if entry.name == "wd")
    # One scale for all channels leaves nothing of the others.
    values = numpy_helper.to_array(kernel) * np.array([100, 1, 1, 1, 1, 1, 1, 1], np.float32).reshape(8, 1, 1, 1)
    kernel.CopyFrom(numpy_helper.from_array(values, "wd"))
    onnx.save(model, tiny_convolutions)
    recipe = FORMATS[f"onnx_int8_static_{target}"]
    monkeypatch.setattr("export.conversion.quantise.correct_biases", lambda *_: None)
    wanted = _answers(tiny_convolutions, patches)

    def error(name: str, *disabled: str) -> float:
        found = _answers(tmp_path / name, patches, *disabled)
        return float(np.abs(found - wanted).mean())

    quantise(tiny_convolutions, tmp_path / "kept.onnx", patches, recipe, keep_float=["deep"])
    monkeypatch.setattr("export.conversion.quantise.protect_float_layers", lambda *_: None)
    quantise(tiny_convolutions, tmp_path / "bare.onnx", patches, recipe, keep_float=["deep"])
    # The same file but for the Clip: without onnxruntime's pass no different.
    assert error("kept.onnx") == pytest.approx(error("bare.onnx", "WeightBiasQuantization"), rel=0.05)
    # With it, and without the Clip, far off.
    assert error("bare.onnx") > 5 * error("kept.onnx")


def test_the_clip_is_where_it_is_needed_only(tiny_convolutions: Path, patches: Pixels, tmp_path: Path) -> None:
    recipe = FORMATS["onnx_int8_static_x86"]
    for name, kept in (("none.onnx", []), ("deep.onnx", ["deep"])):
        quantise(tiny_convolutions, tmp_path / name, patches, recipe, keep_float=kept)
    plain, deep = (onnx.load(tmp_path / name).graph for name in ("none.onnx", "deep.onnx"))
    assert not [node for node in plain.node if node.name.endswith("_unchanged")]
    (clip,) = [node for node in deep.node if node.name == "deep_unchanged"]
    stored = {entry.name: numpy_helper.to_array(entry) for entry in deep.initializer}
    (source,) = [node for node in deep.node if node.output[0] == clip.input[0]]
    scale = float(stored[source.input[1]])
    # All that uint8 from a zero point of 0 on can hold, behind a ReLU6.
    np.testing.assert_allclose([stored[name] for name in clip.input[1:]], [0.0, 255 * scale], rtol=1e-6)
