"""Metrics by the body part that a model file sees itself, where the data say none."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper
from PIL import Image

from benchmarks.predicted_parts import predicted_parts
from benchmarks.quality import subgroups
from benchmarks.records.measured_row import Speed
from benchmarks.records.result import Run
from benchmarks.report.html import html
from benchmarks.report.markdown import markdown
from benchmarks.report.predictions import read_predictions
from benchmarks.run import BenchmarkOptions, _without, benchmark
from benchmarks.run_files import read_run, write_run
from benchmarks.speed.latency import Percentiles
from fracture_edge.modelfile import ModelInfo, embed_info
from train.evaluation.metrics import auroc, wilson

PARTS = ("hand", "leg", "hip", "shoulder")
ROW, COLUMN = "tiny/onnx float32", "tiny/onnx float32: body part"
#: Grey levels of the images of the test split, fractured ones and others.
GREYS = {1: (180, 185, 190, 195, 200, 50, 128), 0: (182, 187, 192, 197, 202, 60, 70, 126, 130)}


@pytest.fixture(scope="module")
def model(
    write_graph: Callable[..., Path], tiny_info: ModelInfo, tmp_path_factory: pytest.TempPathFactory
) -> Path:
    """Log-odds of hand, leg and hip: d / 8, -d / 8 and (d - 48) / 16, where d = mean grey - 128."""
    path = write_graph(tmp_path_factory.mktemp("predicted") / "tiny.onnx")
    graph = onnx.load(path)
    slopes, biases = np.array([[1 / 8, -1 / 8, 1 / 16, 0]]), np.array([-16, 16, -11, -9])
    for name, values in (("slopes", slopes), ("biases", biases)):
        graph.graph.initializer.append(numpy_helper.from_array(values.astype(np.float32), f"part_{name}"))
    graph.graph.node.append(helper.make_node("Gemm", ["mean", "part_slopes", "part_biases"], ["part_odds"]))
    graph.graph.node.append(helper.make_node("Sigmoid", ["part_odds"], ["body_part"]))
    graph.graph.output.append(helper.make_tensor_value_info("body_part", TensorProto.FLOAT, ["N", 4]))
    onnx.save(graph, path)
    attributes = {"body_part": {"labels": list(PARTS), "threshold": 0.6}}
    embed_info(path, replace(tiny_info, attributes=attributes), path)
    return path


@pytest.fixture(scope="module")
def run(model: Path, tmp_path_factory: pytest.TempPathFactory) -> Run:
    base = tmp_path_factory.mktemp("run")
    lines = ["path,label,split,group"]
    for split, greys in (("train", {0: (40, 90), 1: (140, 190)}), ("test", GREYS)):
        for label, levels in greys.items():
            folder = f"{split}/{'fractured' if label else 'normal'}"
            (base / "data" / folder).mkdir(parents=True)
            for grey in levels:
                Image.fromarray(np.full((64, 64), grey, np.uint8)).save(base / f"data/{folder}/{grey}.png")
                lines.append(f"{folder}/{grey}.png,{label},{split},{split}{grey}")
    (base / "splits.csv").write_text("\n".join(lines))
    options = BenchmarkOptions(data=base / "data", splits=base / "splits.csv", openvino=False)
    return benchmark([str(model)], options)


def test_several_parts_count_as_the_likeliest(model: Path) -> None:
    pixels = np.broadcast_to(np.array([192, 128, 64], np.uint8)[:, None, None, None], (3, 64, 64, 1))
    # At 192 the hip is likely, too: sigmoid(1) = 0.73. At 128 hand and leg have 0.5 each.
    assert predicted_parts(model, pixels, threads=1) == ["hand", "not recognised", "leg"]


def test_a_file_without_that_output(tiny_model: Path) -> None:
    assert predicted_parts(tiny_model, np.zeros((1, 64, 64, 1), np.uint8), threads=1) is None


def test_subgroups_by_the_models_own_parts(run: Run) -> None:
    (row,) = run.result.rows
    assert row.quality is not None
    found = {group.value: group for group in row.quality.subgroups}
    assert {group.by for group in found.values()} == {"predicted_body_part"}
    assert {value: (group.images, group.fractured) for value, group in found.items()} == {
        "hand": (10, 5),
        "leg": (3, 1),
        "not recognised": (3, 1),
    }
    # All hands are above 128 grey and so called fractured, all legs below.
    hands = found["hand"]
    assert (hands.recall, hands.specificity) == (wilson(5, 5), wilson(0, 5))
    levels = sorted([*GREYS[1][:5], *GREYS[0][:5]])
    labels = [int(grey in GREYS[1]) for grey in levels]
    paths = [f"test{grey}" for grey in levels]
    scores = 1 / (1 + np.exp(4 - np.array(levels) / 32))
    assert hands.auroc.value == pytest.approx(auroc(labels, scores, paths).value)
    # Each fractured hand is 2 grey levels darker than its neighbour: 4 + 3 + 2 + 1 of 25 pairs.
    assert hands.auroc.value == pytest.approx(10 / 25)
    assert (found["leg"].recall, found["leg"].specificity) == (wilson(0, 1), wilson(2, 2))
    assert not found["leg"].auroc.defined


def test_they_are_in_the_files_and_the_report_says_whose_they_are(run: Run, tmp_path: Path) -> None:
    output = tmp_path / "run.json"
    write_run(run, output, force=False)
    again = read_run(output)
    assert {row[COLUMN] for row in again.predictions} == {"hand", "leg", "not recognised"}
    (row,) = again.result.rows
    assert row.quality is not None
    assert subgroups(again.predictions, ROW, 0.5) == row.quality.subgroups
    predictions = read_predictions(tmp_path / "run.csv")
    assert list(predictions.columns) == [ROW]
    # The table is that of the recommended file, which needs a latency.
    speed = {"1": Speed(Percentiles(1.0, 1.0, 1.0, 200), None, {})}
    result = replace(again.result, rows=(replace(row, speed=speed),))
    for text in (markdown(result), html(result, predictions)):
        assert "predicted body part" in text
        assert "the likeliest where it sees several" in text
        assert "hand+leg" not in text
    assert COLUMN not in _without("tiny", again).predictions[0]
