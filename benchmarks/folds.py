"""Networks cross-validated on the same folds, side by side: `python -m benchmarks.folds artifacts/edge-folds ...`.

Takes the folders that `fracture-edge train --folds` leaves. Every image is judged by a model that has not seen it;
AUROC is that of all images together. The networks are compared with the first one on the same images.
"""

import argparse
import csv
import json
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from benchmarks.paired import compare_pairs
from benchmarks.text import NONE, interval, markdown_cell
from fracture_edge.errors import FractureEdgeError
from fracture_edge.files import atomic_write_text

_SHOWN = ("auroc", "sensitivity_at_specificity_90", "ece")
_ABOUT = ("model", "initial_weights", "seed", "device", "precision", "data_fingerprint")


@dataclass(frozen=True, slots=True)
class Answers:
    """The predictions of one cross-validation, in the order of its file.

    Attributes:
        images: Path and fold of each image, N.
        labels: 0 or 1, N.
        groups: What belongs together, N names.
        probabilities: P(fractured), [N].
    """

    images: tuple[tuple[str, str], ...]
    labels: tuple[int, ...]
    groups: tuple[str, ...]
    probabilities: npt.NDArray[np.float64]

    @classmethod
    def read(cls, path: Path) -> "Answers":
        """From ``predictions.csv``."""
        with path.open(newline="", encoding="utf-8") as stream:
            rows = list(csv.DictReader(stream))
        return cls(
            tuple((row["path"], row["fold"]) for row in rows),
            tuple(int(row["label"]) for row in rows),
            tuple(row["group"] or row["path"] for row in rows),
            np.array([float(row["probability"]) for row in rows]),
        )


def compared(folders: Sequence[Path], *, resamples: int = 2000) -> list[dict[str, Any]]:
    """What each cross-validation found, and how its AUROC differs from that of the first.

    Args:
        folders: As `train.folds` writes them, of the same images in the same folds.
        resamples: Of the paired bootstrap over groups.

    Returns:
        An entry for each folder. ``auroc_change`` is its AUROC less that of the first folder's network, ``None``
        for the first itself.

    Raises:
        FractureEdgeError: No cross-validation lies there, or not all are of the same images and folds.
    """
    entries: list[dict[str, Any]] = []
    first: Answers | None = None
    for folder in folders:
        try:
            result = json.loads((folder / "folds.json").read_text(encoding="utf-8"))
            answers = Answers.read(folder / "predictions.csv")
        except (OSError, ValueError) as error:
            raise FractureEdgeError(f"{folder}: no cross-validation ({error})") from error
        entry = {name: result[name] for name in _ABOUT}
        entry |= {
            "input": "x".join(str(result["recipe"]["preprocessing"][side]) for side in ("height", "width")),
            "images": result["pooled"]["images"],
            "fractured": result["pooled"]["fractured"],
            "epochs": [fold["epochs"] for fold in result["folds"]],
            "seconds": [fold["seconds"] for fold in result["folds"]],
            "auroc_of_folds": [fold["metrics"]["auroc"]["value"] for fold in result["folds"]],
            "pooled": {name: result["pooled"]["metrics"][name] for name in _SHOWN},
            "auroc_change": None,
        }
        if first is None:
            first = answers
        elif first.images != answers.images:
            raise FractureEdgeError(f"{folder}: is not of the same images and folds as {folders[0]}")
        else:
            change = compare_pairs(
                first.labels, first.groups, first.probabilities, answers.probabilities, 0.5, resamples=resamples
            ).auroc_change
            entry["auroc_change"] = change.to_json()
        entries.append(entry)
    return entries


def table_of(entries: Sequence[dict[str, Any]]) -> str:
    """The entries as a Markdown table, and what they have in common below it."""
    first = entries[0]
    lines = [
        "| network | input | started from | epochs | minutes | AUROC | of the folds | "
        f"less that of {first['model']} | sensitivity at specificity 0.90 | ECE |",
        "|" + " --- |" * 10,
    ]
    for entry in entries:
        epochs = sorted(set(entry["epochs"]))
        cells = (
            entry["model"],
            f"{entry['input']}, {entry['precision']}",
            entry["initial_weights"],
            "-".join(str(count) for count in dict.fromkeys((epochs[0], epochs[-1]))),
            f"{sum(entry['seconds']) / 60:.0f}",
            interval(entry["pooled"]["auroc"]),
            f"{min(entry['auroc_of_folds']):.3f} to {max(entry['auroc_of_folds']):.3f}",
            NONE if entry["auroc_change"] is None else interval(entry["auroc_change"]),
            interval(entry["pooled"]["sensitivity_at_specificity_90"]),
            interval(entry["pooled"]["ece"]),
        )
        lines.append("| " + " | ".join(markdown_cell(cell) for cell in cells) + " |")
    return "\n".join(lines) + (
        f"\n\n{len(first['epochs'])} folds of {first['images']} images, {first['fractured']} of them fractured, "
        f"seed {first['seed']}, {first['device']}. 95 % intervals of a bootstrap over groups.\n"
    )


def main() -> None:
    """Compare the cross-validations of the folders, write and print the result."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("folders", nargs="+", type=Path, help="artifacts/MODEL-folds; the first is compared with")
    parser.add_argument("-o", "--output", type=Path, required=True, help="JSON")
    arguments = parser.parse_args()
    try:
        entries = compared(arguments.folders)
    except FractureEdgeError as error:
        sys.exit(f"error: {error}")
    atomic_write_text(arguments.output, json.dumps(entries, indent=2) + "\n")
    print(table_of(entries), end="")


if __name__ == "__main__":
    main()
