"""Manifest ``export.json``: write its entries with the files they describe, and check that they still match."""

import gzip
import io
import shutil
from dataclasses import replace
from pathlib import Path

from fracture_edge.files import atomic_path, flush_to_disk
from train.artifacts import sha256
from train.export_record import MANIFEST, ExportEntry, Manifest, read_manifest
from train.json_records import write_record

REJECTED = "rejected"


def write_entry(folder: Path, file: str, entry: ExportEntry) -> None:
    """Add or replace the entry of one file; entries of other files are kept."""
    manifest = read_manifest(folder)
    _write(folder, replace(manifest, files=dict(sorted((manifest.files | {file: entry}).items()))))


def put(folder: Path, file: str, made: Path, entry: ExportEntry) -> None:
    """Move a finished file to its final path, replacing an existing file, and add its entry.

    The file has no entry while it is being replaced: whenever the process is killed, every entry describes the
    file that exists.

    Args:
        folder: Folder of the model, ``artifacts/<model>``.
        file: Path of the file within `folder`, as in the manifest.
        made: Path of the finished file, which is moved.
        entry: Entry of the file.
    """
    with atomic_path(folder / file) as place:
        shutil.move(made, place)
        # Flush while the entry still exists: for a large file it takes seconds.
        flush_to_disk(place)
        _forget(folder, file)
    write_entry(folder, file, entry)


def delete_file(folder: Path, file: str) -> None:
    """Delete a file and its entry, if they exist."""
    _forget(folder, file)
    (folder / file).unlink(missing_ok=True)


def _forget(folder: Path, file: str) -> None:
    manifest = read_manifest(folder)
    if file in manifest.files:
        others = {name: entry for name, entry in manifest.files.items() if name != file}
        _write(folder, replace(manifest, files=others))


def _write(folder: Path, manifest: Manifest) -> None:
    write_record(folder / MANIFEST, manifest)


def stale_reason(folder: Path, file: str, entry: ExportEntry) -> str:
    """Return why an entry no longer matches the file or its source; an empty string if it does.

    Args:
        folder: Folder of the model, ``artifacts/<model>``.
        file: Path of the file within `folder`.
        entry: Entry of the file.
    """
    path = folder / file
    if not path.is_file():
        return "is missing"
    if sha256(path) != entry.sha256:
        return "is not the file that was exported (SHA-256 differs)"
    if sha256(folder / "model.keras") != entry.source_sha256:
        return "was exported from another model.keras"
    return ""


def gzip_bytes(path: Path) -> int:
    """Compute the size after gzip in bytes, as in a download or a compressed image."""
    buffer = io.BytesIO()
    with path.open("rb") as stream, gzip.GzipFile(fileobj=buffer, mode="wb", compresslevel=6, mtime=0) as packed:
        shutil.copyfileobj(stream, packed)
    return buffer.tell()


def summary(name: str, entry: ExportEntry) -> str:
    """Format the metrics of a file as one line for the console."""
    gate = entry.gate
    low, high = gate.intervals["auroc_change"]
    text = (
        f"{name}: {entry.bytes / 1e6:.2f} MB; P(fractured) differs from Keras by {gate.mean_difference:.1e} "
        f"(largest {gate.largest_difference:.1e}); on {gate.images} validation images same decision "
        f"{gate.same_decision:.1%}, AUROC {gate.auroc_exported:.4f} ({gate.auroc_change:+.4f} "
        f"[{low:+.4f}, {high:+.4f}]), sensitivity {gate.sensitivity_exported:.3f} "
        f"({gate.sensitivity_change:+.3f})"
    )
    if entry.float_layers:
        text += f"; {len(entry.float_layers)} layers left in float32"
    return text
