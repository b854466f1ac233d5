"""Compare networks cross-validated on the same folds: `python -m benchmarks.studies cross-validated`.

Reads the folders written by `fracture-edge train --folds`. Every image is predicted by a model that was not
trained on it; AUROC is computed over all images together. The networks are compared with the first one, or the one
of ``--against``, on the same images. A network trained with another recipe than ``corrected``, or with changed
values (an ablation), is a separate entry. As the trainings take hours, results can be added one at a time; earlier
entries are kept.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Annotated

import typer

from benchmarks.studies.edge_model.answers import FoldPredictions
from benchmarks.studies.edge_model.recipe_changes import changes, shipped
from fracture_edge.errors import FractureEdgeError
from train.evaluation.formatting import interval, markdown_cell, markdown_table
from train.evaluation.metrics import Estimate
from train.evaluation.record import FOLDS_FILE, CrossValidationRecord
from train.json_records import WRITTEN_ALWAYS, from_plain, read_json, write_record
from train.quiet_tensorflow import quiet_tensorflow
from train.recipes.tables import of_this_version

app = typer.Typer(add_completion=False, rich_markup_mode=None)
_SHOWN = ("auroc", "sensitivity_at_specificity_90", "ece")
_USUAL = "corrected"


@dataclass(frozen=True, slots=True, kw_only=True)
class Network:
    """Cross-validation results of a network trained with one recipe.

    Attributes:
        model: Name of the architecture.
        initial_weights: Initial weights, in words.
        seed: Random seed of folds and training.
        device: Device and backend, in words.
        precision: Keras dtype policy.
        data_fingerprint: Checksum of the data.
        changed: Values that differ from the shipped recipe, ``KEY=VALUE``; ``None`` in older files.
        recipe: Name of the recipe; ``None`` in older files, for ``corrected``.
        input: Size of the input, ``HEIGHTxWIDTH``.
        images: Number of images in all folds.
        fractured: Number of fractured images.
        epochs: Number of epochs trained in each fold.
        seconds: Duration of each fold, in seconds.
        auroc_of_folds: AUROC of each fold.
        pooled: Metrics of all images together, by name.
        compared_with: Name of the network that this one is compared with; ``None`` for that network itself and
            for a network without predictions.
        auroc_change: AUROC minus that of `compared_with`; ``None`` if there is no comparison.
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
        """Name of the network, with its recipe unless that is ``corrected``, and the changed values."""
        recipe = self.recipe or _USUAL
        about = ", ".join([*([] if recipe == _USUAL else [recipe]), *(self.changed or ())])
        return f"{self.model} ({about})" if about else self.model


def add_networks(
    folders: Sequence[Path], output: Path, *, against: str | None = None, resamples: int = 2000
) -> list[Network]:
    """Add cross-validations to `output`, and compare the AUROC of all networks with that of one.

    Args:
        folders: Folders written by `train.runs.cross_validation`, of the same images and folds as those in
            `output`. A network that is in `output` already is replaced.
        output: Path of the JSON file; the predictions are written to a CSV file of the same name beside it.
        against: Name of the network that the others are compared with; ``None`` for the one in `output`, or the
            first network with predictions.
        resamples: Number of resamples of the paired bootstrap over groups.

    Returns:
        Entries of all networks in `output`.

    Raises:
        FractureEdgeError: A folder contains no cross-validation or one of other images or folds, or there are no
            predictions of the network to compare with. Nothing is written in this case.
    """
    if not (folders or output.is_file()):
        raise FractureEdgeError(f"{output}: does not exist yet; give folders of `fracture-edge train --folds`")
    table = output.with_suffix(".csv")
    entries = {entry.name: entry for entry in read_networks(output)} if output.is_file() else {}
    predictions = FoldPredictions.read(table) if table.is_file() else None
    for folder in folders:
        try:
            path = folder / FOLDS_FILE
            added = _network(from_plain(CrossValidationRecord, read_json(path), str(path)))
            new = FoldPredictions.of_folder(folder, added.name)
        except (FractureEdgeError, OSError, ValueError) as error:
            raise FractureEdgeError(f"{folder}: no cross-validation ({error})") from error
        data = {entry.data_fingerprint for entry in entries.values()}
        if (predictions and predictions.images != new.images) or data - {added.data_fingerprint}:
            raise FractureEdgeError(f"{folder}: has other images or folds than {output}")
        known = predictions.probabilities if predictions else {}
        predictions = FoldPredictions(new.images, known | new.probabilities)
        entries[added.name] = added
    if predictions:
        reference = against or _reference(entries, predictions)
        if reference not in predictions.probabilities:
            names = ", ".join(f"'{name}'" for name in predictions.probabilities)
            raise FractureEdgeError(f"{output}: no predictions of '{reference}'; must be one of: {names}")
        for name, entry in list(entries.items()):
            compared = name in predictions.probabilities and name != reference
            entries[name] = replace(
                entry,
                compared_with=reference if compared else None,
                auroc_change=(
                    predictions.auroc_change(reference, name, resamples=resamples) if compared else None
                ),
            )
        predictions.write(table)
    write_record(output, list(entries.values()))
    return list(entries.values())


def _reference(entries: Mapping[str, Network], predictions: FoldPredictions) -> str:
    """Return the network that the others are compared with so far, or the first one with predictions."""
    before = (entry.compared_with for entry in entries.values())
    return next((name for name in before if name in predictions.probabilities), None) or next(
        name for name in entries if name in predictions.probabilities
    )


def read_networks(path: Path) -> list[Network]:
    """Read the entries that `add_networks` wrote.

    Raises:
        FractureEdgeError: The file does not exist or is not of this kind.
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
        changed=() if usual is None else tuple(changes(of_this_version(result.recipe), usual)),
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
    """Render the entries as a Markdown table with a line about images, folds and seed."""
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
        Path,
        typer.Option(
            "--output", "-o", metavar="FOLDS.json", help="JSON file; predictions are written beside it (.csv)."
        ),
    ],
    folders: Annotated[
        list[Path] | None,
        typer.Argument(metavar="ARTIFACTS/MODEL-folds...", help="Cross-validations to add.", show_default=False),
    ] = None,
    against: Annotated[
        str | None, typer.Option(metavar="NETWORK", help="Network to compare with, by its name in the table.")
    ] = None,
) -> None:
    """Add cross-validations, compare all networks on the same images, and print the table.

    Networks that were added before are kept, and replaced if they are given again.

    \b
    python -m benchmarks.studies cross-validated artifacts/edge-folds -o folds.json
    """  # noqa: D301
    quiet_tensorflow()
    print(table_of(add_networks(folders or [], output, against=against)), end="")
