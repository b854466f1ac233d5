import csv
import json
import math
from collections.abc import Callable
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

from fracture_edge.errors import FractureEdgeError
from fracture_edge.policy import Policy
from fracture_edge.preprocess import Preprocessing
from train.artifacts import (
    TRAINING_FILE,
    TRAINING_SCHEMA,
    ClassCounts,
    TrainingData,
    TrainingRecord,
    ValidationMetrics,
)
from train.data.batches import fingerprint
from train.data.dataset import ImageTable, read_table
from train.evaluation.calibration import Calibration
from train.evaluation.evaluate import evaluate_model, evaluate_predictions
from train.evaluation.predictions import Predictions, groups_of
from train.evaluation.record import EvaluatedData, TrainingSummary, read_evaluation
from train.json_records import to_plain, write_record
from train.recipes.recipe import Recipe, override, recipe_of
from train.runs.options import RunOptions
from train.runs.train_model import train_model
from train.runs.training_record import operating_point, validation_metrics

RECIPE = recipe_of(
    {
        "architecture": "custom_cnn",
        "batch_size": 4,
        "options": {"filters": [4, 6, 8], "units": 10},
        "preprocessing": {"height": 32, "width": 32},
        "phases": [{"epochs": 1, "learning_rate": 1e-3}],
    }
)
#: In the table's order: the fractured images come first.
LABELS = [1, 1, 1, 0, 0, 0, 0, 0]
CALIBRATED = np.array([0.9, 0.6, 0.3, 0.7, 0.4, 0.2, 0.1, 0.5])
RAW = np.array([0.8, 0.5, 0.2, 0.6, 0.3, 0.1, 0.05, 0.4])


@pytest.fixture
def table(tmp_path: Path, make_fracatlas: Callable[..., Path]) -> ImageTable:
    """Three fractured and five other validation images, two of the others with hardware; six training images."""
    rows = [
        {
            "name": f"IMG{n:02}.jpg",
            "label": int(n < 3 or 8 <= n < 11),
            "picture": n,
            "hardware": int(n in (3, 7)),
        }
        for n in range(14)
    ]
    table = read_table(make_fracatlas(tmp_path / "data", rows))
    numbers = [int(item.path[-6:-4]) for item in table]
    items = tuple(
        replace(item, split="val" if n < 8 else "train", group="ab" if n in (0, 1) else "")
        for n, item in zip(numbers, table, strict=True)
    )
    return replace(table, items=items)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    folder = tmp_path / "custom_cnn"
    folder.mkdir()
    record = TrainingRecord(
        schema_version=TRAINING_SCHEMA,
        model="custom_cnn",
        positive_class="fractured",
        parameters=1234,
        temperature=2.0,
        intercept=0.25,
        threshold=0.5,
        uncertain_low=0.4,
        uncertain_high=0.6,
        validation=ValidationMetrics(8, 3, 0.75, 0.625, 0.6, 0.125),
        recipe_name="RECIPE_NAME",
        recipe=RECIPE.to_dict(),
        seed=11,
        initial_weights="INITIAL_WEIGHTS",
        data=TrainingData("ROOT", "fracatlas", "FINGERPRINT", {"train": ClassCounts(3, 4)}),
        epochs=9,
        best_epoch=7,
        seconds=65.5,
        device="DEVICE",
        precision="PRECISION",
        backend="BACKEND",
        versions={"keras": "VERSION"},
        created="CREATED",
    )
    write_record(folder / TRAINING_FILE, record)
    return folder


def test_judgement_by_hand(folder: Path, table: ImageTable) -> None:
    assert table.where("val").labels == LABELS
    result = evaluate_predictions(folder, "val", table, Predictions(RAW, CALIBRATED))
    written = json.loads((folder / "evaluation-val.json").read_text())
    assert written == to_plain(result)
    assert read_evaluation(folder, "val") == result
    assert (result.split, result.threshold, result.model) == ("val", 0.5, "custom_cnn")
    assert result.positive_class == "fractured"
    assert [written[name] for name in ("split", "threshold", "model", "positive_class")] == [
        "val", 0.5, "custom_cnn", "fractured"
    ]  # fmt: skip
    # Two views of one patient.
    assert result.data == EvaluatedData(
        layout="fracatlas", images=8, fractured=3, groups=7, fingerprint=fingerprint(table)
    )
    assert written["data"] == {
        "layout": "fracatlas",
        "images": 8,
        "fractured": 3,
        "groups": 7,
        "fingerprint": fingerprint(table),
    }
    # Called: 0.9 and 0.6 (right), 0.7 and 0.5 (wrong).
    assert written["confusion"] == result.confusion
    assert result.confusion == {
        "true_positive": 2,
        "false_positive": 2,
        "true_negative": 3,
        "false_negative": 1,
    }
    assert written["metrics"] == {name: asdict(estimate) for name, estimate in result.metrics.items()}
    values = {name: estimate["value"] for name, estimate in written["metrics"].items()}
    assert values == pytest.approx(
        # Of 15 pairs, 0.9 beats 5, 0.6 beats 4, 0.3 beats 2.
        {
            "accuracy": 5 / 8,
            "precision": 1 / 2,
            "recall": 2 / 3,
            "specificity": 3 / 5,
            "f1": 4 / 7,
            "auroc": 11 / 15,
            "balanced_accuracy": (2 / 3 + 3 / 5) / 2,
            # Ranked, the fractured ones are first, third and sixth.
            "average_precision": (1 / 1 + 2 / 3 + 3 / 6) / 3,
            "brier": 1.61 / 8,
            "ece": 3.1 / 8,
            "sensitivity_at_specificity_90": 1 / 3,
        }
    )
    # Without 0.7 and 0.5: 0.9 and 0.6 beat all three, 0.3 beats two.
    assert written["auroc_without_hardware"]["value"] == pytest.approx(8 / 9)
    for name, scores in (("before", RAW), ("after", CALIBRATED)):
        pairs = list(zip(LABELS, scores.tolist(), strict=True))
        brier = sum((score - label) ** 2 for label, score in pairs) / 8
        loss = -sum(math.log(score if label else 1 - score) for label, score in pairs) / 8
        assert written["calibration"][name] == pytest.approx({"brier": brier, "log_loss": loss}, rel=1e-12)
    assert result.training == TrainingSummary(
        recipe_name="RECIPE_NAME",
        initial_weights="INITIAL_WEIGHTS",
        seed=11,
        parameters=1234,
        epochs=9,
        best_epoch=7,
        seconds=65.5,
        device="DEVICE",
        precision="PRECISION",
        backend="BACKEND",
        versions={"keras": "VERSION"},
        images=ClassCounts(fractured=3, not_fractured=4),
    )
    assert written["training"] == asdict(result.training)
    assert written["training"]["images"] == {"fractured": 3, "not_fractured": 4}
    assert 0 <= written["trivial_baseline"]["value"] <= 1


def test_files_of_a_judgement(folder: Path, table: ImageTable) -> None:
    evaluate_predictions(folder, "val", table, Predictions(RAW, CALIBRATED))
    pictures = {"val-confusion.png", "val-roc-pr.png", "val-reliability.png"}
    written = {"training.json", "evaluation-val.json", "val-report.txt", *pictures}
    assert {path.name for path in folder.iterdir()} == written
    title, threshold, _, _, _, negatives, positives, *rest = (folder / "val-report.txt").read_text().splitlines()
    assert title == "custom_cnn on val: 8 images, 3 fractured (the positive class)"
    assert threshold == "threshold 0.5000 on P(fractured)"
    # Precision, recall, F1 and number of images: 3 of 4 and 3 of 5; 2 of 4 and 2 of 3.
    assert negatives.split() == ["not", "fractured", "0.750", "0.600", "0.667", "5"]
    assert positives.split() == ["fractured", "0.500", "0.667", "0.571", "3"]
    assert "accuracy" in "".join(rest)


def test_certain_scores_stay_finite(folder: Path, table: ImageTable) -> None:
    certain = np.array([1.0, 1.0, 0.0, 1.0, 0.0, 0.0, 0.0, 0.0])
    result = evaluate_predictions(folder, "val", table, Predictions(certain, certain))
    # Two of eight are wrong with certainty, cut at 1e-7.
    assert result.calibration["after"].brier == 2 / 8
    assert result.calibration["after"].log_loss == pytest.approx(-2 * math.log(1e-7) / 8, rel=1e-6)


def test_no_hardware_column(folder: Path, table: ImageTable) -> None:
    items = tuple(replace(item, metadata={}) for item in table)
    result = evaluate_predictions(folder, "val", replace(table, items=items), Predictions(RAW, CALIBRATED))
    assert result.auroc_without_hardware is None
    assert json.loads((folder / "evaluation-val.json").read_text())["auroc_without_hardware"] is None


def test_an_image_without_a_group_stands_for_itself(table: ImageTable) -> None:
    groups = groups_of(table.where("val"))
    assert groups.count("ab") == 2
    assert len(set(groups)) == 7


@pytest.mark.parametrize(("temperature", "intercept"), [(1.0, 0.0), (2.5, -1.0), (0.4, 0.7)])
def test_undoing_the_calibration(temperature: float, intercept: float) -> None:
    calibration = Calibration(temperature, intercept)
    # Log-odds beyond 16 are cut on the way.
    raw = np.array([0.02, 0.2, 0.5, 0.9, 0.97])
    np.testing.assert_allclose(calibration.inverse(calibration(raw)), raw, rtol=1e-9)
    np.testing.assert_allclose(calibration(calibration.inverse(raw)), raw, rtol=1e-9)


def test_the_operating_point_without_calibration() -> None:
    labels, scores = [0, 0, 1, 1], np.array([0.1, 0.2, 0.4, 0.9])
    point = operating_point(labels, scores, chosen=False)
    assert point == Policy(threshold=0.5, uncertain_low=0.5, uncertain_high=0.5)
    found = validation_metrics(labels, scores, point)
    # One of two fractured is called, none of the others; no answer is uncertain.
    assert (found.balanced_accuracy, found.uncertain_share) == (0.75, 0.0)
    assert operating_point(labels, scores, chosen=True).threshold == pytest.approx(0.3)


def _train(base: Path, recipe: Recipe, write_bones: Callable[..., Path]) -> Path:
    data = write_bones(base / "data", 6, splits=("train", "val", "test"), height=48, width=40)
    return train_model(recipe, RunOptions(data=data, out=base / "artifacts", seed=2))


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory, write_bones: Callable[..., Path]) -> Path:
    return _train(tmp_path_factory.mktemp("trained"), RECIPE, write_bones)


def _record(folder: Path) -> dict[str, Any]:
    return json.loads((folder / "training.json").read_text())


def test_evaluation_of_the_test_split(trained: Path) -> None:
    before = {path.name for path in trained.iterdir()}
    result = evaluate_model(trained, "test")
    added = {path.name for path in trained.iterdir()} - before
    assert added == {
        "evaluation-test.json",
        "predictions-test.csv",
        "test-report.txt",
        "test-confusion.png",
        "test-roc-pr.png",
        "test-reliability.png",
    }
    record = _record(trained)
    assert (result.split, result.threshold) == ("test", record["threshold"])
    table = read_table(trained.parent.parent / "data").where("test")
    pixels = np.stack([Preprocessing(32, 32).load(table.file(item)) for item in table])
    model = keras.saving.load_model(trained / "model.keras", compile=False)
    probabilities = np.asarray(model(pixels), np.float64)[:, 0]
    with (trained / "predictions-test.csv").open(newline="") as stream:
        rows = list(csv.DictReader(stream))
    assert [(row["path"], int(row["label"])) for row in rows] == [(item.path, item.label) for item in table]
    # Six decimals are written.
    np.testing.assert_allclose([float(row["probability"]) for row in rows], probabilities, atol=2e-6)
    assert result.metrics["auroc"].value == pytest.approx(roc_auc_score(table.labels, probabilities))
    called = probabilities >= record["threshold"]
    assert result.confusion["true_positive"] == int(called[np.array(table.labels) == 1].sum())
    # Before calibration: what the network said as it was trained.
    odds = np.log(probabilities / (1 - probabilities))
    raw = 1 / (1 + np.exp(-(odds - record["intercept"]) * record["temperature"]))
    brier = np.mean((raw - table.labels) ** 2)
    assert result.calibration["before"].brier == pytest.approx(brier, rel=1e-5)


def test_evaluation_agrees_with_the_training_run(trained: Path) -> None:
    first = json.loads((trained / "evaluation-val.json").read_text())
    again = evaluate_model(trained, "val")
    assert (again.confusion, asdict(again.data)) == (first["confusion"], first["data"])
    for name in ("before", "after"):
        # The calibration is inverted from float32 probabilities.
        assert asdict(again.calibration[name]) == pytest.approx(first["calibration"][name], rel=1e-4)


def test_evaluation_where_the_data_has_moved(trained: Path, tmp_path: Path) -> None:
    expected = evaluate_model(trained, "test").confusion
    moved = tmp_path / "elsewhere"
    moved.symlink_to(trained.parent.parent / "data")
    assert evaluate_model(trained, "test", data=moved).confusion == expected


def test_nothing_to_evaluate(tmp_path: Path) -> None:
    with pytest.raises(FractureEdgeError, match="vgg16: no trained model here; `fracture-edge train vgg16` makes"):
        evaluate_model(tmp_path / "vgg16", "test")
    (tmp_path / "training.json").write_text("{")
    with pytest.raises(FractureEdgeError, match=r"training\.json: not JSON"):
        evaluate_model(tmp_path, "test")


@pytest.mark.slow
def test_a_run_without_calibration(tmp_path: Path, write_bones: Callable[..., Path]) -> None:
    folder = _train(tmp_path, override(RECIPE, settings=["calibrate=false"]), write_bones)
    record = _record(folder)
    assert (record["temperature"], record["intercept"]) == (1.0, 0.0)
    assert [record[name] for name in ("threshold", "uncertain_low", "uncertain_high")] == [0.5, 0.5, 0.5]
    assert record["validation"]["uncertain_share"] == 0.0
    result = json.loads((folder / "evaluation-val.json").read_text())
    assert result["threshold"] == 0.5
    assert result["calibration"]["before"] == result["calibration"]["after"]
    # The test split may lack a class: there is nothing to compare.
    lines = (folder / "splits.csv").read_text().splitlines()
    (folder / "splits.csv").write_text("\n".join(line for line in lines if ",1,test," not in line))
    with pytest.raises(FractureEdgeError, match=r"splits\.csv: the test split lacks a class"):
        evaluate_model(folder, "test")
