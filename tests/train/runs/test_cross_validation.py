"""Cross-validation: every image is tested once, by a model that was not trained on its group."""

import csv
import json
import shutil
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
from sklearn.metrics import f1_score, roc_auc_score

from fracture_edge.preprocess import Preprocessing
from train.architectures import build
from train.data.dataset import DataError, ImageTable, Item, read_splits
from train.data.splits import fold_numbers, folds_apart
from train.evaluation.calibration import fit_calibration
from train.evaluation.metrics import confusion, evaluate, wilson
from train.evaluation.operating_points import choose_threshold
from train.recipes.recipe import load_recipe
from train.runs import cross_validation as folds
from train.runs.cross_validation import cross_validate
from train.runs.options import RunOptions
from train.trainer.callbacks import Commit

#: Whole runs of several models: a minute.
pytestmark = pytest.mark.slow

Cli = Callable[..., tuple[int, str, str]]

RECIPE = """
architecture = "custom_cnn"
batch_size = 4
monitor = "val_loss"
options = { filters = [4, 6, 8], units = 10 }
preprocessing = { height = 32, width = 32 }
phases = [{ epochs = 2, learning_rate = 5e-3 }]
augmentation = { rotation = 5 }
"""
TRAINING, POOL, FOLDS = 24, 36, 3


@dataclass(frozen=True)
class Parts:
    """Paths and groups of the training, validation and test images of one model."""

    train: set[tuple[str, str]]
    val: set[tuple[str, str]]


@dataclass(frozen=True)
class Run:
    """Finished cross-validation, and the images of every round."""

    folder: Path
    rounds: list[Parts]

    @property
    def rows(self) -> list[dict[str, str]]:
        with (self.folder / "predictions.csv").open(newline="", encoding="utf-8") as stream:
            return list(csv.DictReader(stream))

    @property
    def result(self) -> dict[str, Any]:
        return json.loads((self.folder / "folds.json").read_text(encoding="utf-8"))


def _pairs(part: ImageTable) -> set[tuple[str, str]]:
    return {(item.path, item.group) for item in part}


@pytest.fixture(scope="module")
def project(train_data: Path, liven: Callable[..., keras.Model]) -> Path:
    """As `train_data`, with pairs of images in a group, test images that are not there, tiny.toml, start.keras:
    weights that tell images apart.
    """
    with (train_data / "splits.csv").open(newline="") as stream:
        rows = list(csv.DictReader(stream))
    lines = ["path,label,split,group"]
    for number, row in enumerate(rows):
        lines.append(f"{row['path']},{row['label']},{row['split']},g{number // 2:02}")
        if row["split"] == "test":
            # Listed in the folder, but unreadable.
            path = train_data / "data" / row["path"]
            path.unlink()
            path.symlink_to(train_data / "nowhere.jpg")
    (train_data / "splits.csv").write_text("\n".join(lines))
    (train_data / "tiny.toml").write_text(RECIPE)
    keras.utils.set_random_seed(0)
    start = build("custom_cnn", 32, 32, filters=(4, 6, 8), units=10)
    part = read_splits(train_data / "data", train_data / "splits.csv").where("train")
    liven(start, np.stack([Preprocessing(32, 32).load(part.file(item)) for item in part]))
    start.save(train_data / "start.keras")
    return train_data


def _run(project: Path, out: Path, recipe: str = "tiny.toml", **options: Any) -> Path:
    recipe = str(project / recipe)
    places = {"data": project / "data", "splits": project / "splits.csv", "out": out, "recipe_name": recipe}
    given = {"seed": 3, "precision": "float32", "weights": str(project / "start.keras")}
    return cross_validate(load_recipe("custom_cnn", recipe), RunOptions(**(given | places | options)), folds=FOLDS)


def _arguments(project: Path, out: Path, *more: object) -> list[object]:
    places = ["--data", project / "data", "--splits", project / "splits.csv", "--artifacts", out]
    recipe = ["--recipe", project / "tiny.toml", "--weights", project / "start.keras", "--seed", 3]
    return ["train", "custom_cnn", *places, *recipe, *more]


@pytest.fixture(scope="module")
def whole(project: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Run]:
    """Uninterrupted run."""
    rounds = []
    train_once = folds.train_once

    def spy(recipe: Any, store: Any, train_part: ImageTable, val_part: ImageTable, **options: Any) -> Any:
        rounds.append(Parts(_pairs(train_part), _pairs(val_part)))
        return train_once(recipe, store, train_part, val_part, **options)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(folds, "train_once", spy)
        folder = _run(project, tmp_path_factory.mktemp("artifacts"))
    return Run(folder, rounds)


def test_files(whole: Run) -> None:
    assert whole.folder.name == "custom_cnn-folds"
    assert [path.name for path in whole.folder.parent.iterdir()] == [whole.folder.name]
    assert {path.name for path in whole.folder.iterdir()} >= {"folds.json", "predictions.csv", "folds.png"}
    # The models are not kept.
    assert not [path for path in whole.folder.rglob("*") if path.suffix in (".h5", ".keras")]
    picture = (whole.folder / "folds.png").read_bytes()
    assert picture.startswith(b"\x89PNG\r\n\x1a\n")
    assert picture.endswith(b"IEND\xaeB`\x82")


def test_every_image_is_tested_once(whole: Run, project: Path) -> None:
    with (project / "splits.csv").open(newline="") as stream:
        pool = [row for row in csv.DictReader(stream) if row["split"] != "test"]
    assert len(pool) == POOL
    rows = whole.rows
    assert sorted((row["path"], row["label"], row["group"]) for row in rows) == sorted(
        (row["path"], row["label"], row["group"]) for row in pool
    )
    assert Counter(row["fold"] for row in rows) == {"1": 12, "2": 12, "3": 12}
    # Stratified: 4 of the 12 fractured images in each, as well as whole groups allow.
    fractured = Counter(row["fold"] for row in rows if row["label"] == "1")
    assert sorted(fractured) == ["1", "2", "3"]
    assert max(fractured.values()) - min(fractured.values()) <= 2


def test_no_group_is_on_two_sides(whole: Run) -> None:
    tested = [
        {(row["path"], row["group"]) for row in whole.rows if row["fold"] == str(n + 1)} for n in range(FOLDS)
    ]
    assert len(whole.rounds) == FOLDS
    for number, parts in enumerate(whole.rounds):
        sides = [parts.train, parts.val, tested[number]]
        assert sum(map(len, sides)) == POOL
        groups = [{group for _, group in side} for side in sides]
        assert sum(map(len, groups)) == len(set.union(*groups)) == POOL // 2
        # Chosen on the fold after, so that every image is tested, chosen on and trained on.
        assert parts.val == tested[(number + 1) % FOLDS]


def test_metrics_are_those_of_the_predictions(whole: Run) -> None:
    result, rows = whole.result, whole.rows
    entries = [(entry, [row for row in rows if row["fold"] == str(entry["fold"])]) for entry in result["folds"]]
    for entry, part in [*entries, (result["pooled"], rows)]:
        labels = np.array([int(row["label"]) for row in part])
        scores = np.array([float(row["probability"]) for row in part])
        thresholds = np.array([float(row["threshold"]) for row in part])
        predicted = scores >= thresholds
        # Six decimals are written: a score as close to its threshold as that could fall on either side.
        assert np.abs(scores - thresholds).min() > 2e-6
        assert (entry["images"], entry["fractured"]) == (len(part), labels.sum())
        found = {name: estimate["value"] for name, estimate in entry["metrics"].items()}
        assert found["accuracy"] == np.mean(predicted == labels)
        assert found["recall"] == predicted[labels == 1].mean()
        assert found["specificity"] == (~predicted)[labels == 0].mean()
        assert found["f1"] == pytest.approx(f1_score(labels, predicted))
        assert found["auroc"] == pytest.approx(roc_auc_score(labels, scores), abs=1e-9)
        assert entry["confusion"] == {
            "true_positive": int((predicted & (labels == 1)).sum()),
            "false_positive": int((predicted & (labels == 0)).sum()),
            "true_negative": int((~predicted & (labels == 0)).sum()),
            "false_negative": int((~predicted & (labels == 1)).sum()),
        }
        for name, estimate in entry["metrics"].items():
            if name != "precision" or predicted.any():
                assert 0 <= estimate["low"] <= estimate["value"] <= estimate["high"] <= 1, name
    for entry, part in entries:
        (threshold,) = {float(row["threshold"]) for row in part}
        assert threshold == pytest.approx(entry["threshold"], abs=1e-6)
        assert np.ptp([float(row["probability"]) for row in part]) > 1e-3
    # Every fold has its own threshold.
    assert len({entry["threshold"] for entry in result["folds"]}) == FOLDS


def test_without_an_epoch_to_choose_all_other_folds_are_trained_on(project: Path, tmp_path: Path) -> None:
    fixed = project / "fixed.toml"
    fixed.write_text('keep = "last"\npatience = 0\n' + RECIPE)
    sides = []
    train_once = folds.train_once

    def spy(recipe: Any, store: Any, train_part: ImageTable, val_part: ImageTable | None, **options: Any) -> Any:
        sides.append((_pairs(train_part), val_part))
        return train_once(recipe, store, train_part, val_part, **options)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(folds, "train_once", spy)
        run = Run(_run(project, tmp_path, fixed.name), [])
    rows = run.rows
    assert [entry["kept"] for entry in run.result["folds"]] == [[2]] * FOLDS
    for number, (trained, validating) in enumerate(sides, 1):
        assert validating is None
        assert trained == {(row["path"], row["group"]) for row in rows if row["fold"] != str(number)}
        # Calibration and threshold are chosen by the predictions for the other folds.
        others = [row for row in rows if row["fold"] != str(number)]
        labels = [int(row["label"]) for row in others]
        raw = np.array([float(row["raw"]) for row in others])
        calibration = fit_calibration(labels, raw)
        for row in rows:
            if row["fold"] == str(number):
                # Six decimals are written, and the predictions lie so close together that the slope is steep.
                expected = calibration(np.array([float(row["raw"])]))[0]
                assert float(row["probability"]) == pytest.approx(expected, abs=0.01)
                threshold = choose_threshold(labels, calibration(raw))
                assert float(row["threshold"]) == pytest.approx(threshold, abs=0.01)


def test_calibration_keeps_the_order_within_a_fold(whole: Run) -> None:
    for number in range(1, FOLDS + 1):
        part = [row for row in whole.rows if row["fold"] == str(number)]
        raw = np.array([float(row["raw"]) for row in part])
        given = np.array([float(row["probability"]) for row in part])
        order = np.argsort(raw, kind="stable")
        assert (np.diff(given[order]) >= -2e-6).all()
        assert not np.allclose(raw, given, atol=1e-4)


def test_what_was_run(whole: Run, project: Path) -> None:
    result = whole.result
    expected = {
        "schema_version": 1,
        "model": "custom_cnn",
        "positive_class": "fractured",
        "recipe_name": str(project / "tiny.toml"),
        "seed": 3,
    }
    assert {name: result[name] for name in expected} == expected
    assert [entry["fold"] for entry in result["folds"]] == [1, 2, 3]
    assert [entry["epochs"] for entry in result["folds"]] == [2, 2, 2]
    assert all(entry["seconds"] > 0 for entry in result["folds"])
    assert (result["initial_weights"], result["precision"]) == ("start.keras", "float32")
    recipe = load_recipe("custom_cnn", str(project / "tiny.toml"))
    assert result["recipe"] == json.loads(json.dumps(recipe.to_dict()))
    assert len(result["data_fingerprint"]) == 64


def _same(found: Any, expected: Any, where: str = "") -> None:
    """Equal, but for the time taken and float32 numbers that threads may add in another order."""
    if where.endswith(".seconds"):
        return
    if isinstance(expected, dict):
        assert list(found) == list(expected), where
        for name in expected:
            _same(found[name], expected[name], f"{where}.{name}")
    elif isinstance(expected, list):
        assert len(found) == len(expected), where
        for number, pair in enumerate(zip(found, expected, strict=True)):
            _same(*pair, f"{where}.{number}")
    elif isinstance(expected, float):
        assert found == pytest.approx(expected, rel=1e-3, abs=1e-4), where
    else:
        assert found == expected, where


@pytest.fixture(scope="module")
def cut_off(project: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Artefacts of a run that was interrupted in the second round, after its first epoch."""
    artifacts = tmp_path_factory.mktemp("cut") / "artifacts"
    commit, count = Commit.on_epoch_end, 0

    def fatal(self: Commit, *arguments: Any) -> None:
        nonlocal count
        commit(self, *arguments)
        count += 1
        if count == 3:
            raise KeyboardInterrupt

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Commit, "on_epoch_end", fatal)
        with pytest.raises(KeyboardInterrupt):
            _run(project, artifacts)
    assert [path.name for path in artifacts.iterdir()] == [".custom_cnn-folds.unfinished"]
    return artifacts


@pytest.fixture
def cut(cut_off: Path, tmp_path: Path) -> Path:
    """Copy of the interrupted run."""
    return shutil.copytree(cut_off, tmp_path / "artifacts")


@pytest.mark.slow
def test_an_interrupted_run(
    whole: Run, cut: Path, project: Path, cli: Cli, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Not with other settings, and not from the start by default.
    code, out, err = cli(*_arguments(project, cut, "--folds", FOLDS, "--resume", "--seed", 4))
    assert (code, out) == (1, "")
    working = cut / ".custom_cnn-folds.unfinished"
    # What is left alone is said before.
    assert err.splitlines()[-1:] == [f"fracture-edge: {working}: was started with another seed (3, now 4)"]
    trained = []
    train_once = folds.train_once

    def spy(*arguments: Any, folder: Path, **options: Any) -> Any:
        trained.append(folder.name)
        return train_once(*arguments, folder=folder, **options)

    monkeypatch.setattr(folds, "train_once", spy)
    code, out, err = cli(*_arguments(project, cut, "--folds", FOLDS, "--resume"))
    assert (code, out) == (0, f"{cut / 'custom_cnn-folds'}\n"), err
    # The first round is done, the second goes on after its first epoch.
    assert trained == ["fold-2", "fold-3"]
    assert [line[:9] for line in err.splitlines() if line.startswith("epoch ")] == [
        "epoch 2/2", "epoch 1/2", "epoch 2/2"
    ]  # fmt: skip
    assert [path.name for path in cut.iterdir()] == ["custom_cnn-folds"]
    resumed = Run(cut / "custom_cnn-folds", [])
    _same(resumed.result, whole.result)
    assert [list(row.values())[:4] for row in resumed.rows] == [list(row.values())[:4] for row in whole.rows]


def test_an_unfinished_run_is_not_thrown_away(cut: Path, project: Path, cli: Cli) -> None:
    left = cut / ".custom_cnn-folds.unfinished/fold-1/fold.json"
    before = left.read_bytes()
    code, out, err = cli(*_arguments(project, cut, "--folds", FOLDS))
    assert (code, out) == (1, "")
    assert "--resume continues it, --force starts over" in err
    assert err.count("\n") == 1
    assert left.read_bytes() == before


def test_an_existing_folder_without_force(project: Path, tmp_path: Path, cli: Cli) -> None:
    mine = tmp_path / "custom_cnn-folds/folds.json"
    mine.parent.mkdir()
    mine.write_text("mine")
    code, out, err = cli(*_arguments(project, tmp_path, "--folds", FOLDS))
    assert (code, out) == (1, "")
    assert err == f"fracture-edge: {mine.parent} exists already; give --force to replace it\n"
    assert mine.read_text() == "mine"


def test_nothing_to_resume(project: Path, tmp_path: Path, cli: Cli) -> None:
    code, out, err = cli(*_arguments(project, tmp_path, "--folds", FOLDS, "--resume"))
    assert (code, out) == (1, "")
    assert err == (
        f"fracture-edge: {tmp_path / 'custom_cnn-folds'}: no unfinished run to resume; leave --resume out to "
        "start one\n"
    )


@pytest.mark.parametrize(
    ("wanted", "message"),
    [(13, "12 images of a class are too few for 13 folds"), (19, "18 groups are too few for 19 folds")],
)
def test_too_little_for_so_many_folds(project: Path, tmp_path: Path, cli: Cli, wanted: int, message: str) -> None:
    mine = tmp_path / "custom_cnn-folds/folds.json"
    mine.parent.mkdir()
    mine.write_text("mine")
    code, out, err = cli(*_arguments(project, tmp_path, "--folds", wanted, "--force"))
    assert (code, out) == (1, "")
    # What is left alone is said before.
    assert err.splitlines()[-1:] == [f"fracture-edge: {project / 'data'}: {message}"]
    assert mine.read_text() == "mine"


@pytest.mark.parametrize("together", [1, 2])
def test_a_fold_without_a_class(project: Path, tmp_path: Path, cli: Cli, together: int) -> None:
    # Enough groups and images, but the fractured ones are of one group, or of two.
    with (project / "splits.csv").open(newline="") as stream:
        rows = [row for row in csv.DictReader(stream) if row["split"] != "test"]
    groups = [row["group"] if row["label"] == "0" else f"f{n % together}" for n, row in enumerate(rows)]
    lines = [f"{row['path']},{row['label']},train,{group}" for row, group in zip(rows, groups, strict=True)]
    (tmp_path / "splits.csv").write_text("\n".join(["path,label,split,group", *lines]))
    arguments = _arguments(project, tmp_path / "artifacts", "--folds", FOLDS, "--splits", tmp_path / "splits.csv")
    code, out, err = cli(*arguments)
    assert (code, out) == (1, "")
    assert err.splitlines()[-1].startswith("fracture-edge: ")
    assert "Traceback" not in err
    assert "epoch 1" not in err
    assert not (tmp_path / "artifacts/custom_cnn-folds").exists()


def _table(rows: list[tuple[str, int, str, str]]) -> ImageTable:
    """From (path, label, group, body part)."""
    items = (Item(path, label, group, metadata={part: "1"} if part else {}) for path, label, group, part in rows)
    return ImageTable(Path("x"), "fracatlas", tuple(items))


@pytest.fixture(scope="module")
def pool() -> ImageTable:
    """240 images in groups of one to four; 30 % of the hands and 15 % of the legs are fractured."""
    random = np.random.default_rng(0)
    rows: list[tuple[str, int, str, str]] = []
    group = 0
    while len(rows) < 240:
        part = ("hand", "leg")[group % 2]
        label = int(random.random() < (0.3, 0.15)[group % 2])
        rows += [(f"{len(rows) + n}.jpg", label, f"g{group}", part) for n in range(random.integers(1, 5))]
        group += 1
    return _table(rows)


@pytest.mark.parametrize("count", [3, 5, 10])
def test_folds_are_grouped_and_stratified(pool: ImageTable, count: int) -> None:
    numbers = np.array(fold_numbers(pool, count, seed=1))
    assert set(numbers.tolist()) == set(range(count))
    folds_of: dict[str, set[int]] = {}
    for item, number in zip(pool, numbers.tolist(), strict=True):
        folds_of.setdefault(item.group, set()).add(number)
    assert {len(found) for found in folds_of.values()} == {1}
    labels = np.array(pool.labels)
    hand = np.array([item.body_part == "hand" for item in pool])
    sizes = np.bincount(numbers)
    # Groups of up to four images cannot be divided more evenly than that.
    assert sizes.max() - sizes.min() <= 8
    for fold in range(count):
        inside = numbers == fold
        assert abs(labels[inside].sum() - labels.sum() / count) <= 4
        assert abs(hand[inside].sum() - hand.sum() / count) <= 6


def test_the_seed_decides_the_folds(pool: ImageTable) -> None:
    first = fold_numbers(pool, 4, seed=1)
    assert fold_numbers(pool, 4, seed=1) == first
    assert fold_numbers(pool, 4, seed=2) != first


def test_a_round_leaves_out_a_fold_for_validation_only_where_it_chooses_the_epoch() -> None:
    assert [folds_apart(fold, 5, chooses_epochs=True) for fold in (0, 4)] == [{0, 1}, {4, 0}]
    assert [folds_apart(fold, 5, chooses_epochs=False) for fold in (0, 4)] == [{0}, {4}]


def test_an_image_without_a_group_stands_for_itself() -> None:
    table = _table([(f"{n}.jpg", int(n < 10), "", "") for n in range(40)])
    numbers = np.array(fold_numbers(table, 5))
    assert np.bincount(numbers).tolist() == [8] * 5
    assert np.bincount(numbers[:10]).tolist() == [2] * 5


def test_a_rare_body_part_is_no_obstacle() -> None:
    rows = [(f"{n}.jpg", int(n % 3 == 0), f"g{n}", "shoulder" if n < 3 else "leg") for n in range(30)]
    numbers = np.array(fold_numbers(_table(rows), 5))
    assert np.bincount(numbers).tolist() == [6] * 5
    assert np.bincount(numbers[::3]).tolist() == [2] * 5


@pytest.mark.parametrize(
    ("fractured", "groups", "message"),
    [
        (4, 30, "x: 4 images of a class are too few for 5 folds"),
        (26, 30, "x: 4 images of a class are too few for 5 folds"),
        (15, 4, "x: 4 groups are too few for 5 folds"),
    ],
)
def test_too_few_for_the_folds(fractured: int, groups: int, message: str) -> None:
    table = _table([(f"{n}.jpg", int(n < fractured), f"g{n % groups}", "") for n in range(30)])
    with pytest.raises(DataError) as caught:
        fold_numbers(table, 5)
    assert str(caught.value) == message


def test_one_threshold_for_each_image() -> None:
    labels = [1, 1, 1, 0, 0, 0]
    scores = np.array([0.9, 0.4, 0.3, 0.7, 0.2, 0.6])
    thresholds = np.array([0.95, 0.4, 0.1, 0.8, 0.1, 0.5])
    # Predicted fractured: the second (a tie), the third, the fifth and the sixth; TP 2, FP 2, TN 1, FN 1.
    assert confusion(labels, scores, thresholds) == {
        "true_positive": 2,
        "false_positive": 2,
        "true_negative": 1,
        "false_negative": 1,
    }
    found = evaluate(labels, scores, list("abcdef"), thresholds, resamples=50)
    assert found["accuracy"] == wilson(3, 6)
    assert found["precision"] == wilson(2, 4)
    assert found["recall"] == wilson(2, 3)
    assert found["specificity"] == wilson(1, 3)
    assert found["f1"].value == pytest.approx(4 / 7)
    # Thresholds play no part in it: 0.9 beats 3, 0.4 and 0.3 beat 1.
    assert found["auroc"].value == pytest.approx(5 / 9)
    alike = evaluate(labels, scores, list("abcdef"), np.full(6, 0.5), resamples=50)
    assert alike == evaluate(labels, scores, list("abcdef"), 0.5, resamples=50)
