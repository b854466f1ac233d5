"""Cross-fitted teachers: every training image is answered by a network that has not seen its group."""

import csv
import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from fracture_edge.preprocess import Preprocessing
from train.data.dataset import DataError, ImageTable, Item
from train.recipes.recipe import Distillation, Phase, Recipe, load_recipe, override
from train.recipes.tables import RecipeError
from train.runs import train_model as run
from train.runs.options import RunOptions
from train.trainer import train_once as once
from train.trainer.distillation import TEACHERS_FILE, cross_fit, teacher_recipe

IMAGES = 24
RECIPE = Recipe(
    "custom_cnn",
    Preprocessing(32, 32),
    (Phase(4, 1e-3), Phase(2, 1e-4)),
    calibrate=False,
    distillation=Distillation(share=0.5, folds=3),
)


def _table(images: int = IMAGES) -> ImageTable:
    """Pairs of images in a group, every third pair fractured."""
    items = [Item(f"{k:02}.png", int(k // 2 % 3 == 0), group=f"g{k // 2:02}") for k in range(images)]
    return ImageTable(Path("data"), "split_folders", tuple(items))


class Teachers:
    """Stands for training: answers with the number of the image, as a share of all."""

    def __init__(self) -> None:
        self.given: list[tuple[Recipe, ImageTable, ImageTable, Path]] = []

    def __call__(
        self, recipe: Recipe, rest: ImageTable, held: ImageTable, place: Path
    ) -> tuple[np.ndarray, float]:
        assert place.is_dir()
        self.given.append((recipe, rest, held, place))
        return np.array([int(item.path[:2]) / IMAGES for item in held]), 1.5


def test_no_teacher_answers_for_a_group_that_it_was_trained_on(tmp_path: Path) -> None:
    teachers, part = Teachers(), _table()
    teaching = cross_fit(RECIPE, part, folder=tmp_path, seed=0, train=teachers)
    # In the order of the images, whatever the folds.
    np.testing.assert_allclose(teaching.predictions, np.arange(IMAGES) / IMAGES)
    assert teaching.seconds == 4.5
    assert len(teachers.given) == 3
    answered: list[str] = []
    for _, rest, held, _ in teachers.given:
        assert {item.group for item in rest}.isdisjoint(item.group for item in held)
        assert {item.path for item in (*rest, *held)} == {item.path for item in part}
        assert set(held.labels) == {0, 1}
        answered += [item.path for item in held]
    assert sorted(answered) == [item.path for item in part]


def test_the_answers_are_kept_with_labels_and_teachers(tmp_path: Path) -> None:
    teachers, part = Teachers(), _table()
    teaching = cross_fit(RECIPE, part, folder=tmp_path, seed=0, train=teachers)
    with (tmp_path / TEACHERS_FILE).open(newline="") as stream:
        rows = list(csv.DictReader(stream))
    assert [(row["path"], int(row["label"]), row["group"]) for row in rows] == [
        (item.path, item.label, item.group) for item in part
    ]
    assert [float(row["probability"]) for row in rows] == [round(k / IMAGES, 6) for k in range(IMAGES)]
    for number, (_, _, held, place) in enumerate(teachers.given, 1):
        assert place == tmp_path / f"teacher-{number}"
        assert {row["path"] for row in rows if row["teacher"] == str(number)} == {item.path for item in held}
    fractured = [k for k in range(IMAGES) if k // 2 % 3 == 0]
    right = sum(k > other for k in fractured for other in set(range(IMAGES)) - set(fractured))
    assert teaching.auroc == pytest.approx(right / 128)


def test_finished_teachers_are_not_trained_again(tmp_path: Path) -> None:
    class CutOff(Teachers):
        def __call__(
            self, recipe: Recipe, rest: ImageTable, held: ImageTable, place: Path
        ) -> tuple[np.ndarray, float]:
            if len(self.given) == 2:
                raise KeyboardInterrupt
            return super().__call__(recipe, rest, held, place)

    part = _table()
    with pytest.raises(KeyboardInterrupt):
        cross_fit(RECIPE, part, folder=tmp_path, seed=0, train=CutOff())
    teachers = Teachers()
    teaching = cross_fit(RECIPE, part, folder=tmp_path, seed=0, train=teachers)
    assert [place.name for *_, place in teachers.given] == ["teacher-3"]
    np.testing.assert_allclose(teaching.predictions, np.arange(IMAGES) / IMAGES)
    assert teaching.seconds == 4.5


def test_a_teacher_has_no_teachers_and_answers_with_probabilities() -> None:
    recipe = teacher_recipe(RECIPE)
    assert recipe.distillation.share == 0
    assert recipe.calibrate
    assert recipe.phases == RECIPE.phases
    shorter = override(RECIPE, settings=["distillation.phases=[{ epochs = 3, learning_rate = 1e-2 }]"])
    assert teacher_recipe(shorter).phases == (Phase(3, 1e-2),)
    assert shorter.phases == RECIPE.phases
    assert teacher_recipe(override(shorter, epochs=1)).phases == (Phase(1, 1e-2),)


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ("share=1.5", "distillation.share: must be from 0 to 1, not 1.5"),
        ("share=-0.1", "distillation.share: must be from 0 to 1, not -0.1"),
        ("folds=1", "distillation.folds: must be at least 2, not 1"),
        ("phases=[{ epochs = 0, learning_rate = 1e-2 }]", "phases.epochs: must be at least 1, not 0"),
        ("teachers=2", "recipe.distillation: unknown key 'teachers'"),
    ],
)
def test_wrong_values_are_named(setting: str, message: str) -> None:
    with pytest.raises(RecipeError, match=message):
        override(RECIPE, settings=[f"distillation.{setting}"])


def test_too_few_groups_for_so_many_teachers(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="2 groups are too few for 3 folds"):
        cross_fit(RECIPE, _table(4), folder=tmp_path, seed=0, train=Teachers())
    assert not any(tmp_path.iterdir())


def _options(train_data: Path, out: Path, *, resume: bool = False) -> RunOptions:
    return RunOptions(
        data=train_data / "data",
        splits=train_data / "splits.csv",
        out=out,
        recipe_name="custom_cnn.toml",
        weights="none",
        precision="float32",
        resume=resume,
    )


@pytest.fixture
def recipe(train_data: Path) -> Recipe:
    return override(
        load_recipe("custom_cnn", str(train_data / "custom_cnn.toml")),
        epochs=2,
        settings=["distillation.share=0.7", "distillation.folds=2"],
    )


@pytest.mark.slow
def test_a_run_with_teachers(
    train_data: Path, tmp_path: Path, recipe: Recipe, monkeypatch: pytest.MonkeyPatch
) -> None:
    targets: list[np.ndarray] = []

    class Seen(once.Batches):
        def __init__(self, *args: object, **kwargs: object) -> None:
            super().__init__(*args, **kwargs)  # type: ignore[arg-type]
            targets.append(self.targets[:, 0])

    monkeypatch.setattr(once, "Batches", Seen)
    folder = run.train_model(recipe, _options(train_data, tmp_path))
    with (folder / TEACHERS_FILE).open(newline="") as stream:
        rows = list(csv.DictReader(stream))
    record = json.loads((folder / "training.json").read_text())
    assert 0 <= record["teachers_auroc"] <= 1
    assert record["recipe"]["distillation"] == {"share": 0.7, "folds": 2, "phases": []}
    # Training and validation batches of two teachers, and of the student.
    assert len(targets) == 6
    hard, soft = targets[0], targets[4]
    assert set(hard.tolist()) == {0.0, 1.0}
    assert len(soft) == len(rows)
    assert set(targets[5].tolist()) == {0.0, 1.0}
    labels = np.array([int(row["label"]) for row in rows])
    answers = np.array([float(row["probability"]) for row in rows])
    share = labels.mean()
    blended = 0.3 * labels + 0.7 * answers
    expected = blended / share / (blended / share + (1 - blended) / (1 - share))
    # Answers were written with six decimals.
    np.testing.assert_allclose(soft, expected, atol=1e-4)
    with (folder / "history.csv").open(newline="") as stream:
        history = list(csv.DictReader(stream))
    # Two phases of two epochs.
    assert len(history) == 4
    seconds = [float(row["seconds"]) for row in history]
    for number in (1, 2):
        with (folder / f"teacher-{number}" / "history.csv").open(newline="") as stream:
            of_teacher = list(csv.DictReader(stream))
        assert len(of_teacher) == 4
        seconds += [float(row["seconds"]) for row in of_teacher]
    assert record["seconds"] == pytest.approx(sum(seconds), abs=0.6)


@pytest.mark.slow
def test_a_run_cut_off_in_a_teacher_goes_on_to_the_same_student(
    train_data: Path, tmp_path: Path, recipe: Recipe, monkeypatch: pytest.MonkeyPatch
) -> None:
    def history(folder: Path) -> list[list[str]]:
        # All but the seconds.
        return [line.split(",")[:-1] for line in (folder / "history.csv").read_text().splitlines()]

    whole = run.train_model(recipe, _options(train_data, tmp_path / "whole"))
    predict: Callable[..., np.ndarray] = once.predict
    calls = 0

    def cut_off(*args: object) -> np.ndarray:
        nonlocal calls
        calls += 1
        # A teacher predicts validation images twice, then those of its fold; this is the second one's end.
        if calls == 6:
            raise KeyboardInterrupt
        return predict(*args)

    with monkeypatch.context() as patch:
        patch.setattr(once, "predict", cut_off)
        with pytest.raises(KeyboardInterrupt):
            run.train_model(recipe, _options(train_data, tmp_path / "cut"))
    assert (tmp_path / "cut" / ".custom_cnn.unfinished" / "teacher-1" / "fold.json").is_file()
    resumed = run.train_model(recipe, _options(train_data, tmp_path / "cut", resume=True))
    assert history(resumed) == history(whole)
    assert (resumed / TEACHERS_FILE).read_text() == (whole / TEACHERS_FILE).read_text()
    assert (resumed / "teacher-2" / "history.csv").is_file()
