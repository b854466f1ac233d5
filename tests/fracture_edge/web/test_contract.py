"""What the page shares with the program, and the golden file that its JavaScript is tested against."""

import base64
import json
from pathlib import Path
from typing import Any

import pytest

from benchmarks.studies.page.golden import FILE, render
from benchmarks.studies.page.pictures import Drawn
from fracture_edge.modelfile import ModelInfo
from fracture_edge.policy import Policy, ReasonCode
from fracture_edge.suitability import Limits
from fracture_edge.web.contract import contract, model_record

pytest.importorskip("onnx")

#: Another onnxruntime, or another processor, may add up in another order.
TOLERANCE = 1e-5


@pytest.fixture(scope="module")
def golden() -> dict[str, Any]:
    found: dict[str, Any] = json.loads(FILE.read_text(encoding="utf-8"))
    return found


@pytest.fixture(scope="module")
def rendered(golden: dict[str, Any]) -> dict[str, Any]:
    files = [Drawn(case["name"], base64.b64decode(case["data"])) for case in golden["cases"]]
    found: dict[str, Any] = json.loads(render(files))
    return found


def test_golden_file_has_the_contract_and_the_model_of_now(
    golden: dict[str, Any], rendered: dict[str, Any]
) -> None:
    """After a change of either: `python -m benchmarks.studies page-golden`."""
    for key in ("contract", "model", "specs", "policies"):
        assert golden[key] == rendered[key], key


def test_golden_answers_are_those_of_the_program(golden: dict[str, Any], rendered: dict[str, Any]) -> None:
    assert len(golden["cases"]) > 60
    for before, now in zip(golden["cases"], rendered["cases"], strict=True):
        assert _exact(before) == _exact(now), before["name"]
        for old, new in zip(before["frames"], now["frames"], strict=True):
            assert old["record"]["probability"] == pytest.approx(new["record"]["probability"], abs=TOLERANCE)


def _exact(case: dict[str, Any]) -> list[Any]:
    """Return what is made of integers, or decided: the same on every machine."""
    keys = ("size", "grey", "colour", "aspect", "input", "specs")
    return [
        [{key: frame.get(key) for key in keys}, frame["record"]["status"], frame["record"]["reason_code"]]
        for frame in case["frames"]
    ]


def test_every_reason_has_a_sentence_for_the_page() -> None:
    found = contract()
    assert found["sentences"].keys() | {"pixel_aspect"} == {code.value for code in ReasonCode}
    assert found["high_pixels"].format(ratio=4.0) == (
        "low_image_quality: pixels 4 times as high as wide by the header, so the true shape is not known"
    )


def test_contract_is_plain_json() -> None:
    assert json.loads(json.dumps(contract(), allow_nan=False)) == contract()


def test_policies_are_those_of_the_model_whatever_their_names(tiny_info: ModelInfo) -> None:
    from dataclasses import asdict, replace

    strict = Policy(0.7, 0.6, 0.8)
    points = {
        "night_shift": asdict(tiny_info.policy) | {"sensitivity": 0.9},
        "strict": asdict(strict) | {"specificity": 0.95, "wanted": "text"},
    }
    found = model_record(replace(tiny_info, operating_points=points), "abc")
    assert [policy["name"] for policy in found["policies"]] == ["night_shift", "strict"]
    assert found["policies"][1] == {"name": "strict", **asdict(strict), "validation": {"specificity": 0.95}}
    assert found["limits"] == asdict(Limits.from_dict(tiny_info.suitability))
    assert (found["most_atypical"], found["sha256"]) == (None, "abc")


def test_a_default_without_a_name_comes_first(tiny_info: ModelInfo) -> None:
    found = model_record(tiny_info, "")["policies"]
    assert found == [{"name": "", "threshold": 0.5, "uncertain_low": 0.4, "uncertain_high": 0.6}]


def test_javascript_has_no_sentence_of_its_own_for_a_decision(repository: Path) -> None:
    """The sentences are in one place: here. JavaScript would drift."""
    sources = "".join(path.read_text(encoding="utf-8") for path in (repository / "web" / "src").rglob("*.js"))
    sentences = [text.partition(": ")[2] or text for text in contract()["sentences"].values()]
    beginnings = [text.partition("{")[0] for text in sentences]
    assert [text for text in beginnings if len(text) > 10 and text in sources] == []
    assert "recordOf" in sources
