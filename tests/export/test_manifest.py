import hashlib
import json
from contextlib import nullcontext
from pathlib import Path

import pytest

from export.manifest import delete_file, gzip_bytes, put, stale_reason, write_entry
from fracture_edge.errors import FractureEdgeError
from train.artifacts import read_manifest, sha256


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
    delete_file(folder, "b.onnx")
    assert (folder / "a.onnx").exists()
    delete_file(folder, "a.onnx")
    assert not (folder / "a.onnx").exists()
    assert read_manifest(folder)["files"] == {}


def test_a_file_without_an_entry_can_be_dropped(folder: Path) -> None:
    delete_file(folder, "a.onnx")
    assert not (folder / "a.onnx").exists()
    assert not (folder / "export.json").exists()


def _made(folder: Path) -> tuple[Path, dict[str, str]]:
    made = folder / "made.onnx"
    made.write_bytes(b"better")
    return made, {"sha256": sha256(made)}


def test_a_file_and_its_entry_are_put_in_place(folder: Path) -> None:
    made, entry = _made(folder)
    put(folder, "rejected/b.onnx", made, entry)
    assert (folder / "rejected" / "b.onnx").read_bytes() == b"better"
    assert read_manifest(folder)["files"] == {"rejected/b.onnx": entry}
    assert not made.exists()


class Killed(BaseException):
    """Stands for SIGKILL."""


@pytest.mark.parametrize(
    ("renames", "there", "named"),
    [
        (0, b"file", True),
        # The old entry has gone, then the file is replaced, then comes the new entry.
        (1, b"file", False),
        (2, b"better", False),
        (3, b"better", True),
    ],
)
def test_killed_at_any_moment_no_entry_describes_another_file(
    folder: Path, monkeypatch: pytest.MonkeyPatch, renames: int, there: bytes, named: bool
) -> None:
    write_entry(folder, "a.onnx", _entry(folder))
    made, entry = _made(folder)
    left, replace = [None] * renames, Path.replace

    def replace_or_die(path: Path, target: Path) -> Path:
        if not left:
            raise Killed
        left.pop()
        return replace(path, target)

    monkeypatch.setattr(Path, "replace", replace_or_die)
    with pytest.raises(Killed) if renames < 3 else nullcontext():
        put(folder, "a.onnx", made, entry)
    assert (folder / "a.onnx").read_bytes() == there
    files = read_manifest(folder)["files"]
    assert [entry["sha256"] for entry in files.values()] == [hashlib.sha256(there).hexdigest()] * named


def test_what_does_not_hold_any_more_is_said(folder: Path) -> None:
    entry = _entry(folder)
    assert stale_reason(folder, "a.onnx", entry) == ""
    (folder / "model.keras").write_bytes(b"another")
    assert stale_reason(folder, "a.onnx", entry) == "was exported from another model.keras"
    (folder / "a.onnx").write_bytes(b"damaged")
    assert stale_reason(folder, "a.onnx", entry) == "is not the file that was exported (SHA-256 differs)"
    (folder / "a.onnx").unlink()
    assert stale_reason(folder, "a.onnx", entry) == "is missing"


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
