"""Operating points of a finished file are settled by out-of-fold predictions; the graph stays what it is."""

import csv
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest

from benchmarks.records.result import Run
from benchmarks.run_files import decide_again, read_run, rows_of_file, write_run
from benchmarks.studies.documents.results import EMBEDDED_ROW, EMBEDDED_RUN, RESULTS
from export import settle as settling
from export.settle import settle
from fracture_edge.classifier import FractureClassifier
from fracture_edge.errors import FractureEdgeError
from fracture_edge.modelfile import ModelInfo, embed_info
from fracture_edge.policy import Policy
from train.artifacts import sha256
from train.evaluation.operating_points import fit_operating_points
from train.json_records import to_plain


def _table(path: Path, **columns: list[Any]) -> dict[str, list[Any]]:
    """Write predictions of 200 images in 5 folds, 50 of them fractured, and return the columns."""
    random = np.random.default_rng(1)
    labels = np.repeat([1, 0], [50, 150])
    scores = 1 / (1 + np.exp(-random.normal(2.2 * labels - 1.8, 1.1)))
    made: dict[str, list[Any]] = {
        "path": [f"{row}.png" for row in range(200)],
        "fold": [1 + row % 5 for row in range(200)],
        "label": labels.tolist(),
        "group": [f"g{row // 2}" if row < 190 else "" for row in range(200)],
        "tiny": [f"{score:.6f}" for score in scores],
    }
    made |= columns
    with path.open("w", newline="", encoding="utf-8") as stream:
        writer = csv.writer(stream)
        writer.writerow(made)
        writer.writerows(zip(*made.values(), strict=True))
    return made


@pytest.fixture
def model(write_graph: Callable[..., Path], tiny_info: ModelInfo, tmp_path: Path) -> Path:
    """Tiny model with the metadata of an earlier version: three points, metrics of the validation split."""
    path = write_graph(tmp_path / "tiny.onnx")
    validation = {"images": 9, "auroc": 0.8, "balanced_accuracy": 0.7, "log_loss": 0.4, "uncertain_share": 0.6}
    points = {"balanced": {"threshold": 0.5, "uncertain_low": 0.4, "uncertain_high": 0.6}}
    embed_info(path, replace(tiny_info, operating_points=points, metrics={"validation": validation}), path)
    return path


def test_only_the_metadata_changes(model: Path, tmp_path: Path) -> None:
    table = _table(tmp_path / "folds.csv")
    before, graph = FractureClassifier(model, threads=1), onnx.load(model).graph
    settle(model, tmp_path / "folds.csv", network="tiny", version="0.9")
    after = FractureClassifier(model, threads=1)
    assert onnx.load(model).graph == graph
    pixels = np.random.default_rng(0).integers(0, 256, (5, 64, 64, 1), np.uint8)
    assert (after.probabilities(pixels) == before.probabilities(pixels)).all()
    # An image without a group is its own.
    groups = [group or path for group, path in zip(table["group"], table["path"], strict=True)]
    scores = np.array([float(value) for value in table["tiny"]])
    expected = fit_operating_points(table["label"], scores, groups, folds=table["fold"])
    assert after.info.operating_points == {name: _plain(point) for name, point in expected.items()}
    assert {point["images"] for point in after.info.operating_points.values()} == {"out-of-fold"}
    assert after.policy == expected["balanced"].policy
    assert FractureClassifier(model, threads=1, policy="certain").policy == expected["certain"].policy
    # Figures of the policy that is gone are gone too.
    assert after.info.metrics["validation"] == {"images": 9, "auroc": 0.8, "log_loss": 0.4}
    found = after.info.metrics["out_of_fold"]
    assert (found["images"], found["fractured"], found["folds"]) == (200, 50, 5)
    assert found["uncertain_share"] == expected["balanced"].uncertain_share
    kept = replace(
        after.info,
        policy=before.info.policy,
        operating_points=before.info.operating_points,
        metrics=before.info.metrics,
        version=before.info.version,
    )
    assert (kept, after.info.version) == (before.info, "0.9")


def _plain(point: Any) -> Any:
    """The point as JSON gives it back: lists for tuples."""
    import json

    return json.loads(json.dumps(to_plain(point)))


def test_the_same_predictions_give_the_same_file(model: Path, tmp_path: Path) -> None:
    _table(tmp_path / "folds.csv")
    settle(model, tmp_path / "folds.csv", network="tiny")
    first = model.read_bytes()
    settle(model, tmp_path / "folds.csv", network="tiny")
    assert model.read_bytes() == first


@pytest.mark.parametrize(
    ("columns", "network", "message"),
    [
        ({}, "other", "no column 'other'; it has: path, fold, label, group, tiny"),
        ({"tiny": ["high"] * 200}, "tiny", "could not convert string to float: 'high'"),
        ({"tiny": ["1.5"] * 200}, "tiny", "a value of 'tiny' is not between 0 and 1"),
        ({"tiny": ["nan"] * 200}, "tiny", "a value of 'tiny' is not between 0 and 1"),
        ({"fold": [1] * 200}, "tiny", "needs images of both classes in at least two folds"),
        ({"label": [0] * 200}, "tiny", "needs images of both classes in at least two folds"),
        # Where the one fold with fractures is left out, nothing could be fitted.
        (
            {"label": [int(row % 5 == 3) for row in range(200)]},
            "tiny",
            "needs images of both classes in at least two folds",
        ),
    ],
)
def test_predictions_that_cannot_be_used(
    columns: dict[str, list[Any]], network: str, message: str, model: Path, tmp_path: Path
) -> None:
    table, before = tmp_path / "folds.csv", model.read_bytes()
    _table(table, **columns)
    with pytest.raises(FractureEdgeError) as caught:
        settle(model, table, network=network)
    assert str(caught.value) == f"{table}: {message}"
    assert model.read_bytes() == before


def test_a_run_is_decided_again(embedded_run: Run, model: Path, tiny_info: ModelInfo) -> None:
    run = embedded_run
    (row,) = run.result.rows
    info = replace(tiny_info, policy=Policy(0.3, 0.2, 0.5))
    again = decide_again(run, row.sha256, model, info)
    (new,) = again.result.rows
    labels = np.array([int(line["label"]) for line in run.predictions])
    scores = np.array([float(line[EMBEDDED_ROW]) for line in run.predictions])
    assert new.quality is not None
    assert row.quality is not None
    assert new.quality.metrics["recall"].value == (scores >= 0.3)[labels == 1].mean()
    assert new.quality.metrics["specificity"].value == (scores < 0.3)[labels == 0].mean()
    assert new.quality.uncertain.share == np.mean((scores >= 0.2) & (scores < 0.5))
    # Nothing that the threshold does not touch.
    for name in ("auroc", "brier", "ece"):
        # Another version of NumPy may have summed in another order.
        found, stored = new.quality.metrics[name], row.quality.metrics[name]
        assert (found.value, found.low, found.high) == pytest.approx(
            (stored.value, stored.low, stored.high), abs=1e-9
        )
    assert (new.speed, new.first_answer_ms, new.peak_memory_mb) == (
        row.speed, row.first_answer_ms, row.peak_memory_mb
    )  # fmt: skip
    assert again.predictions == run.predictions
    assert new.timed_sha256 == row.sha256_of_times
    assert (new.sha256, new.bytes) == (sha256(model), model.stat().st_size)
    described = again.result.models[row.model]
    assert (described.threshold, described.uncertain_low, described.uncertain_high) == (0.3, 0.2, 0.5)
    assert described.training == run.result.models[row.model].training


def test_a_run_of_another_file_is_refused_before_anything_is_written(
    model: Path, embedded_run: Run, tmp_path: Path
) -> None:
    _table(tmp_path / "folds.csv")
    write_run(embedded_run, tmp_path / "run.json", force=False)
    before = {path: path.read_bytes() for path in tmp_path.iterdir()}
    with pytest.raises(
        FractureEdgeError, match=r"run\.json: did not measure the file as it is \(SHA-256 \w{12}\)$"
    ):
        settle(model, tmp_path / "folds.csv", network="tiny", runs=[tmp_path / "run.json"])
    assert {path: path.read_bytes() for path in tmp_path.iterdir()} == before


def test_a_model_with_several_files_keeps_one_threshold() -> None:
    run = read_run(RESULTS / EMBEDDED_RUN)
    row = next(row for row in run.result.rows if row.id == "edge/onnx int8")
    with pytest.raises(FractureEdgeError, match="measured other files of edge too"):
        rows_of_file(run, row.sha256)


def test_the_command(
    model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    _table(tmp_path / "folds.csv")
    # As the embedded model it gets its checksum and known answers.
    checked = []
    monkeypatch.setattr(settling, "EMBEDDED_FILE", model)
    monkeypatch.setattr(settling, "write_checks", checked.append)
    words = ["settle", str(model), "--predictions", str(tmp_path / "folds.csv"), "--network", "tiny"]
    monkeypatch.setattr("sys.argv", words)
    settling.main()
    out, err = capsys.readouterr()
    assert (out, checked) == (f"{model}\n", [model])
    assert [line.split(":")[0] for line in err.splitlines()] == [
        "balanced", "certain", "screening", "specific"
    ]  # fmt: skip
    monkeypatch.setattr("sys.argv", [*words[:-1], "nosuch"])
    with pytest.raises(SystemExit) as caught:
        settling.main()
    assert caught.value.code == 1
    assert "no column 'nosuch'" in capsys.readouterr().err
