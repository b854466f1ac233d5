"""Comparison with the reference notebook: stored metrics and tables."""

import csv
import json
import math
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from benchmarks.studies.edge_model import reproduction
from benchmarks.studies.edge_model.reproduction import (
    METRICS,
    collect,
    compute_metrics,
    leak,
    reference_metrics,
    source_of,
    table,
)
from benchmarks.studies.edge_model.reproduction_runs import LONG, RUNS
from fracture_edge.errors import FractureEdgeError
from train.artifacts import ClassCounts, TrainingData, TrainingRecord
from train.evaluation.record import EvaluationRecord
from train.json_records import to_plain, write_record

ROWS = [
    # path, label, group, probability
    ("test/fractured/1-rotated1-rotated2.jpg", 1, "", 0.9),
    ("test/fractured/1-rotated1.jpg", 1, "", 0.2),
    ("test/fractured/7.jpg", 1, "", 0.6),
    ("test/not fractured/1.jpg", 0, "", 0.7),
    ("test/not fractured/4-rotated3 - Copy.jpg", 0, "", 0.1),
    ("test/not fractured/4-rotated3.jpg", 0, "", 0.3),
    ("test/not fractured/5.jpg", 0, "", 0.4),
]


@pytest.fixture
def results(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return the empty folder of stored runs."""
    folder = tmp_path / "results"
    folder.mkdir()
    monkeypatch.setattr(reproduction, "FOLDER", folder)
    return folder


@pytest.fixture(scope="session")
def write_artifact(
    make_training_record: Callable[..., TrainingRecord], make_evaluation_record: Callable[..., EvaluationRecord]
) -> Callable[..., Path]:
    """Write the folder of an evaluated model, and return it."""

    def write(folder: Path, rows: Sequence[tuple[str, int, str, float]] = ROWS, **changes: Any) -> Path:
        folder.mkdir(parents=True)
        known = {
            "model": "custom_cnn",
            "recipe_name": "notebook",
            "epochs": 6,
            "best_epoch": 3,
            "device": "CPU (2 cores, x86_64) with tensorflow",
            "data": TrainingData("/somewhere", "folders", "0123abc", {"train": ClassCounts(3, 4)}),
        }
        write_record(folder / "training.json", make_training_record(**(known | changes)))
        write_record(folder / "evaluation-test.json", make_evaluation_record())
        with (folder / "predictions-test.csv").open("w", newline="") as stream:
            csv.writer(stream).writerows([("path", "label", "group", "probability"), *rows])
        return folder

    return write


@pytest.mark.parametrize(
    ("path", "source"),
    [
        ("fractured/23.jpg", "fractured/23"),
        ("fractured/1-rotated1.jpg", "fractured/1"),
        ("fractured/1-rotated1-rotated2.jpg", "fractured/1"),
        ("fractured/5-rotated1-rotated3 - Copy.jpg", "fractured/5"),
        ("train/not fractured/5-rotated1-rotated3 - Copy.jpg", "not fractured/5"),
        ("train/fractured/12.jpeg", "fractured/12"),
        # Not a prefix: 1 and 10 are two X-rays.
        ("train/fractured/10-rotated1.jpg", "fractured/10"),
    ],
)
def test_the_x_ray_behind_an_image(path: str, source: str) -> None:
    assert source_of(path) == source


@pytest.mark.parametrize(
    ("model", "accuracy", "sensitivity", "specificity"),
    [("vgg16", 1.000, 1.000, 1.000), ("resnet50", 0.920, 0.849, 0.990), ("custom_cnn", 0.712, 0.583, 0.840)],
)
def test_the_published_metrics(model: str, accuracy: float, sensitivity: float, specificity: float) -> None:
    found = reference_metrics(model)
    assert {name: round(estimate.value, 3) for name, estimate in found.items()} == {
        "accuracy": accuracy,
        "sensitivity": sensitivity,
        "specificity": specificity,
    }
    for estimate in found.values():
        assert 0 < estimate.low <= estimate.value <= estimate.high <= 1


def test_the_reference_interval_is_wilsons() -> None:
    # 367 of 399: Wilson's score interval, by its formula.
    estimate = reference_metrics("resnet50")["accuracy"]
    share, n, z = 367 / 399, 399, 1.959964
    centre = (share + z**2 / (2 * n)) / (1 + z**2 / n)
    half = z / (1 + z**2 / n) * math.sqrt(share * (1 - share) / n + z**2 / (4 * n**2))
    assert (estimate.low, estimate.high) == pytest.approx((centre - half, centre + half), abs=1e-7)


def test_metrics_by_hand() -> None:
    labels = np.array([row[1] for row in ROWS])
    scores = np.array([row[3] for row in ROWS])
    groups = [source_of(row[0]) for row in ROWS]
    found = compute_metrics(labels, scores, groups, 0.6)
    assert tuple(found) == METRICS
    # Predicted as fractured at 0.6: 0.9, 0.6 (a tie is fractured) and 0.7, which is wrong.
    assert found["accuracy"].value == pytest.approx(5 / 7)
    assert found["sensitivity"].value == pytest.approx(2 / 3)
    assert found["specificity"].value == pytest.approx(3 / 4)
    # 0.9 beats all four of the others, 0.6 three of them, 0.2 one.
    assert found["auroc"].value == pytest.approx(8 / 12)
    for estimate in found.values():
        assert 0 <= estimate.low <= estimate.value <= estimate.high <= 1


def test_rotated_copies_of_one_x_ray_do_not_narrow_the_interval() -> None:
    random = np.random.default_rng(0)
    labels = np.arange(40) % 2
    scores = random.random(40)
    names = [f"{label}/{n}" for n, label in enumerate(labels)]
    plain = compute_metrics(labels, scores, names, 0.5)
    copied = compute_metrics(np.repeat(labels, 9), np.repeat(scores, 9), np.repeat(names, 9).tolist(), 0.5)
    for name in METRICS:
        # The groups have the same order, so the same are sampled; only the order of a float sum differs.
        assert copied[name].low == pytest.approx(plain[name].low, abs=1e-9), name
        assert copied[name].high == pytest.approx(plain[name].high, abs=1e-9), name


def test_collect(tmp_path: Path, write_artifact: Callable[..., Path]) -> None:
    folder = write_artifact(tmp_path / "artifacts/custom_cnn")
    result = collect("custom_cnn-notebook-own", folder, tmp_path / "out")
    assert json.loads((tmp_path / "out/custom_cnn-notebook-own.json").read_text()) == to_plain(result)
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["custom_cnn-notebook-own.json"]
    # The images come from five X-rays; the fractured 1 and the other 1 are two.
    assert (result.images, result.fractured, result.groups) == (7, 3, 5)
    assert result.figures["accuracy"].value == pytest.approx(5 / 7)
    assert result.figures["sensitivity"].value == pytest.approx(2 / 3)
    assert result.figures["specificity"].value == pytest.approx(3 / 4)
    assert result.figures["auroc"].value == pytest.approx(8 / 12)
    expected = {
        "model": "custom_cnn",
        "positive_class": "fractured",
        "threshold": 0.5,
        "trivial_baseline": {"value": 0.75, "low": 0.5, "high": 1.0},
        "training_images": {"fractured": 3, "not_fractured": 4},
        "fingerprint": "0123abc",
        "recipe_name": "notebook",
        "initial_weights": "random",
        "epochs": 6,
        "best_epoch": 3,
        "seconds": 150,
        "device": "CPU (2 cores, x86_64) with tensorflow",
        "precision": "float32",
        "versions": {"keras": "3.15.1"},
    }
    assert {name: to_plain(result)[name] for name in expected} == expected


def test_groups_of_a_split_file_count(tmp_path: Path, write_artifact: Callable[..., Path]) -> None:
    # FracAtlas: the groups of the split file, whatever the files are called.
    rows = [(path, label, f"g{n % 4}", score) for n, (path, label, _, score) in enumerate(ROWS)]
    folder = write_artifact(tmp_path / "custom_cnn", rows)
    assert collect("custom_cnn-corrected", folder, tmp_path / "out").groups == 4


@pytest.mark.parametrize(
    ("identifier", "record", "missing", "message"),
    [
        ("custom_cnn-own", {}, None, "no run 'custom_cnn-own'; must be one of: vgg16-notebook-own, "),
        ("vgg16-corrected", {}, None, "{folder} contains 'custom_cnn', not 'vgg16'"),
        (
            "custom_cnn-corrected",
            {},
            "predictions-test.csv",
            "{folder}/predictions-test.csv is missing: run fracture-edge evaluate custom_cnn --split test",
        ),
        (
            "custom_cnn-corrected",
            {},
            "training.json",
            "{folder}: no trained model here; `fracture-edge train custom_cnn` makes one",
        ),
    ],
)
def test_runs_that_cannot_be_collected(
    tmp_path: Path,
    write_artifact: Callable[..., Path],
    identifier: str,
    record: dict[str, Any],
    missing: str | None,
    message: str,
) -> None:
    folder = write_artifact(tmp_path / "custom_cnn", **record)
    if missing:
        (folder / missing).unlink()
    with pytest.raises(FractureEdgeError) as caught:
        collect(identifier, folder, tmp_path / "out")
    assert str(caught.value).startswith(message.format(folder=folder))
    assert not (tmp_path / "out").exists()


def test_tables_without_any_run(results: Path) -> None:
    text = table()
    lines = text.splitlines()
    assert lines[0].startswith(
        "| model | what | test images (fractured; X-rays or groups) | accuracy | sensitivity"
    )
    cells = [line.count("|") for line in lines if line.startswith("|")]
    # Every line has the header's columns.
    assert set(cells) == {cells[0]}
    published = [line for line in lines if "as published" in line]
    assert [line.split(" | ")[:3] for line in published] == [
        ["| vgg16", "reference notebook, as published", "399 (199)"],
        ["| resnet50", "reference notebook, as published", "399 (199)"],
        ["| custom_cnn", "reference notebook, as published", "399 (199)"],
    ]
    assert "| 0.712 [0.665, 0.754] | 0.583 [0.513, 0.649] | 0.840 [0.783, 0.884] |" in published[2]
    for run in RUNS.values():
        assert [line for line in lines if line.startswith(f"| {run.model} | {run.what} | not run |")], run
        assert f"- {run.model}, {run.what}: `{run.command}`" in lines
    assert text.count("not run") == len(RUNS)
    assert leak() == "Not run yet.\n"


def test_the_table_has_the_metrics_of_a_run(
    results: Path, tmp_path: Path, write_artifact: Callable[..., Path]
) -> None:
    folder = write_artifact(tmp_path / "custom_cnn", recipe_name="corrected")
    result = collect("custom_cnn-corrected", folder, results)
    lines = table().splitlines()
    run = RUNS["custom_cnn-corrected"]
    (line,) = [line for line in lines if line.startswith(f"| custom_cnn | {run.what} |")]
    estimates = [result.figures[name] for name in METRICS]
    cells = [f"{e.value:.3f} [{e.low:.3f}, {e.high:.3f}]" for e in estimates]
    assert line == (
        f"| custom_cnn | {run.what} | 7 (3; 5) | {' | '.join(cells)} | 6 of 10 (kept: 3) | random | "
        "CPU (2 cores, x86_64) with tensorflow, float32, 2 min |"
    )
    assert not any(run.command in line and run.what in line for line in lines[lines.index("") :])
    assert sum("not run" in line for line in lines) == len(RUNS) - 1


def test_the_table_says_which_other_recipe_was_used(
    results: Path, tmp_path: Path, write_artifact: Callable[..., Path]
) -> None:
    folder = write_artifact(tmp_path / "resnet50", model="resnet50", recipe_name="scratch")
    collect("resnet50-corrected", folder, results)
    assert "| resnet50 | `scratch`, not `corrected`, on FracAtlas, grouped split | 7 (3; 5) |" in table()


def test_the_table_with_all_runs(results: Path, tmp_path: Path, write_artifact: Callable[..., Path]) -> None:
    for identifier, run in RUNS.items():
        collect(identifier, write_artifact(tmp_path / identifier, model=run.model), results)
    assert "ot run" not in table()


def test_the_leak_needs_both_splits(results: Path, tmp_path: Path, write_artifact: Callable[..., Path]) -> None:
    collect("custom_cnn-notebook-own", write_artifact(tmp_path / "own"), results)
    assert leak() == "Not run yet.\n"
    rows = [(path, label, "", 1 - score) for path, label, _, score in ROWS]
    collect(LONG, write_artifact(tmp_path / "grouped", rows), results)
    own, grouped = (
        json.loads((results / f"{identifier}.json").read_text())["figures"]
        for identifier in ("custom_cnn-notebook-own", LONG)
    )
    lines = leak().splitlines()
    assert lines[0] == "| custom_cnn, recipe `notebook`, 6 epochs | own split | grouped split |"
    assert len(lines) == 2 + len(METRICS) + 1
    for name, line in zip(METRICS, lines[2:], strict=False):
        pair = [f"{e['value']:.3f} [{e['low']:.3f}, {e['high']:.3f}]" for e in (own[name], grouped[name])]
        assert line == f"| {name} | {pair[0]} | {pair[1]} |"
    # The scores were reversed.
    assert own["auroc"]["value"] + grouped["auroc"]["value"] == pytest.approx(1)
    interval = "0.750 [0.500, 1.000]"
    assert lines[-1] == f"| AUROC of size and brightness alone | {interval} | {interval} |"
