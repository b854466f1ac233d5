from dataclasses import replace
from typing import Any

import pytest

from benchmarks.records.result import result_of
from benchmarks.report.markdown import markdown, summary_table
from fracture_edge.errors import FractureEdgeError
from train.evaluation.formatting import markdown_cell, megabytes, milliseconds, probability


def _table(text: str, start: str) -> list[list[str]]:
    """Return the cells of the table whose header starts with `start`."""
    lines = text.splitlines()
    first = next(k for k, line in enumerate(lines) if line.startswith(start))
    body = []
    for line in lines[first + 2 :]:
        if not line.startswith("|"):
            break
        body.append([cell.strip() for cell in line.replace("\\|", "\0").strip("|").split("|")])
    assert {len(cells) for cells in body} == {lines[first].count("|") - 1}
    return body


def _row(result: dict[str, Any], name: str) -> dict[str, Any]:
    found: dict[str, Any] = next(row for row in result["rows"] if row["id"] == name)
    return found


def test_summary_table(result: dict[str, Any]) -> None:
    metrics = _row(result, "edge/onnx int8")["quality"]["metrics"]
    for name, value in (("auroc", 0.9051), ("accuracy", 0.8834), ("precision", 0.64), ("recall", 0.7869)):
        metrics[name] = {"value": value, "low": 0.0, "high": 1.0}
    metrics["f1"] = None
    text = summary_table(result_of(result))
    assert text.splitlines()[0] == "| model | format | MB | AUROC | accuracy | precision | recall | F1 | ms |"
    cells = {(row[0], row[1]): row[2:] for row in _table(text, "| model | format | MB |")}
    assert len(cells) == len(result["rows"])
    assert cells["edge", "onnx int8"] == ["3.77", "0.905", "0.883", "0.640", "0.787", "–", "3.9"]
    assert cells["vgg16", "tflite float16"] == ["42.3", "failed", "–", "–", "–", "–", "–"]
    # Quality without speed.
    assert cells["resnet50", "onnx float16"][-1] == "–"


def test_full_summary(result: dict[str, Any]) -> None:
    row = _row(result, "edge/onnx int8")
    row["quality"]["metrics"]["auroc"] = {"value": 0.9051, "low": 0.8551, "high": 0.9441}
    row["speed"]["1"]["inference_ms"] |= {"p50": 4.04, "p90": 5.06}
    row["peak_memory_mb"] = 91.6
    text = markdown(result_of(result))
    cells = {(row[0], row[1]): row[2:] for row in _table(text, "| model | format | MB | p50")}
    assert len(cells) == len(result["rows"]) + 1
    edge = cells["edge", "onnx int8"]
    assert edge[:3] == ["3.77", "4.0 / 5.1", "0.905 [0.855, 0.944]"]
    assert edge[-4:] == ["6.0", "190", "92", "accepted"]
    assert cells["vgg16", "tflite float16"] == ["42.3", "–", "failed", *["–"] * 10, "failed"]
    assert cells["edge", "tflite int8"][-1] == "rejected"
    assert cells["no model", "size and brightness"][2] == "0.620 [0.560, 0.680]"
    assert "- vgg16/tflite float16: RuntimeError: " in text
    assert "'CONV_2D' version '6' \\| &lt;truncated>" in text
    assert "- resnet50/onnx float16: speed not measured: timed out after 600 s" in text


def test_speed_that_was_measured_in_part(result: dict[str, Any]) -> None:
    row = _row(result, "edge/onnx int8")
    row["speed_error"] = "was killed by SIGKILL: out of memory?"
    row["speed"] = {"1": row["speed"]["1"] | {"file_to_decision_ms": None, "images_per_second": {"1": 250.0}}}
    text = markdown(result_of(result))
    (cells,) = (
        cells for cells in _table(text, "| model | format | threads |") if cells[:2] == ["edge", "onnx int8"]
    )
    assert cells[2] == "1"
    assert cells[4:] == ["–", "250", "–", "–"]
    assert "- edge/onnx int8: speed not all measured: was killed by SIGKILL: out of memory?" in text


def test_machine_and_data_are_described(result: dict[str, Any]) -> None:
    text = markdown(result_of(result))
    assert "The test split (fracatlas): 240 images of 80 groups, 63 of them fractured." in text
    assert "5 models in 25 rows (a row is one file through one runtime): 1 failed, 2 rejected" in text
    assert "on AMD EPYC (2 cores; avx2, avx512\\_vnni)" not in text
    assert "on AMD EPYC (2 cores; avx2, avx512_vnni), 23.5 GiB, Linux 6.18 x86_64, Python 3.11.7." in text
    assert "200 runs at batch 1 after warm-up, in 20 rounds" in text
    assert "A runner that does nothing takes 1.4 µs (p90 1.6 µs)." in text
    assert "the training of embedded: some of the images may have been seen" in text
    assert "Versions: keras 3.15.1, onnxruntime 1.32.0." in text


def test_paired_table_and_its_summary(result: dict[str, Any]) -> None:
    _row(result, "edge/onnx int8")["against_source"] = {
        "source": "edge/keras float32",
        "agreement": 0.9812,
        "largest_difference": 0.0821,
        "mean_difference": 0.0096,
        "auroc_change": {"value": -0.0204, "low": -0.0302, "high": -0.0101},
        "sensitivity_change": {"value": 0.0164, "low": 0.0, "high": 0.031},
        "specificity_change": None,
        "mcnemar": {"only_source_right": 9, "only_this_right": 0, "p": 0.0039},
    }
    text = markdown(result_of(result))
    cells = {(row[0], row[1]): row[2:] for row in _table(text, "| model | format | same decision")}
    assert cells["edge", "onnx int8"] == [
        "0.981",
        "9.6e-03 / 8.2e-02",
        "-0.020 [-0.030, -0.010]",
        "+0.016 [+0.000, +0.031]",
        "–",
        "9 / 0",
        "0.004",
    ]
    assert ("edge", "keras float32") not in cells
    assert ("vgg16", "tflite float16") not in cells
    said = next(line for line in text.splitlines() if line.startswith("Of 19 files"))
    worse, different = said.split("With decisions")
    assert "edge/onnx int8" in worse
    assert "edge/onnx int8" in different
    assert "edge/onnx float32" not in said


def test_tables_of_runtimes_subgroups_speed_and_models(result: dict[str, Any]) -> None:
    result["rows"][9]["quality"]["subgroups"][0] = {
        "by": "body_part",
        "value": "hand+leg",
        "images": 12,
        "fractured": 3,
        "auroc": None,
        "recall": {"value": 1.0, "low": 0.4385, "high": 1.0},
        "specificity": None,
    }
    text = markdown(result_of(result))
    assert ["vgg16", "int8", "108", "89.1", "–", "LiteRT wins: ONNX Runtime takes 1.21 times as long"] in _table(
        text, "| model | weights |"
    )
    groups = _table(text, "| by | value |")
    assert groups[0] == ["body part", "hand+leg", "12", "3", "–", "1.000 [0.439, 1.000]", "–"]
    speed = {tuple(row[:3]): row[3:] for row in _table(text, "| model | format | threads")}
    assert speed["edge", "onnx float32", "1"] == ["9.8 / 11.0 / 14.7", "11.9 / 13.3", "102", "126", "144"]
    assert speed["edge", "keras float32", "2"][1] == "–"
    assert ("resnet50", "onnx float16", "1") not in speed
    models = {row[0]: row[1:] for row in _table(text, "| model | architecture |")}
    assert models["edge"][:5] == ["edge", "224 x 224", "3.42", "0.220", "0.150 to 0.350"]
    assert models["edge"][5].startswith("recipe corrected, from random, 12 epochs (kept: 9), 2398 images")
    assert models["embedded"][2] == "–"
    assert models["embedded"][5] == "not known here"


def test_missing_values_are_accepted(result: dict[str, Any]) -> None:
    result["trivial_baseline"] = result["harness"] = None
    for row in result["rows"]:
        row["speed"] = row["first_answer_ms"] = row["against_source"] = None
    text = markdown(result_of(result))
    assert "For a device: nothing" in text
    assert "size and brightness |" not in text
    assert "A runner that does nothing" not in text


def test_hostile_names_stay_in_their_cell(result: dict[str, Any]) -> None:
    name = "a|b<script>alert(1)</script>\n# c"
    result["models"][name] = result["models"].pop("vgg16")
    for row in result["rows"]:
        if row["model"] == "vgg16":
            row["model"] = name
            row["id"] = f"{name}/{row['format']}"
    text = markdown(result_of(result))
    assert "<script" not in text
    assert "\n# c" not in text
    assert len(_table(text, "| model | format | MB | p50")) == len(result["rows"]) + 1


def test_another_schema_is_refused(result: dict[str, Any]) -> None:
    before = result_of(result)
    result["schema_version"] = 1
    with pytest.raises(FractureEdgeError, match="schema 1, not 2; run `fracture-edge benchmark` again"):
        result_of(result)
    # Nor can such a result be constructed.
    with pytest.raises(FractureEdgeError, match="schema 1, not 2"):
        replace(before, schema_version=1)


def test_equal_input_equal_text(result: dict[str, Any]) -> None:
    assert markdown(result_of(result)) == markdown(result_of(result))


def test_number_formats() -> None:
    assert [milliseconds(value) for value in (None, 4.04, 99.94, 135.4)] == ["–", "4.0", "99.9", "135"]
    assert [megabytes(size) for size in (3_815_767, 177_593_265)] == ["3.82", "177.6"]
    assert [probability(p) for p in (0.00099, 0.001, 1.0)] == ["< 0.001", "0.001", "1.000"]
    assert markdown_cell("a|b `c` <i> &amp; p < 0.001") == "a\\|b \\`c\\` &lt;i> &amp;amp; p < 0.001"


def test_a_note_if_every_image_is_its_own_group(result: dict[str, Any]) -> None:
    warning = "Every image is a group of its own: where several are of one patient, the intervals are narrower"
    assert warning not in markdown(result_of(result))
    result["data"]["groups"] = result["data"]["images"]
    assert warning in markdown(result_of(result))
