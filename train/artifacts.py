"""Trained models and their ``training.json``, for all who judge, export or compare; imports nothing heavy."""

import hashlib
import json
from pathlib import Path
from typing import Any

from fracture_edge.errors import FractureEdgeError


def trained_models(artifacts: Path) -> list[str]:
    """The models in `artifacts`: folders with a ``model.keras``, sorted.

    Raises:
        FractureEdgeError: There is none.
    """
    found = sorted(path.parent.name for path in artifacts.glob("[!.]*/model.keras"))
    if not found:
        raise FractureEdgeError(f"{artifacts}: no trained model here; `fracture-edge train` makes one")
    return found


def read_record(folder: Path) -> dict[str, Any]:
    """Read ``training.json`` of a model's folder.

    Raises:
        FractureEdgeError: It is not there, or not readable.
    """
    path = folder / "training.json"
    try:
        record: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise FractureEdgeError(
            f"{folder}: no trained model here; `fracture-edge train {folder.name}` makes one"
        ) from error
    except (OSError, ValueError) as error:
        raise FractureEdgeError(f"{path}: cannot be read ({error})") from error
    return record


EXPORT_SCHEMA = 2
MANIFEST = "export.json"


def read_manifest(folder: Path) -> dict[str, Any]:
    """The manifest of a model's folder; an empty one where there is none.

    Raises:
        FractureEdgeError: It is not readable, or of another schema.
    """
    path = folder / MANIFEST
    if not path.is_file():
        return {"schema_version": EXPORT_SCHEMA, "model": folder.name, "positive_class": "fractured", "files": {}}
    try:
        manifest: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise FractureEdgeError(f"{path}: not JSON ({error}); move it away and export again") from error
    if manifest.get("schema_version") != EXPORT_SCHEMA:
        raise FractureEdgeError(
            f"{path}: schema {manifest.get('schema_version')}, this version reads {EXPORT_SCHEMA}; "
            "move it away and export again"
        )
    return manifest


def sha256(path: Path) -> str:
    """SHA-256 of a file, hexadecimal."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()
