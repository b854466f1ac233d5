"""The reference's figures beside ours: `python -m benchmarks.studies reproduction ID ARTIFACTS/MODEL`.

Reads what `fracture-edge evaluate --split test` left in a model's folder and keeps the figures of one run in
``benchmarks/results/reproduction``; ``docs/reproduction.md`` is made from these files by `python -m
benchmarks.studies documents`.

Intervals are those of a bootstrap over groups. For the notebook's set a group is an X-ray (the file name before
``-rotated``): its images are turned copies of at most 99 X-rays, so intervals that took every image for
independent would be far too narrow.
"""

import csv
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from types import MappingProxyType
from typing import Annotated, Any

import numpy as np
import numpy.typing as npt
import typer

from benchmarks.studies.edge_model.reproduction_runs import LONG, RUNS, Run
from fracture_edge.errors import FractureEdgeError
from train.artifacts import ClassCounts, read_record
from train.data.grouping import original_stem
from train.evaluation import bootstrap
from train.evaluation.bootstrap import Roc
from train.evaluation.formatting import interval, markdown_table
from train.evaluation.metrics import UNDEFINED, Estimate, percentile, wilson
from train.evaluation.record import read_evaluation
from train.json_records import from_plain, read_json, to_plain, write_record
from train.recipes.recipe import load_recipe

app = typer.Typer(add_completion=False, rich_markup_mode=None)
FOLDER = Path(__file__).resolve().parents[2] / "results" / "reproduction"
FIGURES = ("accuracy", "sensitivity", "specificity", "auroc")


@dataclass(frozen=True, slots=True)
class Reference:
    """Counts behind the reference notebook's test figures, fractured being the positive class.

    The notebook prints accuracy, and precision and recall of the class "not fractured"; these are the counts of
    its confusion matrices.
    """

    hits: int
    fractured: int
    rejections: int
    others: int


REFERENCES: MappingProxyType[str, Reference] = MappingProxyType(
    {
        "vgg16": Reference(199, 199, 200, 200),
        "resnet50": Reference(169, 199, 198, 200),
        "custom_cnn": Reference(116, 199, 168, 200),
    }
)


def reference_figures(model: str) -> dict[str, Estimate]:
    """Accuracy, sensitivity and specificity of the reference, with Wilson's intervals over its 399 images."""
    counts = REFERENCES[model]
    return {
        "accuracy": wilson(counts.hits + counts.rejections, counts.fractured + counts.others),
        "sensitivity": wilson(counts.hits, counts.fractured),
        "specificity": wilson(counts.rejections, counts.others),
    }


@dataclass(frozen=True, slots=True, kw_only=True)
class Reproduced:
    """The figures of one run.

    Attributes:
        model: Name of the architecture.
        positive_class: Always ``fractured``.
        images: Number of test images.
        fractured: Number of fractured ones.
        groups: Number of X-rays or groups that they come from.
        threshold: Threshold on P(fractured), chosen on validation.
        figures: Figures by name of `FIGURES`.
        trivial_baseline: AUROC of size and brightness alone.
        training_images: Number of training images by class.
        most_epochs: Most epochs that the recipe allows.
        fingerprint: Checksum of data and splits.
        recipe_name: Name of the recipe.
        initial_weights: Initial weights, in words.
        epochs: Number of epochs trained.
        best_epoch: Epoch whose weights were kept, counted from 1.
        seconds: Duration of the training.
        device: Device and backend, in words.
        precision: Keras's dtype policy.
        versions: Versions of the packages.
    """

    model: str
    positive_class: str
    images: int
    fractured: int
    groups: int
    threshold: float
    figures: dict[str, Estimate]
    trivial_baseline: Estimate
    training_images: ClassCounts
    most_epochs: int
    fingerprint: str
    recipe_name: str
    initial_weights: str
    epochs: int
    best_epoch: int
    seconds: float
    device: str
    precision: str
    versions: dict[str, str]


def collect(identifier: str, folder: Path, out: Path = FOLDER) -> Reproduced:
    """Keep the figures of one evaluated model.

    Args:
        identifier: A key of `RUNS`.
        folder: ``artifacts/<model>``, with ``evaluation-test.json`` and ``predictions-test.csv``.
        out: Where ``IDENTIFIER.json`` goes.

    Raises:
        FractureEdgeError: No such run, another model, or it has not been evaluated on its test split.
    """
    if identifier not in RUNS:
        raise FractureEdgeError(f"no run '{identifier}'; there are {', '.join(RUNS)}")
    record = read_record(folder)
    if record.model != RUNS[identifier].model:
        raise FractureEdgeError(f"{folder} holds '{record.model}', not '{RUNS[identifier].model}'")
    predictions = folder / "predictions-test.csv"
    if not predictions.is_file():
        raise FractureEdgeError(f"{predictions} is missing: fracture-edge evaluate {folder.name} --split test")
    with predictions.open(newline="", encoding="utf-8") as stream:
        rows = list(csv.DictReader(stream))
    labels = np.array([int(row["label"]) for row in rows])
    scores = np.array([float(row["probability"]) for row in rows])
    groups = [row["group"] or source_of(row["path"]) for row in rows]
    evaluation = read_evaluation(folder, "test")
    result = Reproduced(
        model=record.model,
        positive_class=record.positive_class,
        images=len(rows),
        fractured=int(labels.sum()),
        groups=len(set(groups)),
        threshold=record.threshold,
        figures=figures(labels, scores, groups, record.threshold),
        trivial_baseline=evaluation.trivial_baseline or UNDEFINED,
        training_images=record.data.images["train"],
        most_epochs=sum(phase.epochs for phase in load_recipe(record.model, record.recipe_name).phases),
        fingerprint=record.data.fingerprint,
        recipe_name=record.recipe_name,
        initial_weights=record.initial_weights,
        epochs=record.epochs,
        best_epoch=record.best_epoch,
        seconds=record.seconds,
        device=record.device,
        precision=record.precision,
        versions=record.versions,
    )
    write_record(out / f"{identifier}.json", result)
    return result


def source_of(path: str) -> str:
    """The X-ray that an image of the notebook's set was made from: class, and name without marks of turning."""
    return f"{PurePosixPath(path).parent.name}/{original_stem(path)}"


def figures(
    labels: npt.NDArray[np.int_], scores: npt.NDArray[np.float64], groups: Sequence[str], threshold: float
) -> dict[str, Estimate]:
    """Accuracy, sensitivity, specificity at `threshold` and AUROC, each with its bootstrap over groups."""
    called, fractured = scores >= threshold, labels == 1
    right = called == fractured

    def statistics(weights: npt.NDArray[Any]) -> dict[str, npt.NDArray[Any]]:
        return {
            "accuracy": bootstrap.mean(right, weights),
            "sensitivity": bootstrap.share(called, fractured, weights),
            "specificity": bootstrap.share(~called, ~fractured, weights),
            "auroc": Roc.of(fractured, scores, weights).area(),
        }

    values = statistics(np.ones((1, len(labels))))
    drawn = bootstrap.resampled(statistics, labels, groups, resamples=2000, seed=0)
    return {name: percentile(float(values[name][0]), drawn[name]) for name in values}


def _read(path: Path) -> Reproduced:
    return from_plain(Reproduced, read_json(path), str(path))


def table() -> str:
    """The document's table and the runs that are missing, as Markdown."""
    header = ("model", "what", "test images (fractured; X-rays or groups)", *FIGURES, "epochs", "start", "device")
    rows: list[Sequence[str]] = []
    missing = []
    for model in REFERENCES:
        counts = REFERENCES[model]
        figures_then = [interval(estimate) for estimate in reference_figures(model).values()]
        total = counts.fractured + counts.others
        published = f"{total} ({counts.fractured})"
        rows.append((model, "reference notebook, as published", published, *figures_then, "", "", "", ""))
        for identifier, run in RUNS.items():
            if run.model != model:
                continue
            path = FOLDER / f"{identifier}.json"
            if path.is_file():
                rows.append(_cells(run, _read(path)))
            else:
                rows.append((model, run.what, "not run", *[""] * (len(header) - 3)))
                missing.append(f"- {model}, {run.what}: `{run.command}`\n")
    text = markdown_table(header, rows)
    if missing:
        text += "\nNot run here; these commands do, `fracture-edge evaluate` then judges:\n\n" + "".join(missing)
    return text


def leak() -> str:
    """What the notebook's own split does to the figures: the same network trained with it and without it."""
    paths = [FOLDER / "custom_cnn-notebook-own.json", FOLDER / f"{LONG}.json"]
    if not all(path.is_file() for path in paths):
        return "Not run yet.\n"
    own, grouped = map(_read, paths)
    header = (f"custom_cnn, recipe `notebook`, {own.epochs} epochs", "own split", "grouped split")
    rows = [(name, interval(own.figures[name]), interval(grouped.figures[name])) for name in FIGURES]
    baselines = (interval(own.trivial_baseline), interval(grouped.trivial_baseline))
    return markdown_table(header, [*rows, ("AUROC of size and brightness alone", *baselines)])


def _cells(run: Run, result: Reproduced) -> tuple[str, ...]:
    return (
        run.model,
        run.what,
        f"{result.images} ({result.fractured}; {result.groups})",
        *(interval(result.figures[name]) for name in FIGURES),
        f"{result.epochs} of {result.most_epochs} (kept: {result.best_epoch})",
        result.initial_weights,
        f"{result.device}, {result.precision}, {result.seconds / 60:.0f} min",
    )


@app.command()
def reproduction(
    identifier: Annotated[str, typer.Argument(metavar="ID", help=f"One of {', '.join(RUNS)}.")],
    folder: Annotated[
        Path, typer.Argument(metavar="ARTIFACTS/MODEL", help="A model, evaluated on its test split.")
    ],
) -> None:
    """Keep the figures of one evaluated run for the table of docs/reproduction.md, and print them."""
    print(json.dumps(to_plain(collect(identifier, folder).figures), indent=2))
