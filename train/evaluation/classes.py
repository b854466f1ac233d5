"""Classes that a recipe names: the folders of images, and how classes share P(fractured) when they are trained.

Classes trained in place of the binary answer have a softmax in two levels (Goodman, "Classes for Fast Maximum
Entropy Training", ICASSP 2001):

    P(class) = P(fractured) * P(class | fractured)                for a class of fractures,
    P(class) = (1 - P(fractured)) * P(class | not fractured)      for any other.

Its categorical cross-entropy is that of P(fractured) plus that of the class among those of its side. The classes
of fractures add up to P(fractured), whatever calibration or 8 bits have made of it.
"""

from collections.abc import Sequence
from pathlib import PurePosixPath
from typing import Any

import numpy as np
import numpy.typing as npt
from keras import ops

from fracture_edge.errors import FractureEdgeError
from train.data.dataset import ImageTable

#: Added to the log-odds of the classes of the other side, whose share becomes 0; float16 can hold it.
_OTHER_SIDE = -1e4


def class_truth(part: ImageTable, classes: Sequence[str]) -> npt.NDArray[np.bool_]:
    """Return the class of each image, [N, L]: the innermost of its folders that has the name of a class."""
    truth = np.zeros((len(part), len(classes)), np.bool_)
    for row, item in enumerate(part):
        found = [folder for folder in PurePosixPath(item.path).parts[:-1] if folder in classes]
        if found:
            truth[row, list(classes).index(found[-1])] = True
    return truth


def require_classes(training: ImageTable, validation: ImageTable, classes: Sequence[str]) -> None:
    """Check that both splits have images of each class.

    Raises:
        FractureEdgeError: A class has no images in a split.
    """
    for part, word in ((training, "training"), (validation, "validation")):
        counts = class_truth(part, classes).sum(axis=0)
        for name, count in zip(classes, counts.tolist(), strict=True):
            if not count:
                raise FractureEdgeError(f"recipe.classes: no {word} images in a folder named '{name}'")


def fractured_classes(part: ImageTable, classes: Sequence[str]) -> tuple[bool, ...]:
    """Determine for each class whether its images are fractured, by their labels.

    Raises:
        FractureEdgeError: A class has no images or images of both labels, or all classes have the same label.
    """
    truth, labels = class_truth(part, classes), np.array(part.labels)
    sides = []
    for name, rows in zip(classes, truth.T, strict=True):
        found = set(labels[rows].tolist())
        if not found:
            raise FractureEdgeError(f"recipe.classes: no images in a folder named '{name}'")
        if len(found) > 1:
            raise FractureEdgeError(
                f"recipe.classes: '{name}' has both fractured and not fractured images; with softmax = 'in_place' "
                "a class is one or the other"
            )
        sides.append(found == {1})
    if len(set(sides)) == 1:
        missing = "not fractured" if sides[0] else "fractured"
        raise FractureEdgeError(
            f"recipe.classes: none of {', '.join(classes)} is {missing}; with softmax = 'in_place' at least one "
            "must be"
        )
    return tuple(sides)


def side_offsets(fractured: Sequence[bool]) -> npt.NDArray[np.float32]:
    """Return offsets of the log-odds that restrict a softmax to one side, [2, L]: fractures, and all others."""
    mask = np.array(fractured)
    return np.where([mask, ~mask], 0, _OTHER_SIDE).astype(np.float32)


def sides(log_odds: Any, fractured: Sequence[bool]) -> tuple[Any, Any]:
    """Compute P(class | fractured) and P(class | not fractured), [N, L] each and 0 for classes of the other side.

    Args:
        log_odds: Log-odds of the classes, [N, L], a tensor.
        fractured: Whether each class is one of fractures, L.
    """
    broken, whole = (ops.softmax(log_odds + offsets, axis=-1) for offsets in side_offsets(fractured))
    return broken, whole
