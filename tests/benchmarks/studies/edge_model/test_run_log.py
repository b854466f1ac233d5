"""The log of training runs contains the values of their records."""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from benchmarks.studies.edge_model.run_log import add, entry_of, read_log, table_of
from fracture_edge.errors import FractureEdgeError
from train.artifacts import TrainingRecord
from train.evaluation.record import EvaluationRecord
from train.json_records import to_plain, write_record

MakeRun = Callable[..., Path]


@pytest.fixture
def make_run(
    make_training_record: Callable[..., TrainingRecord], make_evaluation_record: Callable[..., EvaluationRecord]
) -> MakeRun:
    def make(root: Path, created: str, **recipe: Any) -> Path:
        root.mkdir()
        preprocessing = {"height": 64, "width": 48} | recipe.pop("preprocessing", {})
        known = {"preprocessing": preprocessing, "localisation": 1.5, "keep": "last"} | recipe
        write_record(root / "training.json", make_training_record(created=created, recipe=known))
        write_record(root / "evaluation-val.json", make_evaluation_record(split="val"))
        return root

    return make


def test_runs_are_logged_once_in_order_of_creation(make_run: MakeRun, tmp_path: Path) -> None:
    log = tmp_path / "log.json"
    late = entry_of(make_run(tmp_path / "b", "2026-02-02"), "the second | with a bar")
    early = entry_of(
        make_run(tmp_path / "a", "2026-01-01", preprocessing={"orientation": "portrait"}), "the first"
    )
    add(late, log)
    add(early, log)
    runs = add(replace(late, what="said better"), log)
    assert [run.what for run in runs] == ["the first", "said better"]
    assert json.loads(log.read_text()) == to_plain(runs)
    assert read_log(log) == runs
    assert "/somewhere" not in log.read_text()
    assert table_of(runs).splitlines()[2:] == [
        "| 1 | the first | 64x48, upright | random | 5 (4) | 2 | 0.750 [0.500, 1.000] |",
        "| 2 | said better | 64x48 | random | 5 (4) | 2 | 0.750 [0.500, 1.000] |",
    ]
    assert "the second \\| with a bar" in table_of([late])


def test_an_unfinished_run(tmp_path: Path) -> None:
    recipe = {"preprocessing": {"height": 64, "width": 48}}
    settings = {"recipe": recipe, "weights": "/somewhere/start.npz", "seed": 1, "data": "f"}
    (tmp_path / "run.json").write_text(json.dumps(settings))
    rows = [{"val_auroc": 0.7, "seconds": 61.0}, {"val_auroc": 0.6, "seconds": 60.0}]
    (tmp_path / "state.json").write_text(json.dumps({"phase": 0, "rows": rows, "kept": 1}))
    found = entry_of(tmp_path, "too long")
    assert "/somewhere" not in json.dumps(to_plain(found))
    assert table_of([found]).splitlines()[2:] == [
        "| 1 | too long | 64x48 | start.npz | 2, given up | 2 | 0.600 |",
    ]


def test_a_folder_without_a_run(tmp_path: Path) -> None:
    with pytest.raises(FractureEdgeError, match="no training run"):
        entry_of(tmp_path, "nothing")


def test_command(study: Callable[..., tuple[int, str, str]], make_run: MakeRun, tmp_path: Path) -> None:
    folder, log = make_run(tmp_path / "a", "2026-01-01"), tmp_path / "log.json"
    code, out, _ = study("run-log", folder, "--what", "a trial", "--log", log)
    assert code == 0
    assert out == table_of(read_log(log))
