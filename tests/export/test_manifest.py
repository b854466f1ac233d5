import hashlib
import json
from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import pytest

from export.manifest import delete_file, gzip_bytes, put, stale_reason, write_entry
from fracture_edge.errors import FractureEdgeError
from train.artifacts import sha256
from train.export_record import (
    CalibrationImages,
    Compression,
    ExportEntry,
    GateMetrics,
    Manifest,
    PeakMemory,
    Retraining,
    read_manifest,
)
from train.json_records import to_plain

MakeEntry = Callable[..., ExportEntry]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "model.keras").write_bytes(b"network")
    (tmp_path / "a.onnx").write_bytes(b"file")
    return tmp_path


@pytest.fixture
def entry(folder: Path, make_export_entry: MakeEntry) -> ExportEntry:
    """Entry of ``a.onnx``."""
    return make_export_entry(sha256=sha256(folder / "a.onnx"), source_sha256=sha256(folder / "model.keras"))


def test_sha256_of_a_file(folder: Path) -> None:
    assert sha256(folder / "a.onnx") == hashlib.sha256(b"file").hexdigest()


def test_entries_are_added_and_replaced_one_by_one(folder: Path, make_export_entry: MakeEntry) -> None:
    first, second, third = (make_export_entry(bytes=size) for size in (1, 2, 3))
    write_entry(folder, "b.onnx", first)
    write_entry(folder, "a.onnx", second)
    write_entry(folder, "b.onnx", third)
    manifest = json.loads((folder / "export.json").read_text())
    # JSON has no tuples.
    assert manifest["files"] == json.loads(json.dumps({"a.onnx": to_plain(second), "b.onnx": to_plain(third)}))
    assert {name: values["bytes"] for name, values in manifest["files"].items()} == {"a.onnx": 2, "b.onnx": 3}
    assert (manifest["model"], manifest["positive_class"]) == (folder.name, "fractured")
    assert read_manifest(folder) == Manifest(
        manifest["schema_version"], folder.name, "fractured", {"a.onnx": second, "b.onnx": third}
    )


def test_a_dropped_entry_takes_its_file_with_it(folder: Path, entry: ExportEntry) -> None:
    write_entry(folder, "a.onnx", entry)
    delete_file(folder, "b.onnx")
    assert (folder / "a.onnx").exists()
    delete_file(folder, "a.onnx")
    assert not (folder / "a.onnx").exists()
    assert read_manifest(folder).files == {}


def test_a_file_without_an_entry_can_be_dropped(folder: Path) -> None:
    delete_file(folder, "a.onnx")
    assert not (folder / "a.onnx").exists()
    assert not (folder / "export.json").exists()


def _made(folder: Path, make_entry: MakeEntry) -> tuple[Path, ExportEntry]:
    made = folder / "made.onnx"
    made.write_bytes(b"better")
    return made, make_entry(sha256=sha256(made))


def test_a_file_and_its_entry_are_put_in_place(folder: Path, make_export_entry: MakeEntry) -> None:
    made, entry = _made(folder, make_export_entry)
    put(folder, "rejected/b.onnx", made, entry)
    assert (folder / "rejected" / "b.onnx").read_bytes() == b"better"
    assert read_manifest(folder).files == {"rejected/b.onnx": entry}
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
    folder: Path,
    entry: ExportEntry,
    make_export_entry: MakeEntry,
    monkeypatch: pytest.MonkeyPatch,
    renames: int,
    there: bytes,
    named: bool,
) -> None:
    write_entry(folder, "a.onnx", entry)
    made, better = _made(folder, make_export_entry)
    left, replace = [None] * renames, Path.replace

    def replace_or_die(path: Path, target: Path) -> Path:
        if not left:
            raise Killed
        left.pop()
        return replace(path, target)

    monkeypatch.setattr(Path, "replace", replace_or_die)
    with pytest.raises(Killed) if renames < 3 else nullcontext():
        put(folder, "a.onnx", made, better)
    assert (folder / "a.onnx").read_bytes() == there
    files = read_manifest(folder).files
    assert [entry.sha256 for entry in files.values()] == [hashlib.sha256(there).hexdigest()] * named


def test_what_does_not_hold_any_more_is_said(folder: Path, entry: ExportEntry) -> None:
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


def _written_before(**changes: Any) -> dict[str, Any]:
    """An entry as it was written before entries were typed: a float32 ONNX file, or with what is changed."""
    entry = {
        "recipe": "onnx_float32",
        "precision": "float32",
        "source_sha256": "1" * 64,
        "sha256": "2" * 64,
        "bytes": 6_000_000,
        "gzip_bytes": 5_500_000,
        "heatmap": True,
        "opset": 17,
        "operators": {"Conv": 50, "Sigmoid": 1},
        "peak_memory_mb": {"conversion": 900, "gate": 300},
        "gate": {
            "images": 342,
            "fractured": 59,
            "threshold": 0.25,
            "largest_difference": 2e-6,
            "mean_difference": 1e-7,
            "same_decision": 1.0,
            "sensitivity_keras": 0.8,
            "sensitivity_exported": 0.81,
            "specificity_keras": 0.7,
            "specificity_exported": 0.71,
            "auroc_keras": 0.9,
            "auroc_exported": 0.91,
            "auroc_change": 0.01,
            "sensitivity_change": 0.02,
            "intervals": {"auroc_change": [-0.01, 0.03], "sensitivity_change": [0, 0.04]},
        },
        "budget": "float32",
        "broken": [],
        "versions": {"fracture-edge": "0.9.0", "onnx": "1.17.0"},
        "seconds": 12.5,
        "created": "2026-01-02T03:04:05+00:00",
    }
    return entry | changes


def test_a_manifest_of_the_version_before_is_read(folder: Path) -> None:
    int8 = _written_before(
        recipe="onnx_int8_static_x86",
        precision="int8",
        heatmap=False,
        budget="int8",
        broken=["same_decision 0.9, bound 0.97"],
        calibration={"images": 256, "seed": 3, "fingerprint": "4" * 64, "method": "entropy"},
        float_layers=["stem_conv", "top_conv"],
    )
    float32 = _written_before()
    float32["gate"]["images_compared"] = 598
    retrained = _written_before(
        recipe="tflite_int8_qat",
        precision="int8",
        heatmap=False,
        budget="compressed",
        compression={"rank": 64, "sparsity": 0.8, "epochs": 2, "seed": 5},
        retrained={"epochs": 2, "seed": 5},
    )
    # Written always, although it is that of a file without one.
    before = {"gate_version": 1, "conversion_version": 1}
    # TFLite has no version of operators.
    del retrained["opset"]
    files = {"edge-float32.onnx": float32, "edge-qat.tflite": retrained, "rejected/edge-int8.onnx": int8}
    written = {"schema_version": 2, "model": "edge", "positive_class": "fractured", "files": files}
    (folder / "export.json").write_text(json.dumps(written))

    manifest = read_manifest(folder)
    assert (manifest.schema_version, manifest.model, manifest.positive_class) == (2, "edge", "fractured")
    assert list(manifest.files) == list(files)
    found = manifest.files["edge-float32.onnx"]
    assert found == ExportEntry(
        recipe="onnx_float32",
        precision="float32",
        source_sha256="1" * 64,
        sha256="2" * 64,
        bytes=6_000_000,
        gzip_bytes=5_500_000,
        heatmap=True,
        opset=17,
        operators={"Conv": 50, "Sigmoid": 1},
        peak_memory_mb=PeakMemory(conversion=900, gate=300),
        gate=GateMetrics(
            images=342,
            fractured=59,
            threshold=0.25,
            largest_difference=2e-6,
            mean_difference=1e-7,
            same_decision=1.0,
            sensitivity_keras=0.8,
            sensitivity_exported=0.81,
            specificity_keras=0.7,
            specificity_exported=0.71,
            auroc_keras=0.9,
            auroc_exported=0.91,
            auroc_change=0.01,
            sensitivity_change=0.02,
            intervals={"auroc_change": (-0.01, 0.03), "sensitivity_change": (0.0, 0.04)},
            images_compared=598,
        ),
        budget="float32",
        broken=[],
        versions={"fracture-edge": "0.9.0", "onnx": "1.17.0"},
        seconds=12.5,
        created="2026-01-02T03:04:05+00:00",
    )
    assert (found.compression, found.retrained, found.calibration, found.float_layers) == (None, None, None, ())
    found = manifest.files["rejected/edge-int8.onnx"]
    assert (found.precision, found.budget, found.heatmap) == ("int8", "int8", False)
    assert found.broken == ["same_decision 0.9, bound 0.97"]
    assert found.calibration == CalibrationImages(256, 3, "4" * 64, "entropy")
    assert found.float_layers == ("stem_conv", "top_conv")
    assert found.gate.images_compared is None
    found = manifest.files["edge-qat.tflite"]
    assert found.compression == Compression(rank=64, sparsity=0.8, epochs=2, seed=5)
    assert found.retrained == Retraining(epochs=2, seed=5)
    assert (found.opset, found.calibration) == (None, None)

    # What is written again has the same keys and values.
    write_entry(folder, "edge-qat.tflite", found)
    again = json.loads((folder / "export.json").read_text())
    assert again["files"].pop("edge-qat.tflite") == files.pop("edge-qat.tflite") | before
    assert all(again["files"].pop(name) == entry | before for name, entry in files.copy().items())
    assert again == written | {"files": {}}


def test_a_missing_field_is_refused_with_the_files_name(folder: Path) -> None:
    entry = _written_before()
    del entry["gate"]["auroc_change"]
    written = {"schema_version": 2, "model": "edge", "positive_class": "fractured", "files": {"a.onnx": entry}}
    (folder / "export.json").write_text(json.dumps(written))
    with pytest.raises(FractureEdgeError, match=r"export\.json: .*a\.onnx.*auroc_change") as caught:
        read_manifest(folder)
    assert str(caught.value).startswith(f"{folder / 'export.json'}: ")


def test_gzip_counts_the_compressed_bytes(tmp_path: Path) -> None:
    path = tmp_path / "zeros"
    path.write_bytes(bytes(100_000))
    size = gzip_bytes(path)
    assert size == gzip_bytes(path)
    # A run of zeros costs one part in a thousand in deflate.
    assert 100 < size < 200
