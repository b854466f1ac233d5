"""``export.json``: what was made of a model, how, and what the gate found; and whether it still holds."""

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
    """Add what is known of one file, or replace it; entries of other files stay."""
    manifest = read_manifest(folder)
    _write(folder, replace(manifest, files=dict(sorted((manifest.files | {file: entry}).items()))))


def put(folder: Path, file: str, made: Path, entry: ExportEntry) -> None:
    """Move a finished file to its place, over the one that may lie there, and add its entry.

    While the one file takes the place of the other it has no entry: at whatever moment the process is killed,
    every entry describes the file that lies there.

    Args:
        folder: ``artifacts/<model>``.
        file: Its name there, as in the manifest.
        made: The finished file; it is gone afterwards.
        entry: What is known of it.
    """
    with atomic_path(folder / file) as place:
        shutil.move(made, place)
        # Now rather than without an entry: for a large file it takes seconds.
        flush_to_disk(place)
        _forget(folder, file)
    write_entry(folder, file, entry)


def delete_file(folder: Path, file: str) -> None:
    """Forget a file, and delete it; nothing happens where there is none."""
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
    """What does not hold any more of one entry, in words; empty when file and source are those recorded."""
    path = folder / file
    if not path.is_file():
        return "is missing"
    if sha256(path) != entry.sha256:
        return "is not the file that was exported (SHA-256 differs)"
    if sha256(folder / "model.keras") != entry.source_sha256:
        return "was exported from another model.keras"
    return ""


def gzip_bytes(path: Path) -> int:
    """Size after gzip, as a download or a packed image would have it."""
    buffer = io.BytesIO()
    with path.open("rb") as stream, gzip.GzipFile(fileobj=buffer, mode="wb", compresslevel=6, mtime=0) as packed:
        shutil.copyfileobj(stream, packed)
    return buffer.tell()


def summary(name: str, entry: ExportEntry) -> str:
    """One line on a file, for the person who waits."""
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
