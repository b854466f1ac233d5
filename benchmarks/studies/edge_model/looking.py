"""Ask a network `edge` about images as they are, with covered fractures, and as from another scanner."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath

import keras
import numpy as np
import numpy.typing as npt

from benchmarks.studies.edge_model.looking_result import Answers
from benchmarks.studies.robustness.degradations import DEGRADED, Grey, sample_marks, without_boxes
from benchmarks.studies.robustness.pointing import hit, peak
from fracture_edge.errors import FractureEdgeError
from fracture_edge.images.image_file import load_image
from fracture_edge.preprocess import Preprocessing
from train.data.dataset import ImageTable
from train.data.localisation import Marks, fracture_marks
from train.data.splits import cross_validation_table, fold_numbers
from train.evaluation.predict import outputs, predict

FOLDS = 5
_SCANNER = DEGRADED["as from another scanner"]


@dataclass(frozen=True, slots=True)
class Pool:
    """Images in folds.

    Attributes:
        table: N images with labels and groups.
        folds: Fold of each image, counted from 0, [N].
        marks: Boxes of the fractures by file name.
    """

    table: ImageTable
    folds: npt.NDArray[np.intp]
    marks: dict[str, Marks]

    @classmethod
    def read(cls, data: Path, splits: Path, seed: int) -> "Pool":
        """Read training and validation images of a data set with boxes around the fractures.

        Raises:
            FractureEdgeError: The data set has no boxes, or the data or the splits cannot be read.
        """
        table = cross_validation_table(data, splits)
        marks = fracture_marks(table.root)
        if not marks:
            raise FractureEdgeError(f"{data}: has no boxes around fractures, so it cannot be asked where it looks")
        return cls(table, np.array(fold_numbers(table, FOLDS, seed=seed)), marks)

    def part(self, folds: Sequence[int]) -> ImageTable:
        """Return the images of some folds, in the table's order."""
        kept = np.flatnonzero(np.isin(self.folds, folds))
        return replace(self.table, items=tuple(self.table.items[row] for row in kept))


def ask(
    model: keras.Model, part: ImageTable, marks: dict[str, Marks], preprocessing: Preprocessing, *, seed: int
) -> Answers:
    """Let a network answer to images as they are, covered, and as from another scanner.

    Args:
        model: Network `edge`.
        part: Labelled images, N.
        marks: Boxes of the fractures by file name.
        preprocessing: Preprocessing of the images.
        seed: Random seed of the boxes that are covered in images without fracture.
    """
    own = [marks.get(PurePosixPath(item.path).name) if item.label else None for item in part]
    others = sample_marks(list(marks.values()), len(part), seed=seed)
    images: list[Grey] = [load_image(part.file(item)) for item in part]

    covered = [
        without_boxes(image, boxes or other) for image, boxes, other in zip(images, own, others, strict=True)
    ]

    def pixels(changed: Sequence[Grey]) -> npt.NDArray[np.uint8]:
        return np.stack([preprocessing(image) for image in changed])

    def answers(changed: Sequence[Grey]) -> tuple[float, ...]:
        return tuple(predict(model, pixels(changed)).tolist())

    cells = outputs(keras.Model(model.input, model.get_layer("cells").output), pixels(images))[..., 0]
    hits = [
        None if boxes is None else hit(peak(heatmap, preprocessing, image.shape[::-1]), boxes)
        for image, boxes, heatmap in zip(images, own, 1 / (1 + np.exp(-cells)), strict=True)
    ]
    return Answers(
        plain=answers(images),
        covered=answers(covered),
        scanner=answers([_SCANNER(image) for image in images]),
        hits=tuple(hits),
    )
