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
from dataclasses import asdict, dataclass
from pathlib import Path, PurePosixPath
from types import MappingProxyType
from typing import Annotated, Any

import numpy as np
import numpy.typing as npt
import typer

from fracture_edge.errors import FractureEdgeError
from fracture_edge.files import atomic_write_text
from train.artifacts import read_record
from train.data.grouping import original_stem
from train.evaluation import bootstrap
from train.evaluation.bootstrap import Roc
from train.evaluation.formatting import interval
from train.evaluation.metrics import Estimate, percentile, wilson
from train.recipes.recipe import load_recipe

app = typer.Typer(add_completion=False, rich_markup_mode=None)
FOLDER = Path(__file__).resolve().parents[2] / "results" / "reproduction"
FIGURES = ("accuracy", "sensitivity", "specificity", "auroc")

_NOTEBOOK = "fracture-edge train {model} --recipe notebook --data notebook_set"
_CORRECTED = "fracture-edge train {model} --data fracatlas --splits benchmarks/results/fracatlas-splits.csv"


@dataclass(frozen=True, slots=True)
class Run:
    """One line of the table.

    Attributes:
        model: Name of the architecture.
        what: Recipe, data and split, in words.
        command: Trains it.
    """

    model: str
    what: str
    command: str


#: Of the runs that show what the split does: as many epochs as on the set's own split.
LONG = "custom_cnn-notebook-grouped-long"


def _runs() -> dict[str, Run]:
    runs = {}
    for model in ("vgg16", "resnet50", "custom_cnn"):
        runs[f"{model}-notebook-own"] = Run(
            model, "`notebook` on notebook_set, its own leaking split", _NOTEBOOK.format(model=model)
        )
        if model == "custom_cnn":
            runs[f"{model}-notebook-grouped"] = Run(
                model,
                "`notebook` on notebook_set, grouped split",
                "fracture-edge data split notebook_set --out grouped.csv && "
                + _NOTEBOOK.format(model=model)
                + " --splits grouped.csv",
            )
            runs[LONG] = Run(
                model,
                "the same, never stopped early, the last epoch kept",
                _NOTEBOOK.format(model=model) + " --splits grouped.csv --set patience=0 --set keep=last",
            )
        runs[f"{model}-corrected"] = Run(
            model, "`corrected` on FracAtlas, grouped split", _CORRECTED.format(model=model)
        )
    return runs


RUNS: MappingProxyType[str, Run] = MappingProxyType(_runs())


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


def collect(identifier: str, folder: Path, out: Path = FOLDER) -> dict[str, Any]:
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
    if record["model"] != RUNS[identifier].model:
        raise FractureEdgeError(f"{folder} holds '{record['model']}', not '{RUNS[identifier].model}'")
    predictions = folder / "predictions-test.csv"
    if not predictions.is_file():
        raise FractureEdgeError(f"{predictions} is missing: fracture-edge evaluate {folder.name} --split test")
    with predictions.open(newline="", encoding="utf-8") as stream:
        rows = list(csv.DictReader(stream))
    labels = np.array([int(row["label"]) for row in rows])
    scores = np.array([float(row["probability"]) for row in rows])
    groups = [row["group"] or source_of(row["path"]) for row in rows]
    evaluation = json.loads((folder / "evaluation-test.json").read_text(encoding="utf-8"))
    names = (
        "recipe_name",
        "initial_weights",
        "epochs",
        "best_epoch",
        "seconds",
        "device",
        "precision",
        "versions",
    )
    result = {
        "model": record["model"],
        "positive_class": "fractured",
        "images": len(rows),
        "fractured": int(labels.sum()),
        "groups": len(set(groups)),
        "threshold": record["threshold"],
        "figures": {
            name: asdict(estimate)
            for name, estimate in figures(labels, scores, groups, record["threshold"]).items()
        },
        "trivial_baseline": evaluation["trivial_baseline"],
        "training_images": record["data"]["images"]["train"],
        "most_epochs": sum(phase.epochs for phase in load_recipe(record["model"], record["recipe_name"]).phases),
        "fingerprint": record["data"]["fingerprint"],
        **{name: record[name] for name in names},
    }
    atomic_write_text(out / f"{identifier}.json", json.dumps(result, indent=2) + "\n")
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


def table() -> str:
    """The document's table and the runs that are missing, as Markdown."""
    header = ["model", "what", "test images (fractured; X-rays or groups)", *FIGURES, "epochs", "start", "device"]
    lines = ["| " + " | ".join(header) + " |", "|" + " --- |" * len(header)]
    missing = []
    for model in REFERENCES:
        counts = REFERENCES[model]
        cells = [interval(asdict(estimate)) for estimate in reference_figures(model).values()]
        total = counts.fractured + counts.others
        lines.append(
            f"| {model} | reference notebook, as published | {total} ({counts.fractured}) | "
            f"{' | '.join(cells)} | | | | |"
        )
        for identifier, run in RUNS.items():
            if run.model != model:
                continue
            path = FOLDER / f"{identifier}.json"
            if path.is_file():
                lines.append(_line(run, json.loads(path.read_text(encoding="utf-8"))))
            else:
                lines.append(f"| {model} | {run.what} | not run" + " |" * (len(header) - 2))
                missing.append(f"- {model}, {run.what}: `{run.command}`")
    if missing:
        lines += ["", "Not run here; these commands do, `fracture-edge evaluate` then judges:", "", *missing]
    return "\n".join(lines) + "\n"


def leak() -> str:
    """What the notebook's own split does to the figures: the same network trained with it and without it."""
    paths = [FOLDER / "custom_cnn-notebook-own.json", FOLDER / f"{LONG}.json"]
    if not all(path.is_file() for path in paths):
        return "Not run yet.\n"
    own, grouped = (json.loads(path.read_text(encoding="utf-8")) for path in paths)
    lines = [
        f"| custom_cnn, recipe `notebook`, {own['epochs']} epochs | own split | grouped split |",
        "| --- | --- | --- |",
    ]
    for name in FIGURES:
        cells = [interval(result["figures"][name]) for result in (own, grouped)]
        lines.append(f"| {name} | {' | '.join(cells)} |")
    cells = [interval(result["trivial_baseline"]) for result in (own, grouped)]
    lines.append(f"| AUROC of size and brightness alone | {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


def _line(run: Run, result: dict[str, Any]) -> str:
    cells = [
        run.model,
        run.what,
        f"{result['images']} ({result['fractured']}; {result['groups']})",
        *(interval(result["figures"][name]) for name in FIGURES),
        f"{result['epochs']} of {result['most_epochs']} (kept: {result['best_epoch']})",
        result["initial_weights"],
        f"{result['device']}, {result['precision']}, {result['seconds'] / 60:.0f} min",
    ]
    return "| " + " | ".join(cells) + " |"


@app.command()
def reproduction(
    identifier: Annotated[str, typer.Argument(metavar="ID", help=f"One of {', '.join(RUNS)}.")],
    folder: Annotated[
        Path, typer.Argument(metavar="ARTIFACTS/MODEL", help="A model, evaluated on its test split.")
    ],
) -> None:
    """Keep the figures of one evaluated run for the table of docs/reproduction.md, and print them."""
    print(json.dumps(collect(identifier, folder)["figures"], indent=2))
