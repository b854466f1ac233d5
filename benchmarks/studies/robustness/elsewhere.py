"""Judge a model on images of another data set: `python -m benchmarks.studies elsewhere MODEL.onnx --data FOLDER`.

Where a data set has many copies of few X-rays, rotated or stored again, each X-ray counts once, with the mean of
P(fractured) over its copies (`train.data.grouping` says what a copy is). Nothing is fitted or chosen here.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated

import numpy as np
import typer
from tqdm import tqdm

from benchmarks.records.environment import Environment
from fracture_edge.classifier import FractureClassifier
from fracture_edge.console import say
from fracture_edge.errors import FractureEdgeError
from fracture_edge.prediction import Prediction
from train.cli.options import DataOption
from train.data.batches import fingerprint
from train.data.dataset import ImageTable, read_table
from train.data.grouping import find_links, with_groups
from train.data.splits import conflicting_rows, say_left_out, scan
from train.evaluation.formatting import interval, markdown_table
from train.evaluation.metrics import Estimate, auroc, wilson
from train.evaluation.predictions import groups_of
from train.json_records import write_record

app = typer.Typer(add_completion=False, rich_markup_mode=None)


@dataclass(frozen=True, slots=True, kw_only=True)
class Elsewhere:
    """Figures of a model on another data set.

    Attributes:
        model: Name of the model.
        model_sha256: SHA-256 checksum of the model file, hexadecimal.
        data: Name of the data set.
        data_fingerprint: Checksum of the data.
        images: Number of images with a probability.
        refused: Number of images that could not be read.
        xrays: Number of X-rays that the images show.
        fractured_xrays: Number of fractured X-rays.
        auroc: AUROC of the X-rays, one mean for each.
        uncertain: Share of X-rays most of whose images are "uncertain".
        environment: Machine and package versions.
    """

    model: str
    model_sha256: str
    data: str
    data_fingerprint: str
    images: int
    refused: int
    xrays: int
    fractured_xrays: int
    auroc: Estimate
    uncertain: Estimate
    environment: Environment


@dataclass(frozen=True, slots=True)
class XRay:
    """Answers to the images of one X-ray.

    Attributes:
        label: Label of the X-ray, 0 or 1.
        probability: Mean of P(fractured).
        uncertain: Share of its images with the decision "uncertain".
    """

    label: int
    probability: float
    uncertain: float


def read_xrays(data: Path) -> ImageTable:
    """Read all images of a data set and group those that show one X-ray.

    Copies that are labelled both ways are left out.

    Args:
        data: Data folder.

    Raises:
        DataError: The folder has no labelled images.
    """
    table = read_table(data)
    say_left_out(table)
    # Neighbouring numbers of FracAtlas are other views of one patient, not copies.
    links = replace(find_links(table, scan(table)), neighbours=())
    wrong = conflicting_rows(table, links)
    if wrong:
        say(f"left out: {len(wrong)} images whose copies have another label")
    items = tuple(item for row, item in enumerate(with_groups(table, links)) if row not in wrong)
    return replace(table, items=items)


def xrays_of(table: ImageTable, predictions: Sequence[Prediction]) -> Mapping[str, XRay]:
    """Average the answers of each X-ray.

    Args:
        table: Labelled images with groups, N; the images of a group show one X-ray.
        predictions: Predictions of these images, N; those without a probability are left out.

    Returns:
        X-rays by group.

    Raises:
        FractureEdgeError: A group has images of both labels.
    """
    members: dict[str, list[tuple[int, float, bool]]] = {}
    for item, group, each in zip(table, groups_of(table), predictions, strict=True):
        if each.probability is not None:
            members.setdefault(group, []).append((item.label, each.probability, each.decision == "uncertain"))
    found = {}
    for group, rows in members.items():
        labels, probabilities, uncertain = zip(*rows, strict=True)
        if len(set(labels)) > 1:
            raise FractureEdgeError(f"group {group}: copies of one X-ray have both labels")
        found[group] = XRay(labels[0], float(np.mean(probabilities)), float(np.mean(uncertain)))
    return found


def measure(classifier: FractureClassifier, table: ImageTable, name: str) -> Elsewhere:
    """Predict all images and compute the figures of their X-rays.

    Args:
        classifier: Classifier with the model.
        table: Labelled images with groups.
        name: Name of the data set.

    Raises:
        FractureEdgeError: No image could be read, a class is missing, or copies have both labels.
    """
    files = [table.file(item) for item in table]
    predictions = list(tqdm(classifier.predict_many(files), "predicting", len(files), unit="img", disable=None))
    xrays = xrays_of(table, predictions)
    labels = [each.label for each in xrays.values()]
    if set(labels) != {0, 1}:
        raise FractureEdgeError(f"{name}: must have readable images of both classes")
    refused = sum(each.probability is None for each in predictions)
    return Elsewhere(
        model=classifier.info.name,
        model_sha256=classifier.sha256,
        data=name,
        data_fingerprint=fingerprint(table),
        images=len(files) - refused,
        refused=refused,
        xrays=len(xrays),
        fractured_xrays=sum(labels),
        auroc=auroc(labels, np.array([each.probability for each in xrays.values()]), list(xrays), resamples=2000),
        uncertain=wilson(sum(each.uncertain > 0.5 for each in xrays.values()), len(xrays)),
        environment=Environment.here(),
    )


def table_of(results: Sequence[Elsewhere]) -> str:
    """Render the results as a Markdown table."""
    return markdown_table(
        ("model", "data", "images", "X-rays, fractured", "AUROC of the X-rays", "uncertain"),
        (
            (
                f"{each.model} (SHA-256 {each.model_sha256[:12]})",
                each.data,
                each.images,
                f"{each.xrays}, {each.fractured_xrays}",
                interval(each.auroc),
                f"{each.uncertain.value:.1%} [{each.uncertain.low:.1%}, {each.uncertain.high:.1%}]",
            )
            for each in results
        ),
    )


@app.command()
def run(
    data: DataOption,
    model: Annotated[
        Path | None,
        typer.Argument(metavar="MODEL", help="Model file. Default: the embedded model.", show_default=False),
    ] = None,
    output: Annotated[
        Path | None, typer.Option("--output", "-o", metavar="FILE.json", help="Write the JSON here.")
    ] = None,
) -> None:
    """Judge a model on images of another data set, one score for each X-ray; print the figures.

    \b
    python -m benchmarks.studies elsewhere --data notebook_set
    """  # noqa: D301
    result = measure(FractureClassifier(model), read_xrays(data), data.resolve().name)
    if output is not None:
        write_record(output, result)
    print(table_of([result]), end="")
