"""Networks cross-validated on the same folds, side by side: `python -m benchmarks.studies cross-validated`.

Takes the folders that `fracture-edge train --folds` leaves. Every image is judged by a model that has not seen it;
AUROC is that of all images together. The networks are compared with the first one, or the one of ``--against``, on
the same images. A network trained by another recipe than ``corrected``, or with values of it changed (an
ablation), is an entry of its own. Four of them take hours: each may be taken in when it is done, and what was
taken in before stays.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Annotated

import typer

from benchmarks.studies.edge_model.answers import Answers
from benchmarks.studies.edge_model.recipe_changes import changes, shipped
from fracture_edge.errors import FractureEdgeError
from train.evaluation.formatting import interval, markdown_cell, markdown_table
from train.evaluation.metrics import Estimate
from train.evaluation.record import FOLDS_FILE, CrossValidationRecord
from train.json_records import WRITTEN_ALWAYS, from_plain, read_json, write_record
from train.quiet_tensorflow import quiet_tensorflow

app = typer.Typer(add_completion=False, rich_markup_mode=None)
_SHOWN = ("auroc", "sensitivity_at_specificity_90", "ece")
_USUAL = "corrected"


@dataclass(frozen=True, slots=True, kw_only=True)
class Network:
    """One network, trained by one recipe and cross-validated.

    Attributes:
        model: Name of the architecture.
        initial_weights: Initial weights, in words.
        seed: Seed of folds and training.
        device: Device and backend, in words.
        precision: Keras's dtype policy.
        data_fingerprint: Checksum of the data.
        changed: Values that differ from the recipe as it ships, ``KEY=VALUE``; ``None`` in older files.
        recipe: Name of the recipe; ``None`` in older files, for ``corrected``.
        input: Size of the input, ``HEIGHTxWIDTH``.
        images: Number of images in all folds.
        fractured: Number of fractured ones.
        epochs: Epochs trained in each fold.
        seconds: Duration of each fold.
        auroc_of_folds: AUROC of each fold.
        pooled: Figures of all images together, by name.
        compared_with: Network that this one is compared with; ``None`` for that network itself and for one
            without answers.
        auroc_change: AUROC less that of `compared_with`, likewise.
    """

    model: str
    initial_weights: str
    seed: int
    device: str
    precision: str
    data_fingerprint: str
    changed: tuple[str, ...] | None = None
    recipe: str | None = None
    input: str
    images: int
    fractured: int
    epochs: tuple[int, ...]
    seconds: tuple[float, ...]
    auroc_of_folds: tuple[float, ...]
    pooled: dict[str, Estimate]
    compared_with: str | None = field(default=None, metadata=WRITTEN_ALWAYS)
    auroc_change: Estimate | None = field(default=None, metadata=WRITTEN_ALWAYS)

    @property
    def name(self) -> str:
        """The network, its recipe where that is not the usual one, and what differs from the recipe."""
        recipe = self.recipe or _USUAL
        about = ", ".join([*([] if recipe == _USUAL else [recipe]), *(self.changed or ())])
        return f"{self.model} ({about})" if about else self.model


def take_in(
    folders: Sequence[Path], output: Path, *, against: str | None = None, resamples: int = 2000
) -> list[Network]:
    """Add what cross-validations found to `output`, and compare the AUROC of all with that of one.

    Args:
        folders: As `train.runs.cross_validation` writes them, of the same images in the same folds as what stands
            in `output`. A network that stands there already is replaced.
        output: JSON; what the networks said of each image goes into a CSV file of the same name beside it.
        against: Which network the others are compared with, as the table calls it; ``None``: as in `output`, or
            the first whose answers are in the table.
        resamples: Of the paired bootstrap over groups.

    Returns:
        An entry for each network and recipe.

    Raises:
        FractureEdgeError: No cross-validation lies there, or not all are of the same images and folds, or there
            are no answers of the network to compare with. Nothing was written.
    """
    if not (folders or output.is_file()):
        raise FractureEdgeError(f"{output}: holds nothing yet; give folders that `train --folds` left")
    table = output.with_suffix(".csv")
    entries = {entry.name: entry for entry in read_networks(output)} if output.is_file() else {}
    answers = Answers.read(table) if table.is_file() else None
    for folder in folders:
        try:
            path = folder / FOLDS_FILE
            added = _network(from_plain(CrossValidationRecord, read_json(path), str(path)))
            new = Answers.of_folder(folder, added.name)
        except (FractureEdgeError, OSError, ValueError) as error:
            raise FractureEdgeError(f"{folder}: no cross-validation ({error})") from error
        data = {entry.data_fingerprint for entry in entries.values()}
        if (answers and answers.images != new.images) or data - {added.data_fingerprint}:
            raise FractureEdgeError(f"{folder}: is not of the same images and folds as what stands in {output}")
        answers = Answers(new.images, (answers.given if answers else {}) | new.given)
        entries[added.name] = added
    if answers:
        reference = against or _reference(entries, answers)
        if reference not in answers.given:
            there = ", ".join(f"'{name}'" for name in answers.given)
            raise FractureEdgeError(f"{output}: no answers of '{reference}'; there are {there}")
        for name, entry in list(entries.items()):
            compared = name in answers.given and name != reference
            entries[name] = replace(
                entry,
                compared_with=reference if compared else None,
                auroc_change=answers.change(reference, name, resamples=resamples) if compared else None,
            )
        answers.write(table)
    write_record(output, list(entries.values()))
    return list(entries.values())


def _reference(entries: Mapping[str, Network], answers: Answers) -> str:
    """What the others are compared with so far, or the first that has answers."""
    before = (entry.compared_with for entry in entries.values())
    return next((name for name in before if name in answers.given), None) or next(
        name for name in entries if name in answers.given
    )


def read_networks(path: Path) -> list[Network]:
    """Read what `take_in` wrote.

    Raises:
        FractureEdgeError: It is not there, or is none.
    """
    return from_plain(list[Network], read_json(path), str(path))


def _network(result: CrossValidationRecord) -> Network:
    usual = shipped(result.model, result.recipe_name)
    size = result.recipe["preprocessing"]
    return Network(
        model=result.model,
        initial_weights=result.initial_weights,
        seed=result.seed,
        device=result.device,
        precision=result.precision,
        data_fingerprint=result.data_fingerprint,
        changed=() if usual is None else tuple(changes(result.recipe, usual)),
        recipe=Path(result.recipe_name).stem,
        input=f"{size['height']}x{size['width']}",
        images=result.pooled.images,
        fractured=result.pooled.fractured,
        epochs=tuple(fold.epochs for fold in result.folds),
        seconds=tuple(fold.seconds for fold in result.folds),
        auroc_of_folds=tuple(fold.metrics["auroc"].value for fold in result.folds),
        pooled={name: result.pooled.metrics[name] for name in _SHOWN},
    )


def table_of(entries: Sequence[Network]) -> str:
    """Tabulate the entries, as Markdown, and say what they have in common below it."""
    first = entries[0]
    reference = next((entry.compared_with for entry in entries if entry.compared_with), first.name)
    header = (
        "network",
        "input",
        "started from",
        "trained on",
        "epochs",
        "minutes",
        "AUROC",
        "of the folds",
        f"less that of {reference}",
        "sensitivity at specificity 0.90",
        "ECE",
    )
    table = markdown_table(header, ([markdown_cell(cell) for cell in _cells(entry)] for entry in entries))
    return (
        f"{table}\n{len(first.epochs)} folds of {first.images} images, {first.fractured} of them fractured, "
        f"seed {first.seed}. 95 % intervals of a bootstrap over groups.\n"
    )


def _cells(entry: Network) -> tuple[str, ...]:
    epochs = (min(entry.epochs), max(entry.epochs))
    return (
        entry.name,
        f"{entry.input}, {entry.precision}",
        entry.initial_weights,
        entry.device,
        "-".join(str(count) for count in dict.fromkeys(epochs)),
        f"{sum(entry.seconds) / 60:.0f}",
        interval(entry.pooled["auroc"]),
        f"{min(entry.auroc_of_folds):.3f} to {max(entry.auroc_of_folds):.3f}",
        interval(entry.auroc_change),
        interval(entry.pooled["sensitivity_at_specificity_90"]),
        interval(entry.pooled["ece"]),
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
