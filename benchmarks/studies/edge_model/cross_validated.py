"""Networks cross-validated on the same folds, side by side: `python -m benchmarks.studies cross-validated`.

Takes the folders that `fracture-edge train --folds` leaves. Every image is judged by a model that has not seen it;
AUROC is that of all images together. The networks are compared with the first one, or the one of ``--against``, on
the same images. A network trained by another recipe than ``corrected``, or with values of it changed (an
ablation), is an entry of its own. Four of them take hours: each may be taken in when it is done, and what was
taken in before stays.
"""

import csv
import io
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import numpy.typing as npt
import typer

from fracture_edge.errors import FractureEdgeError
from fracture_edge.files import atomic_write_text
from train.evaluation.formatting import NONE, interval, markdown_cell
from train.evaluation.paired import compare_pairs
from train.quiet_tensorflow import quiet_tensorflow

app = typer.Typer(add_completion=False, rich_markup_mode=None)
_SHOWN = ("auroc", "sensitivity_at_specificity_90", "ece")
_ABOUT = ("model", "initial_weights", "seed", "device", "precision", "data_fingerprint")
_IMAGE = ("path", "fold", "label", "group")
_USUAL = "corrected"


@dataclass(frozen=True, slots=True)
class Answers:
    """What cross-validated networks said of the same images in the same folds.

    Attributes:
        images: Path, fold, label and group of each image as text, N.
        given: P(fractured) by network, [N] each.
    """

    images: tuple[tuple[str, ...], ...]
    given: dict[str, npt.NDArray[np.float64]]

    @classmethod
    def of_folder(cls, folder: Path, model: str) -> "Answers":
        """From the ``predictions.csv`` of one cross-validation."""
        images, rows = _rows(folder / "predictions.csv")
        return cls(images, {model: np.array([float(row["probability"]) for row in rows])})

    @classmethod
    def read(cls, path: Path) -> "Answers":
        """From the table that `write` left."""
        images, rows = _rows(path)
        models = [name for name in rows[0] if name not in _IMAGE]
        return cls(images, {name: np.array([float(row[name]) for row in rows]) for name in models})

    def write(self, path: Path) -> None:
        """As a table with a column for each network."""
        text = io.StringIO()
        writer = csv.writer(text, lineterminator="\n")
        writer.writerow([*_IMAGE, *self.given])
        columns = [[f"{value:.6f}" for value in values] for values in self.given.values()]
        writer.writerows(
            (*image, *row) for image, row in zip(self.images, zip(*columns, strict=True), strict=True)
        )
        atomic_write_text(path, text.getvalue())

    def change(self, first: str, other: str, *, resamples: int) -> dict[str, float] | None:
        """AUROC of `other` less that of `first`."""
        return compare_pairs(
            [int(label) for _, _, label, _ in self.images],
            [group or path for path, _, _, group in self.images],
            self.given[first],
            self.given[other],
            0.5,
            resamples=resamples,
        ).auroc_change.to_json()


def _rows(path: Path) -> tuple[tuple[tuple[str, ...], ...], list[dict[str, str]]]:
    with path.open(newline="", encoding="utf-8") as stream:
        rows = list(csv.DictReader(stream))
    return tuple(tuple(row[name] for name in _IMAGE) for row in rows), rows


def take_in(
    folders: Sequence[Path], output: Path, *, against: str | None = None, resamples: int = 2000
) -> list[dict[str, Any]]:
    """Add what cross-validations found to `output`, and compare the AUROC of all with that of one.

    Args:
        folders: As `train.runs.cross_validation` writes them, of the same images in the same folds as what stands
            in `output`. A network that stands there already is replaced.
        output: JSON; what the networks said of each image goes into a CSV file of the same name beside it.
        against: Which network the others are compared with, as the table calls it; ``None``: as in `output`, or
            the first whose answers are in the table.
        resamples: Of the paired bootstrap over groups.

    Returns:
        An entry for each network and recipe. ``auroc_change`` is its AUROC less that of ``compared_with``; both
        are ``None`` for that network itself and for one without answers.

    Raises:
        FractureEdgeError: No cross-validation lies there, or not all are of the same images and folds, or there
            are no answers of the network to compare with. Nothing was written.
    """
    if not (folders or output.is_file()):
        raise FractureEdgeError(f"{output}: holds nothing yet; give folders that `train --folds` left")
    table = output.with_suffix(".csv")
    entries = {_name(entry): entry for entry in _read(output)} if output.is_file() else {}
    answers = Answers.read(table) if table.is_file() else None
    for folder in folders:
        try:
            result = json.loads((folder / "folds.json").read_text(encoding="utf-8"))
            entry = _entry(result)
            new = Answers.of_folder(folder, _name(entry))
        except (OSError, ValueError) as error:
            raise FractureEdgeError(f"{folder}: no cross-validation ({error})") from error
        data = {entry["data_fingerprint"] for entry in entries.values()}
        if (answers and answers.images != new.images) or data - {result["data_fingerprint"]}:
            raise FractureEdgeError(f"{folder}: is not of the same images and folds as what stands in {output}")
        answers = Answers(new.images, (answers.given if answers else {}) | new.given)
        entries[_name(entry)] = entry
    if answers:
        reference = against or _reference(entries, answers)
        if reference not in answers.given:
            there = ", ".join(f"'{name}'" for name in answers.given)
            raise FractureEdgeError(f"{output}: no answers of '{reference}'; there are {there}")
        for name, entry in entries.items():
            compared = name in answers.given and name != reference
            entry["compared_with"] = reference if compared else None
            entry["auroc_change"] = answers.change(reference, name, resamples=resamples) if compared else None
        answers.write(table)
    atomic_write_text(output, json.dumps(list(entries.values()), indent=2) + "\n")
    return list(entries.values())


def _reference(entries: Mapping[str, dict[str, Any]], answers: Answers) -> str:
    """What the others are compared with so far, or the first that has answers."""
    before = (entry.get("compared_with") for entry in entries.values())
    return next((name for name in before if name in answers.given), None) or next(
        name for name in entries if name in answers.given
    )


def _read(path: Path) -> list[dict[str, Any]]:
    entries: list[dict[str, Any]] = json.loads(path.read_text(encoding="utf-8"))
    return entries


def _name(entry: dict[str, Any]) -> str:
    """The network, its recipe where that is not the usual one, and what differs from the recipe."""
    recipe = entry.get("recipe", _USUAL)
    about = ", ".join([*([] if recipe == _USUAL else [recipe]), *entry.get("changed", [])])
    return f"{entry['model']} ({about})" if about else str(entry["model"])


def _changes(given: Any, usual: Any, key: str = "") -> list[str]:
    """Values of a recipe that differ, as ``--set`` takes them; epochs have a column of their own."""
    if isinstance(usual, dict):
        # What the recipe leaves out, such as an option of the network, may have been given; a recipe of an older
        # version lacks what came later.
        return [
            change
            for name, value in given.items()
            for change in _changes(value, usual.get(name), f"{key}.{name}".strip("."))
        ]
    if isinstance(usual, list) and len(usual) == len(given):
        return [
            change
            for number, value in enumerate(usual)
            for change in _changes(given[number], value, f"{key}.{number}")
        ]
    if given == usual or key.endswith(".epochs"):
        return []
    return [f"{key}={json.dumps(given)}"]


def _shipped(model: str, name: str) -> Any:
    """The recipe as it ships; ``None`` where the package has none of that name."""
    # Imports Keras, which nothing else here needs.
    from train.recipes.recipe import load_recipe
    from train.recipes.tables import plain_values

    try:
        return plain_values(load_recipe(model, name))
    except FractureEdgeError:
        return None


def _entry(result: dict[str, Any]) -> dict[str, Any]:
    usual = _shipped(result["model"], result["recipe_name"])
    changed = [] if usual is None else _changes(json.loads(json.dumps(result["recipe"])), usual)
    return {name: result[name] for name in _ABOUT} | {
        "changed": changed,
        "recipe": Path(result["recipe_name"]).stem,
        "input": "x".join(str(result["recipe"]["preprocessing"][side]) for side in ("height", "width")),
        "images": result["pooled"]["images"],
        "fractured": result["pooled"]["fractured"],
        "epochs": [fold["epochs"] for fold in result["folds"]],
        "seconds": [fold["seconds"] for fold in result["folds"]],
        "auroc_of_folds": [fold["metrics"]["auroc"]["value"] for fold in result["folds"]],
        "pooled": {name: result["pooled"]["metrics"][name] for name in _SHOWN},
        "compared_with": None,
        "auroc_change": None,
    }


def table_of(entries: Sequence[dict[str, Any]]) -> str:
    """The entries as a Markdown table, and what they have in common below it."""
    first = entries[0]
    reference = next((entry["compared_with"] for entry in entries if entry.get("compared_with")), _name(first))
    lines = [
        "| network | input | started from | trained on | epochs | minutes | AUROC | of the folds | "
        f"less that of {reference} | sensitivity at specificity 0.90 | ECE |",
        "|" + " --- |" * 11,
    ]
    for entry in entries:
        epochs = sorted(set(entry["epochs"]))
        cells = (
            _name(entry),
            f"{entry['input']}, {entry['precision']}",
            entry["initial_weights"],
            entry["device"],
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
        f"seed {first['seed']}. 95 % intervals of a bootstrap over groups.\n"
    )


@app.command()
def cross_validated(
    output: Annotated[
        Path, typer.Option("--output", "-o", metavar="FOLDS.json", help="JSON; answers go beside it as .csv.")
    ],
    folders: Annotated[
        list[Path] | None,
        typer.Argument(metavar="ARTIFACTS/MODEL-folds...", help="What is taken in.", show_default=False),
    ] = None,
    against: Annotated[
        str | None, typer.Option(metavar="NETWORK", help="Compare with this one, as the table calls it.")
    ] = None,
) -> None:
    """Take in cross-validations, compare all networks on the same images, and print the table.

    What was taken in before stays; a network that stands there already is replaced.

    \b
    python -m benchmarks.studies cross-validated artifacts/edge-folds -o folds.json
    """  # noqa: D301
    quiet_tensorflow()
    print(table_of(take_in(folders or [], output, against=against)), end="")
