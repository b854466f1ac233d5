import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from benchmarks.report.changes import changes
from benchmarks.report.predictions import Predictions, read_predictions
from fracture_edge.errors import FractureEdgeError
from train.evaluation.paired import compare_pairs

Run = tuple[dict[str, Any], Predictions]
Write = Callable[[str, Run], Path]


def _row(run: Run, name: str) -> dict[str, Any]:
    found: dict[str, Any] = next(row for row in run[0]["rows"] if row["id"] == name)
    return found


def _cells(text: str, start: str) -> list[list[str]]:
    return [
        [cell.strip() for cell in line.strip("|").split("|")]
        for line in text.splitlines()
        if line.startswith(start)
    ]


def test_identical_runs_say_nothing_changed(run: Run, written: Write) -> None:
    a = written("a", run)
    assert changes(a, a) == (
        "# From 2026-11-25T04:00:00+00:00 (A) to 2026-11-25T04:00:00+00:00 (B)\n\nNothing changed.\n"
    )
    # Under another name, and later.
    run[0]["created"] = "2026-11-26T04:00:00+00:00"
    assert changes(a, written("b", run)).endswith("(B)\n\nNothing changed.\n")


def test_new_gone_and_changed_rows(run: Run, written: Write) -> None:
    a = written("a", run)
    rows = run[0]["rows"]
    rows.remove(_row(run, "vgg16/onnx float32"))
    rows.append(_row(run, "edge/onnx int8") | {"id": "edge/onnx int8-safe", "format": "onnx int8-safe"})
    run[1].columns["edge/onnx int8-safe"] = run[1].columns["edge/onnx int8"]
    edge = _row(run, "edge/onnx float32")
    edge["sha256"], edge["bytes"], edge["gate"] = "cd" * 32, 6_740_381, "rejected"
    edge["quality"]["metrics"]["auroc"]["value"] -= 0.0125
    edge["quality"]["metrics"]["ece"] = None
    edge["speed"]["1"]["inference_ms"]["p50"] = 9.8 * 1.5
    # Within the noise of two runs.
    edge["speed"]["2"]["inference_ms"]["p50"] *= 1.09
    edge["peak_memory_mb"] = None
    failed = _row(run, "vgg16/tflite float16")
    failed["error"] = "OSError: |"
    text = changes(a, written("b", run))
    assert "New rows: edge/onnx int8-safe.\n" in text
    assert "Gone: vgg16/onnx float32.\n" in text
    area = edge["quality"]["metrics"]["auroc"]["value"]
    assert _cells(text, "| edge | onnx float32 |") == [
        ["edge", "onnx float32", "gate", "accepted", "rejected", ""],
        ["edge", "onnx float32", "file (sha256)", "abababababab", "cdcdcdcdcdcd", ""],
        ["edge", "onnx float32", "MB", "13.5", "6.74", "x 0.50"],
        ["edge", "onnx float32", "auroc", f"{area + 0.0125:.4f}", f"{area:.4f}", "-0.0125"],
        ["edge", "onnx float32", "ece", "0.0310", "–", ""],
        ["edge", "onnx float32", "inference p50 ms, threads: 1", "9.8", "14.7", "x 1.50"],
    ]
    assert "| vgg16 | tflite float16 | error | RuntimeError: Didn't find op" in text
    assert "| OSError: \\| |" in text
    assert "cannot be compared" not in text
    assert "in pairs" not in text


def test_rows_of_both_runs_are_compared_in_pairs(run: Run, written: Write) -> None:
    a = written("a", run)
    labels, groups = run[1].labels.tolist(), run[1].groups
    old = run[1].columns["edge/onnx int8"].copy()
    # Close to chance, within 6 decimals: every prediction mixed with noise.
    new = (0.4 * old + 0.6 * np.random.default_rng(0).random(len(old))).round(6)
    run[1].columns["edge/onnx int8"] = new
    text = changes(a, written("b", run))
    expected = compare_pairs(labels, groups, old, new, 0.22).to_json()
    (cells,) = _cells(text.split("## The same images in pairs")[1], "| edge |")
    assert cells[:3] == ["edge", "onnx int8", f"{expected['agreement']:.3f}"]
    assert cells[4].startswith(f"{expected['auroc_change']['value']:+.3f} [")
    assert expected["auroc_change"]["high"] < 0
    test = expected["mcnemar"]
    assert cells[7] == f"{test['only_source_right']} / {test['only_this_right']}"
    assert cells[8] == "< 0.001"
    assert "Both at the threshold of A." in text


def test_images_without_a_group_are_groups_of_their_own(run: Run, written: Write) -> None:
    result, old = run
    ungrouped = Predictions(old.paths, old.labels, ("",) * len(old.paths), old.columns)
    assert read_predictions(written("a", (result, ungrouped)).with_suffix(".csv")).groups == old.paths


def test_order_of_the_images_does_not_matter(run: Run, written: Write) -> None:
    a = written("a", run)
    result, old = run
    turned = Predictions(
        old.paths[::-1],
        old.labels[::-1],
        old.groups[::-1],
        {name: old.columns[name][::-1] for name in old.columns},
    )
    assert changes(a, written("b", (result, turned))).endswith("Nothing changed.\n")


@pytest.mark.parametrize("what", ["path", "label"])
def test_other_images_are_not_compared(run: Run, written: Write, what: str) -> None:
    a = written("a", run)
    result, old = run
    paths, labels = list(old.paths), old.labels.copy()
    if what == "path":
        paths[0] = "another.jpg"
    else:
        labels[0] = 1 - labels[0]
    other = Predictions(tuple(paths), labels, old.groups, old.columns)
    assert "The images are not the same ones" in changes(a, written("b", (result, other)))


def test_differences_that_make_runs_incomparable_are_reported(run: Run, written: Write) -> None:
    a = written("a", run)
    result = run[0]
    result["data"]["fingerprint"] = "0" * 32
    result["environment"]["cpu"] = "Cortex-A76"
    result["environment"]["versions"]["onnxruntime"] = "1.33.0"
    result["settings"]["runs"] = 400
    result["models"]["edge"]["threshold"] = 0.3
    text = changes(a, written("b", run))
    assert "Not the same data: figures of quality cannot be compared.**\n\n- fingerprint: 3f1f" in text
    assert (
        "timings cannot be compared.**\n\n- cpu: AMD EPYC, now Cortex-A76\n- onnxruntime: 1.32.0, now 1.33.0\n"
        "- runs: 200, now 400\n"
    ) in text
    assert "changes of quality are theirs, not those of a format.**\n\n- edge: threshold: 0.22, now 0.3\n" in text


def test_without_the_csv_the_pairs_are_omitted(run: Run, written: Write) -> None:
    a = written("a", run)
    _row(run, "edge/onnx int8")["bytes"] = 1_000_000
    b = written("b", run)
    b.with_suffix(".csv").unlink()
    text = changes(a, b)
    assert "| edge | onnx int8 | MB | 3.77 | 1.00 | x 0.26 |" in text
    assert "b.csv is not beside its JSON" in text


def test_files_that_are_not_runs_are_refused(run: Run, written: Write, tmp_path: Path) -> None:
    a = written("a", run)
    with pytest.raises(FractureEdgeError, match=r"gone\.json: No such file"):
        changes(a, tmp_path / "gone.json")
    other = tmp_path / "other.json"
    for text, message in (
        ("{", "not JSON"),
        ("[]", "not the RUN.json of a benchmark"),
        (json.dumps({"schema_version": 1}), "schema 1, not 2"),
    ):
        other.write_text(text, encoding="utf-8")
        with pytest.raises(FractureEdgeError, match=message):
            changes(a, other)


def test_the_csv_name_in_the_json_cannot_leave_the_folder(run: Run, written: Write, tmp_path: Path) -> None:
    a = written("a", run)
    result = json.loads(a.read_text(encoding="utf-8"))
    result["data"]["predictions"] = "../../a.csv"
    b = tmp_path / "b.json"
    b.write_text(json.dumps(result), encoding="utf-8")
    assert changes(a, b).endswith("Nothing changed.\n")


def test_predictions_are_read_as_written(run: Run, written: Write) -> None:
    read = read_predictions(written("a", run).with_suffix(".csv"))
    assert read.paths == run[1].paths
    assert read.groups == run[1].groups
    np.testing.assert_array_equal(read.labels, run[1].labels)
    assert read.columns.keys() == run[1].columns.keys()
    assert "vgg16/tflite float16" not in read.columns
    for name, scores in read.columns.items():
        np.testing.assert_array_equal(scores, run[1].columns[name])


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "no per-image probabilities"),
        ("a,b\n1,2\n", "no per-image probabilities"),
        ("path,label,group,m/x\na,1,g,0.5\nb,yes,g,0.5\n", "a damaged row"),
        ("path,label,group,m/x\na,1,g,0.5\nb,1,g,much\n", "a damaged row"),
    ],
)
def test_damaged_predictions(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "x.csv"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(FractureEdgeError, match=message):
        read_predictions(path)
    with pytest.raises(FractureEdgeError, match="belongs beside the JSON"):
        read_predictions(tmp_path / "none.csv")
