"""Compare runs with the reference notebook: `python -m benchmarks.studies reproduction ID ARTIFACTS/MODEL`.

Reads the results of `fracture-edge evaluate --split test` in the folder of a model, and stores the metrics of the
run in ``benchmarks/results/reproduction``; `python -m benchmarks.studies documents` makes the tables of
``docs/reproduction.md`` from these files.

Intervals come from a bootstrap over groups. In the notebook's data set a group is an X-ray (the file name before
``-rotated``): its images are rotated copies of at most 99 X-rays, so intervals that treat every image as
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
METRICS = ("accuracy", "sensitivity", "specificity", "auroc")


@dataclass(frozen=True, slots=True)
class Reference:
    """Counts from the confusion matrices of the reference notebook on its test set.

    The notebook prints accuracy, and precision and recall of the class "not fractured"; here fractured is the
    positive class.

    Attributes:
        hits: Number of fractured images that are predicted as fractured.
        fractured: Number of fractured images.
        rejections: Number of other images that are predicted as not fractured.
        others: Number of other images.
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


def reference_metrics(model: str) -> dict[str, Estimate]:
    """Compute accuracy, sensitivity and specificity of the reference, with Wilson intervals over its 399 images.

    Args:
        model: Name of the architecture, a key of `REFERENCES`.
    """
    counts = REFERENCES[model]
    return {
        "accuracy": wilson(counts.hits + counts.rejections, counts.fractured + counts.others),
        "sensitivity": wilson(counts.hits, counts.fractured),
        "specificity": wilson(counts.rejections, counts.others),
    }


@dataclass(frozen=True, slots=True, kw_only=True)
class Reproduced:
    """Metrics of one run on its test set.

    Attributes:
        model: Name of the architecture.
        positive_class: Name of the positive class, ``fractured``.
        images: Number of test images.
        fractured: Number of fractured test images.
        groups: Number of X-rays or groups of the test images.
        threshold: Threshold on P(fractured), chosen on validation.
        figures: Metrics by name, those of `METRICS`.
        trivial_baseline: AUROC of size and brightness alone.
        training_images: Number of training images by class.
        most_epochs: Maximum number of epochs of the recipe.
        fingerprint: Checksum of data and splits.
        recipe_name: Name of the recipe.
        initial_weights: Initial weights, in words.
        epochs: Number of epochs trained.
        best_epoch: Epoch whose weights were kept, counted from 1.
        seconds: Duration of the training, in seconds.
        device: Device and backend, in words.
        precision: Keras dtype policy.
        versions: Versions of the packages by name.
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
    """Compute and store the metrics of an evaluated model.

    Args:
        identifier: Identifier of the run, a key of `RUNS`.
        folder: Folder of the model, with ``evaluation-test.json`` and ``predictions-test.csv``.
        out: Folder in which to write ``IDENTIFIER.json``.

    Raises:
        FractureEdgeError: The identifier is unknown, the folder contains another model, or the model has not been
            evaluated on its test split.
    """
    if identifier not in RUNS:
        raise FractureEdgeError(f"no run '{identifier}'; must be one of: {', '.join(RUNS)}")
    record = read_record(folder)
    if record.model != RUNS[identifier].model:
        raise FractureEdgeError(f"{folder} contains '{record.model}', not '{RUNS[identifier].model}'")
    predictions = folder / "predictions-test.csv"
    if not predictions.is_file():
        raise FractureEdgeError(f"{predictions} is missing: run fracture-edge evaluate {folder.name} --split test")
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
        figures=compute_metrics(labels, scores, groups, record.threshold),
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
    """Return the X-ray behind an image of the notebook's data set: class, and file name without ``-rotated``."""
    return f"{PurePosixPath(path).parent.name}/{original_stem(path)}"


def compute_metrics(
    labels: npt.NDArray[np.int_], scores: npt.NDArray[np.float64], groups: Sequence[str], threshold: float
) -> dict[str, Estimate]:
    """Compute accuracy, sensitivity, specificity and AUROC with the intervals of a bootstrap over groups.

    Args:
        labels: Labels, 0 or 1, [N].
        scores: P(fractured), [N].
        groups: Groups of the images, N.
        threshold: Decision threshold.
    """
    predicted, fractured = scores >= threshold, labels == 1
    correct = predicted == fractured

    def statistics(weights: npt.NDArray[Any]) -> dict[str, npt.NDArray[Any]]:
        return {
            "accuracy": bootstrap.mean(correct, weights),
            "sensitivity": bootstrap.share(predicted, fractured, weights),
            "specificity": bootstrap.share(~predicted, ~fractured, weights),
            "auroc": Roc.of(fractured, scores, weights).area(),
        }

    values = statistics(np.ones((1, len(labels))))
    resampled = bootstrap.resampled(statistics, labels, groups, resamples=2000, seed=0)
    return {name: percentile(float(values[name][0]), resampled[name]) for name in values}


def _read(path: Path) -> Reproduced:
    return from_plain(Reproduced, read_json(path), str(path))


def table() -> str:
    """Render the table of all runs, and the commands of those that are missing, as Markdown."""
    header = ("model", "what", "test images (fractured; X-rays or groups)", *METRICS, "epochs", "start", "device")
    rows: list[Sequence[str]] = []
    missing = []
    for model in REFERENCES:
        counts = REFERENCES[model]
        published_metrics = [interval(estimate) for estimate in reference_metrics(model).values()]
        total = counts.fractured + counts.others
        published = f"{total} ({counts.fractured})"
        rows.append((model, "reference notebook, as published", published, *published_metrics, "", "", "", ""))
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
    """Render the effect of the notebook's leaking split, compared with a grouped split, as a Markdown table."""
    paths = [FOLDER / "custom_cnn-notebook-own.json", FOLDER / f"{LONG}.json"]
    if not all(path.is_file() for path in paths):
        return "Not run yet.\n"
    own, grouped = map(_read, paths)
    header = (f"custom_cnn, recipe `notebook`, {own.epochs} epochs", "own split", "grouped split")
    rows = [(name, interval(own.figures[name]), interval(grouped.figures[name])) for name in METRICS]
    baselines = (interval(own.trivial_baseline), interval(grouped.trivial_baseline))
    return markdown_table(header, [*rows, ("AUROC of size and brightness alone", *baselines)])


def _cells(run: Run, result: Reproduced) -> tuple[str, ...]:
    return (
        run.model,
        run.described(result.recipe_name),
        f"{result.images} ({result.fractured}; {result.groups})",
        *(interval(result.figures[name]) for name in METRICS),
        f"{result.epochs} of {result.most_epochs} (kept: {result.best_epoch})",
        result.initial_weights,
        f"{result.device}, {result.precision}, {result.seconds / 60:.0f} min",
    )


@app.command()
def reproduction(
    identifier: Annotated[str, typer.Argument(metavar="ID", help=f"Run, one of: {', '.join(RUNS)}.")],
    folder: Annotated[
        Path,
        typer.Argument(metavar="ARTIFACTS/MODEL", help="Folder of a model that was evaluated on its test split."),
    ],
    output: Annotated[Path, typer.Option(help="Folder of the stored metrics.")] = FOLDER,
) -> None:
    """Store the metrics of an evaluated run for the table of docs/reproduction.md, and print them."""
    print(json.dumps(to_plain(collect(identifier, folder, output).figures), indent=2))
