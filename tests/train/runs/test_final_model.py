"""`train --folds N --final`: settled by the folds, trained on all images of training and validation."""

import csv
import json
import shutil
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
from sklearn.metrics import log_loss, roc_auc_score

from fracture_edge.attributes import CLASSES_NAME
from fracture_edge.errors import FractureEdgeError
from fracture_edge.preprocess import Preprocessing
from train.architectures import build
from train.artifacts import read_record
from train.data.batches import fingerprint
from train.data.dataset import ImageTable, read_splits
from train.data.pixel_store import PixelStore
from train.data.splits import cross_validation_table
from train.evaluation.attributes import load_heads
from train.evaluation.calibration import UNCALIBRATED, Calibration, fit_calibration
from train.evaluation.decided import decided_metrics, decisions
from train.evaluation.evaluate import evaluate_model
from train.evaluation.folded import read_folded
from train.evaluation.operating_points import AIMS
from train.evaluation.record import FOLDS_FILE
from train.recipes.recipe import Phase, Recipe, load_recipe, recipe_of
from train.runs import cross_validation, final_model
from train.runs.final_model import median_epochs, train_final
from train.runs.options import RunOptions
from train.trainer.callbacks import Commit, kept_epochs
from train.trainer.loop import learning_rate
from train.trainer.train_once import Settled, train_once

Cli = Callable[..., tuple[int, str, str]]
#: Whole runs of several models: a minute or more.
slow = pytest.mark.slow

RECIPE = """
architecture = "custom_cnn"
batch_size = 4
monitor = "val_auroc"
options = { filters = [4, 6, 8], units = 10 }
preprocessing = { height = 32, width = 32 }
phases = [
    { epochs = 2, learning_rate = 1e-3, trainable = "head" },
    { epochs = 3, learning_rate = 5e-3, schedule = "cosine" },
]
augmentation = { rotation = 5 }
"""
POOL, FOLDS = 36, 3


def test_halves_of_the_median_are_rounded_up() -> None:
    assert median_epochs([[3, 1], [5, 2], [9, 2]]) == (5, 2)
    assert median_epochs([[3, 1], [4, 2], [9, 2], [1, 1]]) == (4, 2)


def test_kept_epochs_are_counted_within_their_phase() -> None:
    def row(epoch: int, phase: int, auroc: float, loss: float = 0.5) -> dict[str, float]:
        return {"epoch": epoch, "phase": phase, "loss": 0.4, "val_loss": loss, "val_auroc": auroc}

    rows = [row(1, 1, 0.7), row(2, 1, 0.8), row(3, 1, 0.75), row(4, 2, 0.6), row(5, 2, 0.9, float("nan"))]
    values = {"architecture": "custom_cnn", "preprocessing": {"height": 8, "width": 8}}
    phases = [{"epochs": 3, "learning_rate": 1e-3}, {"epochs": 2, "learning_rate": 1e-3}]
    best = recipe_of(values | {"phases": phases, "monitor": "val_auroc"})
    # The best by validation; an epoch that diverged is not kept, whatever its AUROC.
    assert kept_epochs(rows, best) == [2, 1]
    assert kept_epochs(rows, replace(best, keep="last")) == [3, 1]


def test_the_schedule_is_that_of_the_recipe() -> None:
    # A phase that ends early has not fallen to the end of its schedule, as in the folds.
    phase = Phase(epochs=4, learning_rate=1.0, schedule="cosine")
    rate = learning_rate(phase, 10)
    assert float(rate(20)) == pytest.approx(0.5 * (1 + 0.01), abs=1e-6)


@pytest.fixture(scope="module")
def project(train_data: Path, liven: Callable[..., keras.Model]) -> Path:
    """As `train_data`, with pairs of images in a group, tiny.toml, start.keras: weights that tell images apart."""
    with (train_data / "splits.csv").open(newline="") as stream:
        rows = list(csv.DictReader(stream))
    lines = ["path,label,split,group"]
    lines += [f"{row['path']},{row['label']},{row['split']},g{n // 2:02}" for n, row in enumerate(rows)]
    (train_data / "splits.csv").write_text("\n".join(lines))
    (train_data / "tiny.toml").write_text(RECIPE)
    keras.utils.set_random_seed(0)
    start = build("custom_cnn", 32, 32, filters=(4, 6, 8), units=10)
    part = read_splits(train_data / "data", train_data / "splits.csv").where("train")
    liven(start, np.stack([Preprocessing(32, 32).load(part.file(item)) for item in part]))
    start.save(train_data / "start.keras")
    return train_data


def _recipe(project: Path) -> Recipe:
    return load_recipe("custom_cnn", str(project / "tiny.toml"))


def _run(project: Path, out: Path, recipe: Recipe | None = None, **options: Any) -> Path:
    places = {"data": project / "data", "splits": project / "splits.csv", "out": out, "recipe_name": "tiny.toml"}
    given = {"seed": 3, "precision": "float32", "weights": str(project / "start.keras")}
    return train_final(recipe or _recipe(project), RunOptions(**(given | places | options)), folds=FOLDS)


def _arguments(project: Path, out: Path, *more: object) -> list[object]:
    places = ["--data", project / "data", "--splits", project / "splits.csv", "--artifacts", out]
    recipe = ["--recipe", project / "tiny.toml", "--weights", project / "start.keras", "--seed", 3]
    return ["train", "custom_cnn", *places, *recipe, *more]


@pytest.fixture(scope="module")
def whole(project: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Path, list[set[str]]]]:
    """Uninterrupted run, and the images that the final model was trained on."""
    trained = []

    def spy(recipe: Any, store: Any, part: ImageTable, val_part: Any, **options: Any) -> Any:
        assert val_part is None
        trained.append({item.path for item in part})
        return train_once(recipe, store, part, val_part, **options)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(final_model, "train_once", spy)
        folder = _run(project, tmp_path_factory.mktemp("artifacts"))
    return folder, trained


@slow
def test_the_folds_are_those_of_a_cross_validation_alone(
    whole: tuple[Path, list[set[str]]], project: Path
) -> None:
    folder, _ = whole
    record = json.loads((folder.with_name("custom_cnn-folds") / FOLDS_FILE).read_text(encoding="utf-8"))
    table = cross_validation_table(project / "data", project / "splits.csv")
    # Order included, by which results of both are compared.
    assert record["data_fingerprint"] == fingerprint(table)


def _rows(path: Path) -> list[dict[str, str]]:
    with path.open(newline="", encoding="utf-8") as stream:
        return list(csv.DictReader(stream))


@slow
def test_files(whole: tuple[Path, list[set[str]]], project: Path) -> None:
    folder, trained = whole
    assert sorted(path.name for path in folder.parent.iterdir()) == ["custom_cnn", "custom_cnn-folds"]
    names = {path.name for path in folder.iterdir()}
    assert names >= {"model.keras", "training.json", "history.csv", "splits.csv", "curves.png", "samples.png"}
    assert names >= {"evaluation-out-of-fold.json", "out-of-fold-report.txt", "predictions-out-of-fold.csv"}
    # No figures of images that the model was trained on.
    assert not [name for name in names if "val" in name.replace("evaluation", "")]
    pool = {row["path"] for row in _rows(project / "splits.csv") if row["split"] != "test"}
    assert trained == [pool]
    assert len(pool) == POOL


@slow
def test_epochs_are_the_median_of_the_folds_and_nothing_stops_early(whole: tuple[Path, list[set[str]]]) -> None:
    folder, _ = whole
    record = read_record(folder)
    folds = json.loads((folder.parent / "custom_cnn-folds/folds.json").read_text())
    kept = [entry["kept"] for entry in folds["folds"]]
    assert all(1 <= first <= 2 and 1 <= second <= 3 for first, second in kept)
    expected = [int(np.median(column)) for column in zip(*kept, strict=True)]
    history = _rows(folder / "history.csv")
    assert [sum(row["phase"] == str(phase) for row in history) for phase in (1, 2)] == expected
    assert (record.epochs, record.best_epoch) == (sum(expected), sum(expected))
    assert {row["val_loss"] for row in history} == {""}
    assert record.out_of_fold is not None
    assert record.out_of_fold.kept_epochs == kept
    # The recipe is recorded as it was, not as it was cut.
    assert [phase["epochs"] for phase in record.recipe["phases"]] == [2, 3]


@slow
def test_everything_is_settled_by_the_out_of_fold_predictions(whole: tuple[Path, list[set[str]]]) -> None:
    folder, _ = whole
    record = read_record(folder)
    raw = read_folded(folder.parent / "custom_cnn-folds/predictions.csv", "raw")
    calibration = fit_calibration(raw.labels, raw.probabilities)
    assert (record.temperature, record.intercept) == (calibration.temperature, calibration.intercept)
    expected = calibration(raw.probabilities)
    written = read_folded(folder / "predictions-out-of-fold.csv")
    # Six decimals.
    np.testing.assert_allclose(written.probabilities, expected, atol=1e-6)
    assert (written.paths, written.folds, written.groups) == (raw.paths, raw.folds, raw.groups)
    assert record.validation is None
    found = record.out_of_fold
    assert found is not None
    assert (found.images, found.fractured, found.folds) == (POOL, 12, FOLDS)
    assert found.auroc == pytest.approx(roc_auc_score(raw.labels, expected), abs=1e-12)
    assert found.log_loss == pytest.approx(log_loss(raw.labels, expected), abs=1e-12)
    assert list(record.operating_points) == list(AIMS)
    for point in record.operating_points.values():
        assert point.images == "out-of-fold"
        assert point.nested is not None
        metrics = decided_metrics(raw.labels, decisions(expected, point.policy))
        assert point.sensitivity == pytest.approx(metrics.sensitivity, abs=1e-12)
        assert point.uncertain_share == pytest.approx(metrics.uncertain_share, abs=1e-12)
    assert record.policy == record.operating_points["balanced"].policy
    counts = record.data.images
    assert (counts["train"].fractured + counts["train"].not_fractured, counts["val"].fractured) == (POOL, 0)
    evaluation = json.loads((folder / "evaluation-out-of-fold.json").read_text())
    assert (evaluation["split"], evaluation["data"]["images"]) == ("out-of-fold", POOL)
    assert evaluation["metrics"]["auroc"]["value"] == pytest.approx(found.auroc, abs=1e-12)


@slow
def test_a_settled_training_folds_its_calibration_in(project: Path, tmp_path: Path) -> None:
    recipe = _recipe(project)
    pool = read_splits(project / "data", project / "splits.csv").where("train")
    store = PixelStore(pool, recipe.preprocessing)
    odds = []
    for name, calibration in (("plain", UNCALIBRATED), ("calibrated", Calibration(2.0, 0.75))):
        (tmp_path / name).mkdir()
        outcome = train_once(
            recipe, store, pool, None, folder=tmp_path / name, weights=str(project / "start.keras"), seed=1,
            settled=Settled((1, 2), calibration),
        )  # fmt: skip
        # One epoch of the first phase, two of the second, and the last weights.
        assert [row["phase"] for row in outcome.history.rows] == [1, 2, 2]
        assert (outcome.history.kept, outcome.calibration) == (3, calibration)
        found = outcome.model(store.of(pool)).numpy()[:, 0].astype(float)
        odds.append(np.log(found / (1 - found)))
    assert np.ptp(odds[0]) > 0.1
    # float32 sums that threads may add in another order.
    np.testing.assert_allclose(odds[1], odds[0] / 2 + 0.75, atol=5e-3)


@slow
def test_classes_beside_the_answer_are_kept(project: Path, tmp_path: Path) -> None:
    rows = _rows(project / "splits.csv")
    names = tuple(sorted({Path(row["path"]).parent.name for row in rows}))
    folder = _run(project, tmp_path, replace(_recipe(project), classes=names))
    head = load_heads(folder / "attributes.npz")[CLASSES_NAME]
    assert (head.labels, head.exclusive, head.fractured) == (names, True, ())


def test_a_class_without_images_is_refused_before_the_folds(project: Path, tmp_path: Path) -> None:
    with pytest.raises(
        FractureEdgeError, match=r"^recipe\.classes: no training images in a folder named 'bowed'$"
    ):
        _run(project, tmp_path, replace(_recipe(project), classes=("bowed", "spiral")))
    assert not list(tmp_path.glob("*-folds"))


@slow
def test_its_validation_images_are_no_test(whole: tuple[Path, list[set[str]]]) -> None:
    folder, _ = whole
    with pytest.raises(
        FractureEdgeError, match="was trained on its validation images too; evaluation-out-of-fold"
    ):
        evaluate_model(folder, "val")


@pytest.fixture(scope="module")
def cut_off(project: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Artefacts of a run that was interrupted in the final model, after its first epoch."""
    artifacts = tmp_path_factory.mktemp("cut") / "artifacts"
    commit = Commit.on_epoch_end

    def fatal(self: Commit, *arguments: Any) -> None:
        commit(self, *arguments)
        if self.folder.name == ".custom_cnn.unfinished":
            raise KeyboardInterrupt

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Commit, "on_epoch_end", fatal)
        with pytest.raises(KeyboardInterrupt):
            _run(project, artifacts)
    assert sorted(path.name for path in artifacts.iterdir()) == [".custom_cnn.unfinished", "custom_cnn-folds"]
    return artifacts


@slow
def test_an_interrupted_run_keeps_its_folds(
    whole: tuple[Path, list[set[str]]],
    cut_off: Path,
    project: Path,
    tmp_path: Path,
    cli: Cli,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    cut = shutil.copytree(cut_off, tmp_path / "artifacts")
    code, out, err = cli(*_arguments(project, cut, "--folds", FOLDS, "--final", "--precision", "float32"))
    assert (code, out) == (1, "")
    assert "--resume continues it, --force starts over" in err
    code, out, err = cli(*_arguments(project, cut, "--folds", FOLDS, "--final", "--resume", "--batch-size", 8))
    assert (code, out) == (1, "")
    assert err.splitlines()[-1] == (
        f"fracture-edge: {cut / 'custom_cnn-folds'}: its folds were trained with another recipe; --force without "
        "--resume trains them again"
    )
    monkeypatch.setattr(cross_validation, "train_once", None)
    code, out, err = cli(*_arguments(project, cut, "--folds", FOLDS, "--final", "--resume"))
    assert (code, out) == (0, f"{cut / 'custom_cnn'}\n"), err
    epochs = [line for line in err.splitlines() if line.startswith("epoch ")]
    assert epochs[0].startswith("epoch 2/")
    assert "val_loss" not in epochs[0]
    resumed, uninterrupted = read_record(cut / "custom_cnn"), read_record(whole[0])
    assert resumed.operating_points == uninterrupted.operating_points
    assert resumed.out_of_fold == uninterrupted.out_of_fold
    histories = [_rows(folder / "history.csv") for folder in (cut / "custom_cnn", whole[0])]
    losses = [[float(row["loss"]) for row in history] for history in histories]
    # float32 sums that threads may add in another order.
    assert losses[0] == pytest.approx(losses[1], rel=1e-3)


@slow
def test_folds_of_an_ordinary_cross_validation_are_taken(
    whole: tuple[Path, list[set[str]]], project: Path, tmp_path: Path, cli: Cli, monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.copytree(whole[0].parent / "custom_cnn-folds", tmp_path / "custom_cnn-folds")
    code, _, err = cli(*_arguments(project, tmp_path, "--folds", FOLDS, "--final"))
    assert code == 1
    assert err.splitlines()[-1] == (
        f"fracture-edge: {tmp_path / 'custom_cnn-folds'} exists already: --resume takes its folds, --force trains "
        "them again"
    )
    for changed, what in ((["--folds", 4], "number of folds"), (["--folds", 3, "--seed", 4], "seed")):
        code, _, err = cli(*_arguments(project, tmp_path, *changed, "--final", "--resume"))
        assert (code, f"its folds were trained with another {what};" in err) == (1, True), err
    record = tmp_path / "custom_cnn-folds/folds.json"
    written = json.loads(record.read_text())
    older = written | {"folds": [{k: v for k, v in fold.items() if k != "kept"} for fold in written["folds"]]}
    record.write_text(json.dumps(older))
    code, _, err = cli(*_arguments(project, tmp_path, "--folds", FOLDS, "--final", "--resume"))
    assert (code, "was made by an earlier version and does not say which epochs were kept" in err) == (1, True)
    record.write_text(json.dumps(written))
    monkeypatch.setattr(cross_validation, "train_once", None)
    code, out, err = cli(*_arguments(project, tmp_path, "--folds", FOLDS, "--final", "--resume"))
    assert (code, out) == (0, f"{tmp_path / 'custom_cnn'}\n"), err
    assert f"the folds of {tmp_path / 'custom_cnn-folds'} are taken" in err
    assert read_record(tmp_path / "custom_cnn").operating_points == read_record(whole[0]).operating_points


def test_option_combinations_that_make_no_sense(project: Path, tmp_path: Path, cli: Cli) -> None:
    code, out, err = cli(*_arguments(project, tmp_path, "--final"))
    assert (code, out) == (2, "")
    assert "--final needs the folds of a cross-validation: give --folds 5 too" in err
    code, out, err = cli(*_arguments(project, tmp_path, "--keep-models"))
    assert (code, out) == (2, "")
    assert "--keep-models needs the folds of a cross-validation: give --folds 5 too" in err
    code, out, err = cli(*_arguments(project, tmp_path, "--folds", 3, "--final", "--resume"))
    assert (code, out) == (1, "")
    assert (
        err == f"fracture-edge: {tmp_path / 'custom_cnn-folds'}: no folds to resume; leave --resume out to start\n"
    )
    mine = tmp_path / "custom_cnn/training.json"
    mine.parent.mkdir()
    mine.write_text("mine")
    code, out, err = cli(*_arguments(project, tmp_path, "--folds", 3, "--final"))
    assert (code, out) == (1, "")
    assert err == f"fracture-edge: {mine.parent} exists already; give --force to replace it\n"
    assert mine.read_text() == "mine"
