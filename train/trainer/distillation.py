"""Distillation from cross-fitted teacher models: soft targets from networks that were not trained on the image.

A network that was trained on an image mostly repeats its label. The training images are therefore divided into
folds by group; for each fold a teacher model is trained on the others and predicts the images of that fold
(cross-fitting: Dao et al., "Knowledge Distillation as Semiparametric Inference", ICLR 2021). The student then
learns from all images, each with its label and with the prediction of a network that has not seen that label.
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

#: Predictions of the teacher models for the training images, in the folder of the run.
TEACHERS_FILE = "teachers.csv"

#: Function that trains a teacher model by a recipe on the first table, in its own folder. It returns P(fractured)
#: of the images of the second table, [N], and the duration in seconds.
TrainTeacher = Callable[[Recipe, ImageTable, ImageTable, Path], tuple[npt.NDArray[np.float64], float]]


@dataclass(frozen=True, slots=True)
class TeacherPredictions:
    """Out-of-fold predictions of the teacher models of a run.

    Attributes:
        predictions: P(fractured) of each training image by the teacher that was not trained on it, [N].
        auroc: AUROC of these predictions.
        seconds: Duration of the training of all teachers.
    """

    predictions: npt.NDArray[np.float64]
    auroc: float
    seconds: float


def teacher_recipe(recipe: Recipe) -> Recipe:
    """Return the recipe of a teacher model: that of its student, with its own phases where the recipe has them.

    Its predictions are always calibrated: as soft targets they must be probabilities.
    """
    phases = recipe.distillation.phases or recipe.phases
    return replace(recipe, phases=phases, calibrate=True, distillation=Distillation())


def cross_fit(
    recipe: Recipe, part: ImageTable, *, folder: Path, seed: int, train: TrainTeacher
) -> TeacherPredictions:
    """Train the teacher models of `recipe` and collect their out-of-fold predictions.

    Teachers that are already finished in `folder` are not trained again.

    Args:
        recipe: Recipe of the student; its `distillation` has the number of teachers.
        part: Training images with groups.
        folder: Folder of the run; ``teachers.csv``, and for each teacher a folder with its history, go there.
        seed: Random seed of the folds.
        train: Function that trains one teacher.

    Raises:
        DataError: There are too few groups, or too few images of a class, for so many folds.
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
        (item.path, item.label, item.group, number + 1, f"{probability:.6f}")
        for item, number, probability in zip(part, numbers, predictions, strict=True)
    ]
    write_rows(folder / TEACHERS_FILE, ("path", "label", "group", "teacher", "probability"), rows)
    return TeacherPredictions(predictions, float(roc_auc_score(part.labels, predictions)), round(seconds, 1))


def _where(part: ImageTable, wanted: npt.NDArray[np.bool_]) -> ImageTable:
    return replace(part, items=tuple(item for item, kept in zip(part, wanted, strict=True) if kept))
