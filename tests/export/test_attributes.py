"""Outputs for body part and view in exported files, and in a file that gets them afterwards."""

import shutil
from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import numpy.typing as npt
import onnx
import pytest

from export.attributes import attach, check_other_outputs
from export.conversion.recentre import shift_onnx_bias
from export.onnx_passes.graph import drop_outputs
from export.options import ExportOptions
from export.recipes import LADDER, Budget, load_budgets, select
from export.run import export_model
from export.source import read_source
from fracture_edge.attributes import OUTPUTS
from fracture_edge.classifier import FractureClassifier
from fracture_edge.errors import FractureEdgeError
from fracture_edge.modelfile import INPUT_NAME, read_tflite_info
from fracture_edge.runtimes.session import open_session
from train.evaluation.attributes import Head, save_heads
from train.evaluation.localiser import Localiser, maps_of
from train.evaluation.onnx_features import described_tensor, file_features

#: A tiny network is exported in three formats: minutes.
pytestmark = pytest.mark.slow

FILES = ("edge-float32.onnx", "edge-int8.onnx")
HEADS = (*OUTPUTS, "classes")
BEFORE = ("probability", "heatmap", "atypicality", "classes")


@pytest.fixture(scope="module")
def exported(trained: Path, tmp_path_factory: pytest.TempPathFactory) -> SimpleNamespace:
    """The tiny edge with heads of its own: folder, heads, and the validation images' pixels."""
    import keras

    from train.evaluation.typicality import described_features

    artifacts = tmp_path_factory.mktemp("exported") / "artifacts"
    shutil.copytree(trained, artifacts)
    folder = artifacts / "edge"
    pixels = read_source(folder).validation()
    network = keras.saving.load_model(folder / "model.keras", compile=False)
    features = keras.Model(network.input, described_features(network, "edge")).predict_on_batch(pixels)
    random, spread = np.random.default_rng(0), features.std(axis=0) + 1e-3
    heads = {}
    for name, labels in (("body_part", ("hand", "leg", "hip", "shoulder")), ("view", ("frontal", "lateral"))):
        kernel = random.normal(size=(len(spread), len(labels))) / spread[:, None]
        heads[name] = Head(labels, kernel, np.linspace(-1, 1, len(labels)) - features.mean(axis=0) @ kernel, 0.6)
    kernel = random.normal(size=(len(spread), 3)) / spread[:, None]
    heads["classes"] = Head(
        ("x", "y", "z"), kernel, np.linspace(-1, 1, 3) - features.mean(axis=0) @ kernel, 0.5, exclusive=True
    )
    save_heads(heads, folder / "attributes.npz")
    maps = np.concatenate(list(maps_of(network, pixels)))
    localiser = Localiser(random.normal(size=maps.shape[-1]) / maps.std(axis=(0, 1, 2)).clip(1e-3), -1.0)
    localiser.save(folder / "localiser.npz")
    chances = 1 / (1 + np.exp(-localiser.log_odds(maps)))
    options = ExportOptions(
        budgets={**load_budgets(), "int8": Budget()},
        calibration_images=12,
        heatmap=True,
        ladder=[rung for rung in LADDER if rung.calibration == "minmax" and not rung.float_tail],
    )
    names = ["onnx_float32", "onnx_int8_static_x86", "tflite_float32"]
    export_model("edge", select(names=names), artifacts=artifacts, options=options)
    return SimpleNamespace(folder=folder, heads=heads, pixels=pixels, features=features, chances=chances)


def test_exported_heat_maps_are_those_of_the_localiser(exported: SimpleNamespace) -> None:
    (found,) = _run(onnx.load(exported.folder / FILES[0]), exported.pixels, ["heatmap"])
    wanted = exported.chances / exported.chances.max(axis=(1, 2), keepdims=True)
    # Sums of some dozens of float32 products of about 1.
    np.testing.assert_allclose(found, wanted, atol=1e-4)
    # 8-bit features are others, but the place of the largest is the same nearly always.
    (eight,) = _run(onnx.load(exported.folder / FILES[1]), exported.pixels, ["heatmap"])
    assert eight.shape == wanted.shape
    flat = [maps.reshape(len(maps), -1).argmax(axis=1) for maps in (eight, wanted)]
    assert np.mean(flat[0] == flat[1]) >= 0.7


def _run(model: onnx.ModelProto, pixels: npt.NDArray[np.uint8], names: Sequence[str]) -> list[np.ndarray]:
    # One thread: sums in float32 depend on the order.
    return list(open_session("x", model.SerializeToString(), 1).run(names, {INPUT_NAME: pixels}))


@pytest.mark.parametrize("file", FILES)
def test_exported_files_have_them(exported: SimpleNamespace, file: str) -> None:
    model = onnx.load(exported.folder / file)
    features = file_features(file, model, exported.pixels)
    # The int8 file computes other features than Keras, and its heads read those.
    if file == FILES[0]:
        np.testing.assert_allclose(features, exported.features, rtol=1e-3, atol=1e-4)
    for (name, head), found in zip(exported.heads.items(), _run(model, exported.pixels, HEADS), strict=True):
        assert found.shape == (len(exported.pixels), len(head.labels))
        # Log-odds of hundreds of terms in float32.
        np.testing.assert_allclose(found, head.probabilities(features), atol=1e-3, err_msg=name)
        # The labels differ by their biases, whatever the features of a network trained for one epoch are.
        assert np.ptp(found, axis=1).min() > 0.05
    info = FractureClassifier(exported.folder / file).info
    assert info.attributes == {name: exported.heads[name].metadata for name in OUTPUTS}
    assert info.classes == ["x", "y", "z"]


def test_the_heads_of_an_int8_file_are_float32(exported: SimpleNamespace) -> None:
    graph = onnx.load(exported.folder / "edge-int8.onnx").graph
    makers = {name: node for node in graph.node for name in node.output}
    for name in HEADS:
        behind, pending = set[str](), [name]
        while pending:
            node = makers.get(pending.pop())
            if node is not None and described_tensor(graph) not in node.output:
                behind.add(node.op_type)
                pending += node.input
        assert behind <= {"Sigmoid", "Softmax", "Gemm", "MatMul", "Add"}


def test_tflite(exported: SimpleNamespace) -> None:
    from ai_edge_litert.interpreter import Interpreter

    path = exported.folder / "edge-float32.tflite"
    assert read_tflite_info(path).attributes.keys() == set(OUTPUTS)
    interpreter = Interpreter(model_path=str(path))
    interpreter.allocate_tensors()
    interpreter.set_tensor(interpreter.get_input_details()[0]["index"], exported.pixels[:1])
    interpreter.invoke()
    shapes = {
        tuple(entry["shape"]): interpreter.get_tensor(entry["index"]) for entry in interpreter.get_output_details()
    }
    for head in exported.heads.values():
        found = shapes[1, len(head.labels)]
        np.testing.assert_allclose(found, head.probabilities(exported.features[:1]), atol=1e-3)
    (int8,) = select(names=["tflite_int8"])
    assert not int8.has_further_outputs


@pytest.mark.parametrize("file", FILES)
def test_attaching_leaves_all_else_as_it_is(exported: SimpleNamespace, file: str) -> None:
    model = onnx.load(exported.folder / file)
    before = _run(model, exported.pixels, (*BEFORE, *OUTPUTS))
    drop_outputs(model.graph, OUTPUTS)
    assert [entry.name for entry in model.graph.output if entry.name in OUTPUTS] == []
    bare = model.SerializeToString()
    heads = {name: exported.heads[name] for name in OUTPUTS}
    attach(model, heads)
    onnx.checker.check_model(model, full_check=True)
    after = _run(model, exported.pixels, (*BEFORE, *OUTPUTS))
    for old, new in zip(before[:4], after[:4], strict=True):
        np.testing.assert_array_equal(old, new)
    for old, new in zip(before[4:], after[4:], strict=True):
        np.testing.assert_allclose(old, new, atol=1e-5)
    once = model.SerializeToString()
    attach(model, heads)
    assert model.SerializeToString() == once
    drop_outputs(model.graph, OUTPUTS)
    assert model.SerializeToString() == bare


def test_a_file_without_typicality_is_refused(exported: SimpleNamespace) -> None:
    model = onnx.load(exported.folder / "edge-float32.onnx")
    drop_outputs(model.graph, ["atypicality", *OUTPUTS])
    with pytest.raises(FractureEdgeError, match="no output 'atypicality', whose features are needed"):
        attach(model, exported.heads)


def test_a_change_of_another_output_is_noticed(exported: SimpleNamespace, tmp_path: Path) -> None:
    source = exported.folder / "edge-int8.onnx"
    check_other_outputs(source, source, exported.pixels)
    model = onnx.load(source)
    drop_outputs(model.graph, OUTPUTS)
    onnx.save(model, tmp_path / "bare.onnx")
    check_other_outputs(tmp_path / "bare.onnx", source, exported.pixels)
    shift_onnx_bias(tmp_path / "bare.onnx", 1e-3)
    with pytest.raises(FractureEdgeError, match="the output 'probability' changed, which should stay as it was"):
        check_other_outputs(tmp_path / "bare.onnx", source, exported.pixels)
