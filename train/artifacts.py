"""Trained models and their ``training.json``, for all who judge, export or compare; imports nothing heavy."""

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
