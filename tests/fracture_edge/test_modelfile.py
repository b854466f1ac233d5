import hashlib
import json
from dataclasses import replace
from pathlib import Path

import onnx
import pytest

from fracture_edge import modelfile
from fracture_edge.errors import ModelError
from fracture_edge.modelfile import METADATA_KEY, ModelInfo, embed_info, read_model
from fracture_edge.policy import Policy
from fracture_edge.preprocess import Preprocessing

FULL = ModelInfo(
    name="edge-int8",
    architecture="edge",
    precision="int8",
    preprocessing=Preprocessing(288, 224, "letterbox", "bicubic", 3),
    policy=Policy(0.45, 0.35, 0.6),
    calibration={"temperature": 1.25, "intercept": -0.5},
    training={"fingerprint": "abc", "epochs": 3, "data": ["fracatlas"]},
    metrics={"auc": 0.9},
    versions={"keras": "3.15.1"},
    licence="CC BY 4.0 – FracAtlas",
    created="2026-11-23T07:00:00Z",
)


def changed(**changes: object) -> str:
    return json.dumps(json.loads(FULL.to_json()) | changes)


def test_json_round_trip() -> None:
    assert ModelInfo.from_json(FULL.to_json()) == FULL
    assert FULL.to_json() == json.dumps(json.loads(FULL.to_json()), sort_keys=True)


def test_json_contents() -> None:
    values = json.loads(FULL.to_json())
    assert values["positive_class"] == "fractured"
    assert values["schema_version"] == 1
    assert values["policy"] == {"threshold": 0.45, "uncertain_low": 0.35, "uncertain_high": 0.6}
    assert values["preprocessing"] == {
        "height": 288,
        "width": 224,
        "framing": "letterbox",
        "filter": "bicubic",
        "pad": 3,
        "orientation": "as_is",
    }


def test_unknown_keys_are_ignored() -> None:
    assert ModelInfo.from_json(changed(colour="grey")) == FULL


def test_optional_keys_may_be_missing() -> None:
    values = json.loads(FULL.to_json())
    kept = ("name", "architecture", "precision", "preprocessing", "policy", "schema_version")
    info = ModelInfo.from_json(json.dumps({key: values[key] for key in kept}))
    assert info == ModelInfo("edge-int8", "edge", "int8", FULL.preprocessing, FULL.policy)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{", "the metadata is not JSON"),
        ("", "the metadata is not JSON"),
        ("[]", "the metadata has no schema version"),
        ("null", "the metadata has no schema version"),
        ("{}", "the metadata has no schema version"),
        (changed(schema_version="1"), "the metadata has no schema version"),
        (
            changed(schema_version=2),
            "the metadata has schema 2, this version reads up to 1: update fracture-edge",
        ),
        (changed(positive_class="normal"), "the positive class is 'normal', not 'fractured'"),
        (changed(policy=None), "policy: "),
        (changed(policy={"threshold": 0.5}), "policy: "),
        (changed(preprocessing=[]), "preprocessing: "),
        (changed(preprocessing={"height": 8}), "preprocessing: "),
        ('{"schema_version": 1}', "the metadata is incomplete ('preprocessing')"),
        (FULL.to_json().replace('"name"', '"title"'), "the metadata is incomplete ("),
    ],
)
def test_bad_json(text: str, message: str) -> None:
    with pytest.raises(ModelError) as caught:
        ModelInfo.from_json(text)
    assert str(caught.value).startswith(message)


def test_newer_schema_is_reported_first() -> None:
    # The other contents of a newer schema are not known, so no other error may be reported.
    with pytest.raises(ModelError, match="update fracture-edge"):
        ModelInfo.from_json('{"schema_version": 2}')


def test_embed_keeps_the_graph_and_other_metadata(tiny_model: Path, tiny_info: ModelInfo, tmp_path: Path) -> None:
    before = onnx.load(tiny_model)
    onnx.helper.set_model_props(before, {"producer": "someone", METADATA_KEY: "old"})
    onnx.save(before, tmp_path / "a.onnx")
    renamed = replace(tiny_info, name="renamed")
    embed_info(tmp_path / "a.onnx", renamed, tmp_path / "b.onnx")
    after = onnx.load(tmp_path / "b.onnx")
    assert {entry.key: entry.value for entry in after.metadata_props} == {
        "producer": "someone",
        METADATA_KEY: renamed.to_json(),
    }
    assert after.graph == before.graph
    assert [e.value for e in onnx.load(tmp_path / "a.onnx").metadata_props if e.key == METADATA_KEY] == ["old"]


def test_read_model(tmp_path: Path) -> None:
    (tmp_path / "x.onnx").write_bytes(b"abc")
    # SHA-256 of "abc" from FIPS 180-2.
    digest = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
    assert read_model(tmp_path / "x.onnx") == (str(tmp_path / "x.onnx"), b"abc", digest)


@pytest.mark.parametrize(("name", "message"), [("none.onnx", "No such file or directory"), ("", "Is a directory")])
def test_unreadable_model(name: str, message: str, tmp_path: Path) -> None:
    with pytest.raises(ModelError) as caught:
        read_model(tmp_path / name)
    assert str(caught.value) == f"{tmp_path / name}: {message}"


MODEL = b"a model"
RECORD = json.dumps({"sha256": hashlib.sha256(MODEL).hexdigest()})


def embedded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, model: bytes | None, record: str | None) -> None:
    monkeypatch.setattr(modelfile, "EMBEDDED_FILE", tmp_path / "models" / "edge-int8.onnx")
    folder = tmp_path / "models"
    folder.mkdir()
    if model is not None:
        (folder / "edge-int8.onnx").write_bytes(model)
    if record is not None:
        (folder / "edge-int8.json").write_text(record, encoding="utf-8")


def test_embedded_model_is_checked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    embedded(tmp_path, monkeypatch, MODEL, RECORD)
    assert read_model(None) == ("edge-int8", MODEL, json.loads(RECORD)["sha256"])


@pytest.mark.parametrize(
    ("model", "record", "trouble"),
    [
        (MODEL + b"!", RECORD, "damaged"),
        (b"", RECORD, "damaged"),
        (MODEL, '{"sha256": null}', "damaged"),
        (MODEL, RECORD[:20], "damaged"),
        (MODEL, "", "damaged"),
        (MODEL, "{}", "damaged"),
        (MODEL, None, "missing"),
        (None, RECORD, "missing"),
    ],
)
def test_embedded_model_that_is_not_the_shipped_one(
    model: bytes | None, record: str | None, trouble: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    embedded(tmp_path, monkeypatch, model, record)
    with pytest.raises(ModelError, match=f"^the embedded model is {trouble}: reinstall fracture-edge$"):
        read_model(None)
