import hashlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from benchmarks import rows as module
from benchmarks.rows import rows_of
from fracture_edge.classifier import FractureClassifier
from fracture_edge.errors import FractureEdgeError, ModelError
from train.export_record import ExportEntry
from train.json_records import to_plain


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


@pytest.fixture(autouse=True)
def with_openvino(monkeypatch: pytest.MonkeyPatch) -> None:
    """Pretend that OpenVINO is installed."""
    monkeypatch.setattr(module, "find_spec", lambda name: object())


@pytest.fixture
def artifacts(tmp_path: Path, make_export_entry: Callable[..., ExportEntry]) -> Path:
    """Create the folder of one model; each file contains its own name."""
    folder = tmp_path / "int8net"
    (folder / "rejected").mkdir(parents=True)
    (folder / "model.keras").write_text("weights")
    entries = [
        ("int8net-float32.onnx", "onnx_float32", "float32", {}),
        ("int8net-int8-arm64.onnx", "onnx_int8_static_arm64", "int8", {}),
        ("int8net-int8.onnx", "onnx_int8_static_x86", "int8", {}),
        ("int8net-factorised64-pruned80-int8-full.tflite", "tflite_int8_full", "int8", {}),
        ("int8net-float16.tflite", "tflite_float16", "float16", {}),
        ("rejected/int8net-int8.onnx", "onnx_int8_static_x86", "int8", {"broken": ["same_decision 0.9"]}),
    ]  # fmt: skip
    for file, *_ in entries:
        (folder / file).write_text(file)
    files = {
        file: make_export_entry(
            recipe=recipe,
            precision=precision,
            bytes=len(file),
            sha256=_digest(file),
            source_sha256=_digest("weights"),
            **more,
        )
        for file, recipe, precision, more in entries
    }
    _write_manifest(folder, to_plain(files))
    return tmp_path


def _write_manifest(folder: Path, files: dict[str, Any], schema: int = 2) -> None:
    manifest = {
        "schema_version": schema,
        "model": folder.name,
        "positive_class": "fractured",
        "files": files,
    }
    (folder / "export.json").write_text(json.dumps(manifest))


def _change(folder: Path, file: str, **values: Any) -> None:
    files = json.loads((folder / "export.json").read_text())["files"]
    files[file] |= values
    _write_manifest(folder, files)


def test_rows_of_a_model(artifacts: Path) -> None:
    rows = rows_of("int8net", artifacts)
    assert [(row.id, row.runtime, row.precision, row.gate) for row in rows] == [
        ("int8net/keras float32", "keras", "float32", None),
        ("int8net/onnx float32", "onnxruntime", "float32", "accepted"),
        ("int8net/openvino float32", "openvino", "float32", "accepted"),
        ("int8net/onnx int8-arm64", "onnxruntime", "int8", "accepted"),
        ("int8net/onnx int8", "onnxruntime", "int8", "accepted"),
        ("int8net/openvino int8", "openvino", "int8", "accepted"),
        ("int8net/tflite int8-full factorised64-pruned80", "litert", "int8", "accepted"),
        ("int8net/tflite float16", "litert", "float16", "accepted"),
    ]
    assert (rows[0].file, rows[0].bytes, rows[0].sha256) == ("model.keras", 7, _digest("weights"))
    assert rows[4].path == artifacts / "int8net" / "int8net-int8.onnx"
    assert (rows[4].file, rows[4].bytes) == ("int8net-int8.onnx", 17)
    assert rows[4].sha256 == rows[5].sha256 == _digest("int8net-int8.onnx")


def test_rejected_files_are_included_on_request_under_their_own_name(artifacts: Path) -> None:
    rows = rows_of("int8net", artifacts, openvino=False, rejected=True)
    assert [row.format for row in rows if row.gate == "rejected"] == ["onnx int8 rejected"]
    assert rows[-1].path == artifacts / "int8net" / "rejected" / "int8net-int8.onnx"
    assert len({row.id for row in rows}) == len(rows) == 7


def test_no_openvino_where_it_is_not_installed(artifacts: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "find_spec", lambda name: None)
    assert "openvino" not in {row.runtime for row in rows_of("int8net", artifacts)}


def test_a_model_that_was_not_exported_has_its_keras_row(artifacts: Path) -> None:
    (artifacts / "int8net" / "export.json").unlink()
    assert [row.id for row in rows_of("int8net", artifacts)] == ["int8net/keras float32"]


def test_an_unknown_model_suggests_training_it(artifacts: Path) -> None:
    with pytest.raises(FractureEdgeError, match="no trained model here; `fracture-edge train resnet50` makes one"):
        rows_of("resnet50", artifacts)


def test_a_file_of_another_training_run_is_refused(artifacts: Path) -> None:
    _change(artifacts / "int8net", "int8net-int8.onnx", source_sha256=_digest("older"))
    with pytest.raises(FractureEdgeError, match=r"int8net-int8\.onnx was exported from another model\.keras"):
        rows_of("int8net", artifacts)


def test_a_file_that_was_replaced_is_refused(artifacts: Path) -> None:
    (artifacts / "int8net" / "int8net-int8.onnx").write_text("something else")
    with pytest.raises(FractureEdgeError, match="is not the file that was exported"):
        rows_of("int8net", artifacts)


def test_a_missing_file_stays_a_row(artifacts: Path) -> None:
    (artifacts / "int8net" / "int8net-int8.onnx").unlink()
    assert "int8net/onnx int8" in [row.id for row in rows_of("int8net", artifacts)]


@pytest.mark.parametrize(("text", "message"), [("{", "not JSON"), ('{"schema_version": 3}', "schema 3, this")])
def test_a_manifest_that_cannot_be_read(artifacts: Path, text: str, message: str) -> None:
    (artifacts / "int8net" / "export.json").write_text(text)
    with pytest.raises(FractureEdgeError, match=message):
        rows_of("int8net", artifacts)


def test_the_embedded_model(artifacts: Path) -> None:
    # OpenVINO cannot read a graph that is fused for onnxruntime.
    (own,) = rows_of("embedded", artifacts)
    assert (own.id, own.runtime, own.path, own.file) == (
        "embedded/onnx int8", "onnxruntime", None, "edge-int8.onnx",
    )  # fmt: skip
    assert own.sha256 == FractureClassifier(threads=1).sha256
    assert own.bytes > 1_000_000


def test_a_single_file(tiny_model: Path, artifacts: Path) -> None:
    own, reference = rows_of(str(tiny_model), artifacts)
    assert (own.id, own.runtime, own.path, own.gate) == ("tiny/onnx float32", "onnxruntime", tiny_model, None)
    assert (own.bytes, own.file) == (tiny_model.stat().st_size, "tiny.onnx")
    assert own.sha256 == hashlib.sha256(tiny_model.read_bytes()).hexdigest()
    assert (reference.id, reference.sha256) == ("tiny/openvino float32", own.sha256)


def test_a_single_file_without_our_metadata(artifacts: Path, write_graph: Callable[..., Path]) -> None:
    with pytest.raises(ModelError, match="no fracture-edge metadata inside"):
        rows_of(str(write_graph(artifacts / "foreign.onnx")), artifacts)
    with pytest.raises(ModelError, match="No such file"):
        rows_of("missing.onnx", artifacts)
