"""Distillation from cross-fitted teachers: soft targets from networks that have not seen the image.

A network that was trained on an image mostly repeats its label. So the training images are divided into folds,
whole groups at a time; for each fold a teacher is trained on the others, and predictions for the images of that fold
(cross-fitting: Dao et al., "Knowledge Distillation as Semiparametric Inference", ICLR 2021). The student then
learns from all images, each with its label and with what a network thinks of it that does not know that label.
"""

import json
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import numpy.typing as npt
from sklearn.metrics import roc_auc_score

from fracture_edge.files import atomic_write_text
from train.data.dataset import ImageTable
from train.data.splits import fold_numbers
from train.evaluation.predictions import write_rows
from train.recipes.recipe import Distillation, Recipe
from train.trainer.callbacks import FOLD_FILE, clear_state

#: What the teachers said of each training image, in the folder of the run.
TEACHERS_FILE = "teachers.csv"

#: Trains one teacher on the first table in a folder of its own. P(fractured) of each image of the second, [N], and
#: the seconds that it took.
TrainTeacher = Callable[[Recipe, ImageTable, ImageTable, Path], tuple[npt.NDArray[np.float64], float]]


@dataclass(frozen=True, slots=True)
class TeacherPredictions:
    """What the teachers of a run know.

    Attributes:
        predictions: P(fractured) of each training image by the teacher that has not seen it, [N].
        auroc: Of these predictions.
        seconds: That the teachers took.
    """

    predictions: npt.NDArray[np.float64]
    auroc: float
    seconds: float


def teacher_recipe(recipe: Recipe) -> Recipe:
    """How a teacher is trained: as its student, in phases of its own where the recipe has them.

    Its predictions are always calibrated: as soft targets they must be probabilities.
    """
    phases = recipe.distillation.phases or recipe.phases
    return replace(recipe, phases=phases, calibrate=True, distillation=Distillation())


def cross_fit(
    recipe: Recipe, part: ImageTable, *, folder: Path, seed: int, train: TrainTeacher
) -> TeacherPredictions:
    """Train the teachers of `recipe` and collect their predictions; what is finished in `folder` is taken from there.

    Args:
        recipe: Of the student; its `distillation` says how many teachers there are.
        part: The training images, with groups.
        folder: Of the run; gets ``teachers.csv``, and a folder with its history for each teacher.
        seed: Of the division into folds.
        train: Trains one teacher.

    Raises:
        DataError: Too few groups, or too few images of a class, for so many folds.
    """
    folds = recipe.distillation.folds
    numbers = np.array(fold_numbers(part, folds, seed=seed))
    predictions, seconds = np.zeros(len(part)), 0.0
    for number in range(folds):
        place = folder / f"teacher-{number + 1}"
        done = place / FOLD_FILE
        if not done.is_file():
            place.mkdir(exist_ok=True)
            rest, held = _where(part, numbers != number), _where(part, numbers == number)
            given, took = train(teacher_recipe(recipe), rest, held, place)
            atomic_write_text(done, json.dumps({"answers": given.tolist(), "seconds": took}))
            clear_state(place)
        left = json.loads(done.read_text(encoding="utf-8"))
        predictions[numbers == number] = left["answers"]
        seconds += left["seconds"]
    rows = [
        (item.path, item.label, item.group, number + 1, f"{answer:.6f}")
        for item, number, answer in zip(part, numbers, predictions, strict=True)
    ]
    write_rows(folder / TEACHERS_FILE, ("path", "label", "group", "teacher", "probability"), rows)
    return TeacherPredictions(predictions, float(roc_auc_score(part.labels, predictions)), round(seconds, 1))


def _where(part: ImageTable, wanted: npt.NDArray[np.bool_]) -> ImageTable:
    return replace(part, items=tuple(item for item, kept in zip(part, wanted, strict=True) if kept))
