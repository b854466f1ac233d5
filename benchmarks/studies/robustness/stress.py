"""Run robustness and shortcut tests of a model: `python -m benchmarks.studies stress MODEL.onnx`.

Evaluates the model on one split:

* on degraded images: brightness, contrast, rotation, compression, resolution, noise;
* for shortcuts: with border or corners blackened, without images that contain metal, and with the fractures
  covered (and the same boxes covered in images without fracture). The AUROC that remains in the last case comes
  from something other than the fracture;
* with the pointing game: whether the maximum of the heat map lies on the fracture.

Intervals come from a bootstrap over groups; changes are computed in the same resamples as the unchanged images.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Annotated

import numpy as np
import typer
from tqdm import tqdm

from benchmarks.records.environment import Environment
from benchmarks.studies.options import Split, SplitOption
from benchmarks.studies.robustness.degradations import COVERED, DEGRADED, Grey, sample_marks, without_boxes
from benchmarks.studies.robustness.pointing import MARGIN, hit, hits_at_centre, peak
from benchmarks.studies.robustness.stress_result import (
    Changed,
    Hits,
    PointingGame,
    Stress,
    tables_of,
)
from fracture_edge.classifier import FractureClassifier
from fracture_edge.errors import FractureEdgeError
from fracture_edge.images.image_file import load_image
from fracture_edge.prediction import Prediction
from train.cli.options import DataOption, SplitsOption
from train.data.batches import fingerprint
from train.data.dataset import ImageTable
from train.data.localisation import Marks, fracture_marks
from train.data.splits import read_table_with_splits
from train.evaluation import bootstrap
from train.evaluation.bootstrap import Roc
from train.evaluation.metrics import auroc, evaluate, percentile, wilson
from train.evaluation.predictions import groups_of
from train.json_records import write_record

app = typer.Typer(add_completion=False, rich_markup_mode=None)
RESAMPLES, SEED = 2000, 0
WITHOUT_METAL = "images with metal left out"
BOXES_COVERED = "fractures covered, and the same boxes elsewhere"


@dataclass(frozen=True, slots=True)
class TestedModel:
    """Model and the images to test it on.

    Attributes:
        classifier: Classifier with the model.
        part: Labelled images of one split, N.
        images: Grey levels of these images, N.
        split: Name of the split.
        data_fingerprint: Checksum of data and splits.
    """

    classifier: FractureClassifier
    part: ImageTable
    images: tuple[Grey, ...]
    split: str
    data_fingerprint: str

    @classmethod
    def of(cls, classifier: FractureClassifier, table: ImageTable, split: str) -> "TestedModel":
        """Create it from a classifier and the images of a split, which are decoded."""
        part = table.where(split)
        images = tuple(load_image(part.file(item)) for item in part)
        return cls(classifier, part, images, split, fingerprint(table))

    def predictions(self, images: Sequence[Grey], label: str) -> list[Prediction]:
        """Predict images, with a progress bar."""
        predictions = self.classifier.predict_many(images)
        return list(tqdm(predictions, label, len(images), unit="img", disable=None))

    def scores(self, images: Sequence[Grey], label: str) -> bootstrap.Floats:
        """Return P(fractured) of images, [N].

        Raises:
            FractureEdgeError: An image was refused.
        """
        found = self.predictions(images, label)
        if refused := [each for each in found if each.probability is None]:
            raise FractureEdgeError(f"{label}: {len(refused)} images were refused, first: {refused[0].reason}")
        return np.array([each.probability for each in found], np.float64)


def stress(tested: TestedModel) -> Stress:
    """Run all tests.

    Raises:
        FractureEdgeError: An image was refused.
    """
    part, classifier = tested.part, tested.classifier
    labels, groups = np.array(part.labels), groups_of(part)
    unchanged = tested.scores(tested.images, "unchanged")
    threshold = classifier.info.policy.threshold

    def compared(scores: bootstrap.Floats) -> Changed:
        return _compared(labels, groups, unchanged, scores)

    def changed(change: Callable[[Grey], Grey], label: str) -> Changed:
        return compared(tested.scores([change(image) for image in tested.images], label))

    shortcuts = {name: changed(change, name) for name, change in COVERED.items()}
    plain = [row for row, item in enumerate(part) if item.metadata.get("hardware") != "1"]
    if len(plain) < len(part):
        found = auroc(labels[plain].tolist(), unchanged[plain], [groups[row] for row in plain])
        shortcuts[WITHOUT_METAL] = Changed(found, images=len(plain))
    marks = _marks_of(part)
    if marks:
        shortcuts[BOXES_COVERED] = compared(tested.scores(_covered(tested, marks), BOXES_COVERED))
    metrics = evaluate(labels.tolist(), unchanged, groups, threshold, resamples=RESAMPLES, seed=SEED)
    return Stress(
        model=classifier.info.name,
        model_sha256=classifier.sha256,
        data_fingerprint=tested.data_fingerprint,
        split=tested.split,
        threshold=threshold,
        figures=metrics,
        degraded={name: changed(change, name) for name, change in DEGRADED.items()},
        shortcuts=shortcuts,
        pointing=_pointing(tested, marks),
        environment=Environment.here(),
    )


def _compared(
    labels: bootstrap.Array, groups: Sequence[str], before: bootstrap.Floats, after: bootstrap.Floats
) -> Changed:
    """Compute the AUROC of modified images and its change against the unchanged ones."""
    truth = labels == 1

    def areas(weights: bootstrap.Floats) -> dict[str, bootstrap.Floats]:
        first, second = (Roc.of(truth, scores, weights).area() for scores in (before, after))
        return {"auroc": second, "change": second - first}

    ones = np.ones((1, len(truth)))
    resampled = bootstrap.resampled(areas, truth, groups, resamples=RESAMPLES, seed=SEED)
    found = {name: percentile(float(value[0]), resampled[name]) for name, value in areas(ones).items()}
    return Changed(found["auroc"], found["change"])


def _marks_of(part: ImageTable) -> dict[int, Marks]:
    """Return the marks of the fractured images by their index; empty if the data set has none."""
    marks = fracture_marks(part.root) or {}
    names = [PurePosixPath(item.path).name for item in part]
    return {row: marks[name] for row, name in enumerate(names) if part.items[row].label and name in marks}


def _covered(tested: TestedModel, marks: dict[int, Marks]) -> list[Grey]:
    others = sample_marks(list(marks.values()), len(tested.images), seed=SEED)
    return [
        without_boxes(image, marks.get(row, others[row]))
        for row, image in enumerate(tested.images)
    ]  # fmt: skip


def _pointing(tested: TestedModel, marks: dict[int, Marks]) -> PointingGame | None:
    found = tested.predictions([tested.images[row] for row in marks], "pointing game")
    if not found or found[0].heatmap is None:
        return None
    preprocessing = tested.classifier.info.preprocessing
    points = [
        peak(each.heatmap, preprocessing, tested.images[row].shape[::-1])
        for row, each in zip(marks, found, strict=True)
        if each.heatmap is not None
    ]
    boxes = list(marks.values())

    def shares(margin: float) -> Hits:
        ours = [hit(point, each, margin=margin) for point, each in zip(points, boxes, strict=True)]
        centre = hits_at_centre(boxes, margin=margin)
        return Hits(model=wilson(sum(ours), len(ours)), centre=wilson(sum(centre), len(centre)))

    return PointingGame(len(boxes), MARGIN, within_margin=shares(MARGIN), within_box=shares(0.0))


@app.command()
def run(
    data: DataOption,
    splits: SplitsOption,
    model: Annotated[
        Path | None,
        typer.Argument(metavar="MODEL", help="Model file. Default: the embedded model.", show_default=False),
    ] = None,
    split: SplitOption = Split.VAL,
    output: Annotated[
        Path | None, typer.Option("--output", "-o", metavar="FILE.json", help="Write the JSON here.")
    ] = None,
) -> None:
    """Test a model on degraded images, for shortcuts, and with the pointing game; print the tables.

    \b
    python -m benchmarks.studies stress --data fracatlas --splits splits.csv --split val
    """  # noqa: D301
    # The checks of the image are off, so that modified images are predicted whatever they look like.
    classifier = FractureClassifier(model, check_images=False)
    table = read_table_with_splits(data, splits, seed=0)
    result = stress(TestedModel.of(classifier, table, split.value))
    if output is not None:
        write_record(output, result)
    print(tables_of(result), end="")
