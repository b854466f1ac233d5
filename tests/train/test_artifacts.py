"""Which models are there, and what their ``training.json`` says."""

import json
from pathlib import Path
from typing import Any

import pytest

from fracture_edge.errors import FractureEdgeError
from fracture_edge.policy import Policy
from fracture_edge.preprocess import Preprocessing
from train.artifacts import (
    ClassCounts,
    OperatingPoint,
    TrainingData,
    TrainingRecord,
    ValidationMetrics,
    read_record,
    trained_models,
)
from train.json_records import write_record


def test_trained_models_are_the_folders_with_weights(tmp_path: Path) -> None:
    for name in ("b", "a", ".c.unfinished", "empty"):
        (tmp_path / name).mkdir()
    for name in ("b", "a", ".c.unfinished"):
        (tmp_path / name / "model.keras").touch()
    assert trained_models(tmp_path) == ["a", "b"]


def test_a_folder_without_any(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises(FractureEdgeError, match="no trained model here; `fracture-edge train` makes one"):
        trained_models(tmp_path)


def _written_before() -> dict[str, Any]:
    """A ``training.json`` as it was written before records were typed."""
    point = {
        "threshold": 0.3,
        "uncertain_low": 0.2,
        "uncertain_high": 0.45,
        "sensitivity": 0.95,
        "specificity": 0.96,
        "uncertain_share": 0.25,
    }
    return {
        "schema_version": 1,
        "model": "custom_cnn",
        "positive_class": "fractured",
        "parameters": 1234,
        "temperature": 1.5,
        "intercept": -0.25,
        "threshold": 0.3,
        "uncertain_low": 0.2,
        "uncertain_high": 0.45,
        "suitability": {"least_side": 96, "most_colour": 0.1},
        "operating_points": {"balanced": point, "screening": {**point, "threshold": 0.1}},
        "validation": {
            "images": 342,
            "fractured": 59,
            "auroc": 0.91,
            "balanced_accuracy": 0.84,
            "log_loss": 0.33,
            "uncertain_share": 0.27,
        },
        "recipe_name": "corrected",
        "recipe": {
            "architecture": "custom_cnn",
            "preprocessing": Preprocessing(40, 32).to_dict(),
            "phases": [{"epochs": 2, "learning_rate": 1e-3}, {"epochs": 10, "learning_rate": 1e-4}],
            "options": {"filters": [4, 6, 8]},
        },
        "seed": 3,
        "initial_weights": "random",
        "data": {
            "root": "/data/FracAtlas",
            "layout": "fracatlas",
            "fingerprint": "0" * 64,
            "images": {
                "train": {"fractured": 500, "not_fractured": 2300},
                "val": {"fractured": 59, "not_fractured": 283},
                "test": {"fractured": 100, "not_fractured": 500},
            },
        },
        "epochs": 11,
        "best_epoch": 9,
        "seconds": 3600,
        "teachers_auroc": 0.88,
        "device": "CPU (8 threads) with tensorflow",
        "precision": "float32",
        "backend": "tensorflow",
        "versions": {"fracture-edge": "0.9.0", "keras": "3.11.0"},
        "created": "2026-01-02T03:04:05+00:00",
    }


def _write(folder: Path, record: dict[str, Any]) -> None:
    (folder / "training.json").write_text(json.dumps(record))


def test_a_record_of_the_version_before_is_read(tmp_path: Path) -> None:
    written = _written_before()
    _write(tmp_path, written)
    record = read_record(tmp_path)
    assert record == TrainingRecord(
        schema_version=1,
        model="custom_cnn",
        positive_class="fractured",
        parameters=1234,
        temperature=1.5,
        intercept=-0.25,
        threshold=0.3,
        uncertain_low=0.2,
        uncertain_high=0.45,
        suitability={"least_side": 96.0, "most_colour": 0.1},
        operating_points={
            name: OperatingPoint(
                threshold=threshold,
                uncertain_low=0.2,
                uncertain_high=0.45,
                sensitivity=0.95,
                specificity=0.96,
                uncertain_share=0.25,
            )
            for name, threshold in (("balanced", 0.3), ("screening", 0.1))
        },
        validation=ValidationMetrics(
            images=342,
            fractured=59,
            auroc=0.91,
            balanced_accuracy=0.84,
            log_loss=0.33,
            uncertain_share=0.27,
        ),
        recipe_name="corrected",
        recipe=written["recipe"],
        seed=3,
        initial_weights="random",
        data=TrainingData(
            root="/data/FracAtlas",
            layout="fracatlas",
            fingerprint="0" * 64,
            images={
                "train": ClassCounts(fractured=500, not_fractured=2300),
                "val": ClassCounts(fractured=59, not_fractured=283),
                "test": ClassCounts(fractured=100, not_fractured=500),
            },
        ),
        epochs=11,
        best_epoch=9,
        seconds=3600.0,
        teachers_auroc=0.88,
        device="CPU (8 threads) with tensorflow",
        precision="float32",
        backend="tensorflow",
        versions={"fracture-edge": "0.9.0", "keras": "3.11.0"},
        created="2026-01-02T03:04:05+00:00",
    )
    assert record.preprocessing == Preprocessing(40, 32)
    assert record.policy == Policy(0.3, 0.2, 0.45)
    assert record.planned_epochs == 12
    # What is written has the same keys and values.
    write_record(tmp_path / "training.json", record)
    assert json.loads((tmp_path / "training.json").read_text()) == written


def test_a_record_without_teachers_and_calibration(tmp_path: Path) -> None:
    # Null and empty before, left out now; read alike.
    empty = {"suitability": {}, "operating_points": {}, "teachers_auroc": None}
    written = _written_before() | empty
    _write(tmp_path, written)
    record = read_record(tmp_path)
    assert (record.suitability, record.operating_points, record.teachers_auroc) == ({}, {}, None)
    _write(tmp_path, {name: value for name, value in written.items() if name not in empty})
    assert read_record(tmp_path) == record


def test_a_newer_record_says_to_update(tmp_path: Path) -> None:
    # Its fields may be others altogether.
    _write(tmp_path, {"schema_version": 2, "network": "edge"})
    with pytest.raises(FractureEdgeError) as caught:
        read_record(tmp_path)
    assert str(caught.value) == (
        f"{tmp_path / 'training.json'}: schema 2, this version reads up to 1; update fracture-edge"
    )


@pytest.mark.parametrize(
    ("written", "message"),
    [
        ("null", "must contain a JSON object"),
        ("3", "must contain a JSON object"),
        ("{}", "schema_version must be an integer, not null"),
        ('{"schema_version": "2"}', 'schema_version must be an integer, not "2"'),
    ],
)
def test_a_file_of_another_kind_is_refused_with_its_name(tmp_path: Path, written: str, message: str) -> None:
    (tmp_path / "training.json").write_text(written)
    with pytest.raises(FractureEdgeError) as caught:
        read_record(tmp_path)
    assert str(caught.value) == f"{tmp_path / 'training.json'}: {message}"


@pytest.mark.parametrize("field", ["threshold", "validation", "data.fingerprint", "data.images.val.fractured"])
def test_a_missing_field_is_refused_with_the_files_name(tmp_path: Path, field: str) -> None:
    written = _written_before()
    *above, name = field.split(".")
    values = written
    for key in above:
        values = values[key]
    del values[name]
    _write(tmp_path, written)
    with pytest.raises(FractureEdgeError, match=rf"required field missing @ TrainingRecord\..*{name}$") as caught:
        read_record(tmp_path)
    assert str(caught.value).startswith(f"{tmp_path / 'training.json'}: ")


@pytest.mark.parametrize("text", ["{", "[]", '"record"'])
def test_what_is_no_record_is_refused_with_the_files_name(tmp_path: Path, text: str) -> None:
    (tmp_path / "training.json").write_text(text)
    with pytest.raises(FractureEdgeError) as caught:
        read_record(tmp_path)
    assert str(caught.value).startswith(f"{tmp_path / 'training.json'}: ")
