from typing import Any

import pytest

from benchmarks.records.result import result_of
from benchmarks.report.runtimes import compare_runtimes, verdict


@pytest.mark.parametrize(
    ("onnx", "litert", "openvino", "text"),
    [
        (4.0, 5.0, 6.0, "ONNX Runtime is the fastest; LiteRT takes 1.25 times as long"),
        (4.0, 4.0, None, "ONNX Runtime is the fastest; LiteRT takes 1.00 times as long"),
        (4.6, 5.0, 4.0, "within 1.15 of the fastest: 1.15 times OpenVINO"),
        (10.44, 7.07, 9.0, "LiteRT wins: ONNX Runtime takes 1.48 times as long"),
        (4.0, None, None, "no other runtime was measured"),
        (None, 4.0, None, "ONNX Runtime was not measured"),
    ],
)
def test_verdict(onnx: float | None, litert: float | None, openvino: float | None, text: str) -> None:
    assert verdict({"onnxruntime": onnx, "litert": litert, "openvino": openvino}) == text


def test_same_variant_in_every_runtime(result: dict[str, Any]) -> None:
    found = {duel.model: duel for duel in compare_runtimes(result_of(result))}
    assert list(found) == ["custom_cnn", "edge", "resnet50", "vgg16", "embedded"]
    assert found["edge"].medians == {
        "onnxruntime": pytest.approx(3.92),
        "litert": pytest.approx(3.234),
        "openvino": None,
    }
    assert found["edge"].rejected == ("litert",)
    assert found["edge"].verdict == "LiteRT wins: ONNX Runtime takes 1.21 times as long"
    assert found["vgg16"].rejected == ()
    assert found["embedded"].verdict == "no other runtime was measured"


def test_variants_of_one_runtime_are_omitted_and_failures_are_reported(result: dict[str, Any]) -> None:
    rows = {row["id"]: row for row in result["rows"]}
    rows["edge/onnx float16"]["format"] = "onnx int8-safe"
    rows["vgg16/onnx int8"]["error"] = "OSError"
    rows["vgg16/onnx int8"]["speed"] = None
    found = {(duel.model, duel.variant): duel.verdict for duel in compare_runtimes(result_of(result))}
    assert ("edge", "int8-safe") not in found
    assert found["vgg16", "int8"] == "ONNX Runtime was not measured"
