"""What the page shares with the program, and the golden file that its JavaScript is tested against."""

import base64
import json
import re
from pathlib import Path
from typing import Any

import pytest

from benchmarks.studies.page.golden import FILE, render
from benchmarks.studies.page.pictures import Drawn
from fracture_edge.attributes import Attribute, Attributes, BodyPartCode
from fracture_edge.modelfile import ModelInfo
from fracture_edge.policy import Policy, ReasonCode
from fracture_edge.suitability import Limits
from fracture_edge.web.contract import contract, model_record
from train.artifacts import OUT_OF_FOLD, VALIDATION

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
    for key in ("contract", "model", "columns", "specs", "policies", "described"):
        assert golden[key] == rendered[key], key


def test_golden_answers_are_those_of_the_program(golden: dict[str, Any], rendered: dict[str, Any]) -> None:
    assert len(golden["cases"]) > 60
    for before, now in zip(golden["cases"], rendered["cases"], strict=True):
        assert _exact(before) == _exact(now), before["name"]
        for old, new in zip(before["frames"], now["frames"], strict=True):
            for field in ("probability", "body_part_probability", "view_probability"):
                assert old["record"][field] == pytest.approx(new["record"][field], abs=TOLERANCE), field


def _exact(case: dict[str, Any]) -> list[Any]:
    """Return what is made of integers, or decided: the same on every machine."""
    keys = ("size", "grey", "colour", "aspect", "input", "specs")
    told = ("status", "reason_code", "body_part", "body_part_code", "view")
    return [
        [{key: frame.get(key) for key in keys}, [frame["record"][key] for key in told]] for frame in case["frames"]
    ]


def test_every_reason_has_a_sentence_for_the_page() -> None:
    found = contract()
    assert found["sentences"].keys() | {"pixel_aspect"} == {code.value for code in ReasonCode}
    assert found["high_pixels"].format(ratio=4.0) == (
        "low_image_quality: pixels 4 times as high as wide by the header, so the true shape is not known"
    )


def test_golden_file_has_every_remark_on_the_body_part(golden: dict[str, Any]) -> None:
    records = [frame["record"] for case in golden["cases"] for frame in case["frames"]]
    reasons = {record["body_part_code"]: record["reason"] for record in records}
    assert reasons.keys() == {None, *BodyPartCode}
    assert reasons[BodyPartCode.UNKNOWN].endswith("; body part not recognised")
    assert "; the header states " in reasons[BodyPartCode.CONTRADICTION]
    assert golden["columns"][-5:] == [
        "body_part",
        "body_part_probability",
        "body_part_code",
        "view",
        "view_probability",
    ]


def test_contract_is_plain_json() -> None:
    assert json.loads(json.dumps(contract(), allow_nan=False)) == contract()


def test_policies_are_those_of_the_model_whatever_their_names(tiny_info: ModelInfo) -> None:
    from dataclasses import asdict, replace

    strict = Policy(0.7, 0.6, 0.8)
    points = {
        "night_shift": asdict(tiny_info.policy) | {"sensitivity": 0.9, "images": OUT_OF_FOLD},
        "strict": asdict(strict) | {"specificity": 0.95, "wanted": "text"},
    }
    found = model_record(replace(tiny_info, operating_points=points), "abc", Attributes({}))
    assert [policy["name"] for policy in found["policies"]] == ["night_shift", "strict"]
    assert [policy["images"] for policy in found["policies"]] == ["out-of-fold", ""]
    assert found["policies"][1] == {
        "name": "strict",
        **asdict(strict),
        "images": "",
        "measured": {"specificity": 0.95},
    }
    assert found["limits"] == asdict(Limits.from_dict(tiny_info.suitability))
    assert (found["most_atypical"], found["sha256"]) == (None, "abc")


def test_a_default_without_a_name_comes_first(tiny_info: ModelInfo) -> None:
    found = model_record(tiny_info, "", Attributes({}))["policies"]
    assert found == [{"name": "", "threshold": 0.5, "uncertain_low": 0.4, "uncertain_high": 0.6}]


def test_further_outputs_are_those_of_metadata_and_graph(tiny_info: ModelInfo) -> None:
    further = Attributes({"view": Attribute(("frontal", "lateral"), 0.5)}, ("simple", "displaced"))
    found = model_record(tiny_info, "", further)
    assert found["attributes"] == {"view": {"labels": ["frontal", "lateral"], "threshold": 0.5}}
    assert found["classes"] == ["simple", "displaced"]
    assert found["columns"] == ["view", "view_probability", "classes"]
    none = model_record(tiny_info, "", Attributes({}))
    assert [none[key] for key in ("attributes", "classes", "columns")] == [{}, [], []]


def test_page_has_words_for_all_images_that_an_operating_point_is_fitted_to(repository: Path) -> None:
    texts = (repository / "web" / "src" / "page" / "texts.js").read_text(encoding="utf-8")
    words = {
        key.strip('"'): text
        for key, text in re.findall(r'^ +("?[\w-]*"?): "(On the validation images|Out of fold)\b', texts, re.M)
    }
    assert words[VALIDATION] == "On the validation images"
    assert words[OUT_OF_FOLD] == "Out of fold"


def test_javascript_has_no_sentence_of_its_own_for_a_decision(repository: Path) -> None:
    """The sentences are in one place: here. JavaScript would drift."""
    sources = "".join(path.read_text(encoding="utf-8") for path in (repository / "web" / "src").rglob("*.js"))
    found = contract()
    texts = [*found["sentences"].values(), *found["attributes"]["remarks"].values()]
    sentences = [text.partition(": ")[2] or text for text in texts]
    beginnings = [text.partition("{")[0] for text in sentences]
    assert [text for text in beginnings if len(text) > 10 and text in sources] == []
    assert "recordOf" in sources
