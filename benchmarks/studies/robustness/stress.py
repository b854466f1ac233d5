"""Robustness and shortcut tests of a model: `python -m benchmarks.studies stress MODEL.onnx`.

On one split, labels and groups as its split file says:

* degraded images: brightness, contrast, rotation, compression, resolution, noise;
* shortcuts: border or corners blackened, images with metal left out, the fractures themselves covered (and the
  same boxes covered on images without fracture). What is left of the AUROC in the last case is told from
  something else than the fracture;
* the pointing game: whether the heat map's maximum lies on the fracture.

Intervals are of a bootstrap over groups. A change is compared with the unchanged images in the same draws.
"""

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path, PurePosixPath
from typing import Annotated, Any

import numpy as np
import typer
from tqdm import tqdm

from benchmarks.environment import environment
from benchmarks.studies.robustness.degradations import COVERED, DEGRADED, Grey, drawn_marks, without_boxes
from benchmarks.studies.robustness.pointing import MARGIN, hit, hits_at_centre, peak
from fracture_edge.classifier import FractureClassifier
from fracture_edge.errors import FractureEdgeError
from fracture_edge.files import atomic_write_text
from fracture_edge.images.image_file import load_image
from fracture_edge.prediction import Prediction
from train.cli.options import DataOption, SplitsOption
from train.data.batches import fingerprint
from train.data.dataset import ImageTable
from train.data.localisation import Marks, fracture_marks
from train.data.splits import divided_table
from train.evaluation import bootstrap
from train.evaluation.bootstrap import Roc
from train.evaluation.formatting import interval
from train.evaluation.metrics import Estimate, auroc, evaluate, percentile, wilson
from train.evaluation.predictions import groups_of

app = typer.Typer(add_completion=False, rich_markup_mode=None)
RESAMPLES, SEED = 2000, 0
WITHOUT_METAL = "images with metal left out"
BOXES_COVERED = "fractures covered, and the same boxes elsewhere"


class Split(StrEnum):
    """Splits that may judge a model."""

    VAL = "val"
    TEST = "test"


@dataclass(frozen=True, slots=True)
class Subject:
    """A model and the images it is judged on.

    Attributes:
        classifier: The model.
        part: Labelled images of one split.
        images: Their pixels, in order.
    """

    classifier: FractureClassifier
    part: ImageTable
    images: tuple[Grey, ...]

    @classmethod
    def of(cls, classifier: FractureClassifier, part: ImageTable) -> "Subject":
        """Decode the images of `part`."""
        return cls(classifier, part, tuple(load_image(part.file(item)) for item in part))

    def predictions(self, images: Sequence[Grey], label: str) -> list[Prediction]:
        """Answers to images, which may be changed ones."""
        answers = self.classifier.predict_many(images)
        return list(tqdm(answers, label, len(images), unit="img", disable=None))

    def scores(self, images: Sequence[Grey], label: str) -> bootstrap.Floats:
        """P(fractured) of images.

        Raises:
            FractureEdgeError: One of them has no answer.
        """
        found = self.predictions(images, label)
        if refused := [each for each in found if each.probability is None]:
            raise FractureEdgeError(f"{label}: {len(refused)} images have no answer, first: {refused[0].reason}")
        return np.array([each.probability for each in found], np.float64)


def stress(subject: Subject) -> dict[str, Any]:
    """Measure everything.

    Returns:
        Plain values: ``figures`` of the unchanged images, ``degraded`` and ``shortcuts`` with ``auroc`` and its
        ``change`` by name, ``pointing`` where the model has a heat map and the data set has boxes.
    """
    part, classifier = subject.part, subject.classifier
    labels, groups = np.array(part.labels), groups_of(part)
    unchanged = subject.scores(subject.images, "unchanged")
    threshold = classifier.info.policy.threshold

    def compared(scores: bootstrap.Floats) -> dict[str, Any]:
        return _compared(labels, groups, unchanged, scores)

    def changed(change: Callable[[Grey], Grey], label: str) -> dict[str, Any]:
        return compared(subject.scores([change(image) for image in subject.images], label))

    shortcuts = {name: changed(change, name) for name, change in COVERED.items()}
    plain = [row for row, item in enumerate(part) if item.metadata.get("hardware") != "1"]
    if len(plain) < len(part):
        found = auroc(labels[plain].tolist(), unchanged[plain], [groups[row] for row in plain])
        shortcuts[WITHOUT_METAL] = {"auroc": found.to_json(), "images": len(plain)}
    marks = _marks_of(part)
    if marks:
        shortcuts[BOXES_COVERED] = compared(subject.scores(_covered(subject, marks), BOXES_COVERED))
    figures = evaluate(labels.tolist(), unchanged, groups, threshold, resamples=RESAMPLES, seed=SEED)
    return {
        "threshold": threshold,
        "figures": {name: estimate.to_json() for name, estimate in figures.items()},
        "degraded": {name: changed(change, name) for name, change in DEGRADED.items()},
        "shortcuts": shortcuts,
        "pointing": _pointing(subject, marks),
    }


def _compared(
    labels: bootstrap.Array, groups: Sequence[str], before: bootstrap.Floats, after: bootstrap.Floats
) -> dict[str, Any]:
    """AUROC of changed images and its difference from that of the unchanged ones."""
    truth = labels == 1

    def areas(weights: bootstrap.Floats) -> dict[str, bootstrap.Floats]:
        first, second = (Roc.of(truth, scores, weights).area() for scores in (before, after))
        return {"auroc": second, "change": second - first}

    ones = np.ones((1, len(truth)))
    drawn = bootstrap.resampled(areas, truth, groups, resamples=RESAMPLES, seed=SEED)
    return {name: percentile(float(value[0]), drawn[name]).to_json() for name, value in areas(ones).items()}


def _marks_of(part: ImageTable) -> dict[int, Marks]:
    """Marks of the fractured images by their row; empty where the data set has none."""
    marks = fracture_marks(part.root) or {}
    names = [PurePosixPath(item.path).name for item in part]
    return {row: marks[name] for row, name in enumerate(names) if part.items[row].label and name in marks}


def _covered(subject: Subject, marks: dict[int, Marks]) -> list[Grey]:
    others = drawn_marks(list(marks.values()), len(subject.images), seed=SEED)
    return [
        without_boxes(image, marks.get(row, others[row]))
        for row, image in enumerate(subject.images)
    ]  # fmt: skip


def _pointing(subject: Subject, marks: dict[int, Marks]) -> dict[str, Any] | None:
    found = subject.predictions([subject.images[row] for row in marks], "pointing game")
    if not found or found[0].heatmap is None:
        return None
    preprocessing = subject.classifier.info.preprocessing
    points = [
        peak(each.heatmap, preprocessing, subject.images[row].shape[::-1])
        for row, each in zip(marks, found, strict=True)
        if each.heatmap is not None
    ]
    boxes = list(marks.values())

    def shares(margin: float) -> dict[str, Any]:
        ours = [hit(point, each, margin=margin) for point, each in zip(points, boxes, strict=True)]
        centre = hits_at_centre(boxes, margin=margin)
        return {
            "model": wilson(sum(ours), len(ours)).to_json(),
            "centre": wilson(sum(centre), len(centre)).to_json(),
        }

    return {"images": len(boxes), "margin": MARGIN, "within_margin": shares(MARGIN), "within_box": shares(0.0)}


def tables_of(result: dict[str, Any]) -> str:
    """The result as Markdown."""
    lines = ["| images | AUROC | change |", "| --- | --- | --- |"]
    lines.append(f"| unchanged | {interval(result['figures']['auroc'])} | |")
    for name, row in (result["degraded"] | result["shortcuts"]).items():
        lines.append(f"| {name} | {interval(row['auroc'])} | {interval(row.get('change'))} |")
    text = "\n".join(lines) + "\n"
    if game := result["pointing"]:
        share, plain = game["within_margin"], game["within_box"]
        text += (
            f"\nPointing game, {game['images']} fractured images: the heat map's maximum lies within a box, grown "
            f"by {game['margin']:.0%} of the image's sides, for {interval(share['model'])} (the image's centre: "
            f"{interval(share['centre'])}); within the box itself for {interval(plain['model'])} "
            f"({interval(plain['centre'])}).\n"
        )
    return text


def side_by_side(results: dict[str, dict[str, Any]]) -> str:
    """AUROC of several models as Markdown.

    Args:
        results: By what heads the column; all of the same images.
    """
    names = list(next(iter(results.values()))["degraded"])
    rows = {"unchanged": [result["figures"]["auroc"] for result in results.values()]}
    rows |= {name: [result["degraded"][name]["auroc"] for result in results.values()] for name in names}
    games = [result["pointing"]["within_margin"]["model"] for result in results.values()]
    rows["(pointing game: share)"] = games
    lines = [f"| images | {' | '.join(results)} |", "|" + " --- |" * (1 + len(results))]
    lines += [f"| {name} | {' | '.join(map(interval, found))} |" for name, found in rows.items()]
    return "\n".join(lines) + "\n"


def worst(result: dict[str, Any]) -> tuple[str, Estimate]:
    """The degradation with the lowest AUROC."""
    name, row = min(result["degraded"].items(), key=lambda entry: float(entry[1]["auroc"]["value"]))
    return name, Estimate(**row["auroc"])


@app.command()
def run(
    data: DataOption,
    splits: SplitsOption,
    model: Annotated[
        Path | None,
        typer.Argument(metavar="MODEL", help="A model file; the embedded one if not given.", show_default=False),
    ] = None,
    split: Annotated[Split, typer.Option(help="Images to judge by; test is for the last look.")] = Split.VAL,
    output: Annotated[
        Path | None, typer.Option("--output", "-o", metavar="FILE.json", help="Write the JSON here.")
    ] = None,
) -> None:
    """Test a model on degraded images, for shortcuts, and by the pointing game; print the tables.

    \b
    python -m benchmarks.studies stress --data fracatlas --splits splits.csv --split val
    """  # noqa: D301
    # Changed images are answered whatever they look like.
    classifier = FractureClassifier(model, check_images=False)
    table = divided_table(data, splits, seed=0)
    result = {
        "model": classifier.info.name,
        "model_sha256": classifier.sha256,
        "data_fingerprint": fingerprint(table),
        "split": split.value,
        **stress(Subject.of(classifier, table.where(split.value))),
        "environment": environment(),
    }
    if output is not None:
        atomic_write_text(output, json.dumps(result, indent=2) + "\n")
    print(tables_of(result), end="")
