import hashlib
import json
from pathlib import Path

import pytest

from benchmarks.manifest import read_manifest, sha256
from export.manifest import drop_entry, gzip_bytes, stale, write_entry
from fracture_edge.errors import FractureEdgeError


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "model.keras").write_bytes(b"network")
    (tmp_path / "a.onnx").write_bytes(b"file")
    return tmp_path


def _entry(folder: Path) -> dict[str, str]:
    return {"sha256": sha256(folder / "a.onnx"), "source_sha256": sha256(folder / "model.keras")}


def test_sha256_of_a_file(folder: Path) -> None:
    assert sha256(folder / "a.onnx") == hashlib.sha256(b"file").hexdigest()


def test_entries_are_added_and_replaced_one_by_one(folder: Path) -> None:
    write_entry(folder, "b.onnx", {"bytes": 1})
    write_entry(folder, "a.onnx", {"bytes": 2})
    write_entry(folder, "b.onnx", {"bytes": 3})
    manifest = json.loads((folder / "export.json").read_text())
    assert manifest["files"] == {"a.onnx": {"bytes": 2}, "b.onnx": {"bytes": 3}}
    assert (manifest["model"], manifest["positive_class"]) == (folder.name, "fractured")
    assert read_manifest(folder) == manifest


def test_a_dropped_entry_takes_its_file_with_it(folder: Path) -> None:
    write_entry(folder, "a.onnx", {"bytes": 2})
    drop_entry(folder, "b.onnx")
    assert (folder / "a.onnx").exists()
    drop_entry(folder, "a.onnx")
    assert not (folder / "a.onnx").exists()
    assert read_manifest(folder)["files"] == {}


def test_what_does_not_hold_any_more_is_said(folder: Path) -> None:
    entry = _entry(folder)
    assert stale(folder, "a.onnx", entry) == ""
    (folder / "model.keras").write_bytes(b"another")
    assert stale(folder, "a.onnx", entry) == "was exported from another model.keras"
    (folder / "a.onnx").write_bytes(b"damaged")
    assert stale(folder, "a.onnx", entry) == "is not the file that was exported (SHA-256 differs)"
    (folder / "a.onnx").unlink()
    assert stale(folder, "a.onnx", entry) == "is missing"


@pytest.mark.parametrize(
    ("text", "message"),
    [("{", "not JSON"), ('{"schema_version": 1}', "schema 1, this version reads 2; move it away")],
)
def test_a_manifest_that_cannot_be_used_is_named(folder: Path, text: str, message: str) -> None:
    (folder / "export.json").write_text(text)
    with pytest.raises(FractureEdgeError, match=rf"export\.json: {message}"):
        read_manifest(folder)


def test_gzip_counts_the_compressed_bytes(tmp_path: Path) -> None:
    path = tmp_path / "zeros"
    path.write_bytes(bytes(100_000))
    size = gzip_bytes(path)
    assert size == gzip_bytes(path)
    # A run of zeros costs one part in a thousand in deflate.
    assert 100 < size < 200
