import csv
import json
from collections.abc import Callable, Iterable
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
from sklearn.metrics import balanced_accuracy_score, log_loss, roc_auc_score

from fracture_edge import __version__
from fracture_edge.errors import FractureEdgeError
from fracture_edge.preprocess import Preprocessing
from train.architectures import build, edge
from train.data.batches import class_weights, fingerprint
from train.data.dataset import read_splits
from train.evaluation.attributes import load_heads
from train.evaluation.operating_points import AIMS, choose_threshold, fit_band
from train.recipes.recipe import load_recipe, override
from train.runs import train_model as run
from train.runs.options import RunOptions
from train.trainer import loop
from train.trainer import train_once as once

FILES = {
    "model.keras", "training.json",
    "typicality.npz", "attributes.npz", "history.csv", "predictions-val.csv", "splits.csv",
    "curves.png", "classes.png", "samples.png",
    "evaluation-val.json", "val-report.txt", "val-confusion.png", "val-roc-pr.png", "val-reliability.png",
}  # fmt: skip
Train = Callable[..., Path]


@pytest.fixture(scope="module")
def edge_folder(
    train_data: Path,
    train_tiny: Train,
    tmp_path_factory: pytest.TempPathFactory,
    liven: Callable[..., keras.Model],
) -> Path:
    """An edge of three blocks, started from weights that tell images apart."""
    out = tmp_path_factory.mktemp("artifacts")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(edge, "STAGES", edge.STAGES[:2])
        start = build("edge", 64, 64, filters=0.25, depth=0.5)
        table = read_splits(train_data / "data", train_data / "splits.csv").where("train")
        liven(start, np.stack([Preprocessing(64, 64).load(table.file(item)) for item in table]))
        start.save(train_data / "start.keras")
        return train_tiny(train_data, "edge", out, seed=3, weights=str(train_data / "start.keras"))


@pytest.fixture(scope="module")
def cnn_folder(train_data: Path, train_tiny: Train, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return train_tiny(train_data, "custom_cnn", tmp_path_factory.mktemp("artifacts"), seed=3)


@pytest.fixture(params=["edge", "custom_cnn"])
def trained(request: pytest.FixtureRequest) -> Path:
    return request.getfixturevalue("edge_folder" if request.param == "edge" else "cnn_folder")


def _rows(path: Path) -> list[dict[str, str]]:
    with path.open(newline="", encoding="utf-8") as stream:
        return list(csv.DictReader(stream))


def _record(folder: Path) -> dict[str, Any]:
    return json.loads((folder / "training.json").read_text())


def _predicted(folder: Path, train_data: Path) -> tuple[np.ndarray, np.ndarray]:
    """Labels and probabilities of the validation images by the saved model."""
    table = read_splits(train_data / "data", folder / "splits.csv").where("val")
    record = _record(folder)
    preprocessing = Preprocessing.from_dict(record["recipe"]["preprocessing"])
    pixels = np.stack([preprocessing.load(table.file(item)) for item in table])
    model = keras.saving.load_model(folder / "model.keras", compile=False)
    return np.array(table.labels), np.asarray(model(pixels), np.float64)[:, 0]


def test_files(trained: Path, train_data: Path) -> None:
    # The data set has boxes, and only edge has cells.
    located = {"localiser.npz"} if _record(trained)["recipe"]["architecture"] == "edge" else set()
    assert {path.name for path in trained.iterdir()} == FILES | located
    assert [path.name for path in trained.parent.iterdir()] == [trained.name]
    # Left out of the record, as everything that has its default.
    assert sorted(_rows(trained / "splits.csv"), key=str) == sorted(_rows(train_data / "splits.csv"), key=str)


def test_heads_are_stored_for_the_labels_that_the_data_has(trained: Path) -> None:
    (head,) = load_heads(trained / "attributes.npz").items()
    # The data set has no views.
    assert (head[0], head[1].labels) == ("body_part", ("hand", "leg", "hip", "shoulder"))


def test_one_class_on_each_side_is_the_binary_answer(
    edge_folder: Path, train_data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The loss of the class among those of its side is 0, with boxes, averaged weights and augmentation too."""
    monkeypatch.setattr(edge, "STAGES", edge.STAGES[:2])
    recipe = override(
        load_recipe("edge", str(train_data / "edge.toml")),
        settings=['classes=["Non_fractured", "Fractured"]', "softmax=in_place"],
    )
    places = {"data": train_data / "data", "splits": train_data / "splits.csv", "out": tmp_path}
    folder = run.train_model(recipe, RunOptions(**places, seed=3, weights=str(train_data / "start.keras")))
    found, expected = (
        [float(row["probability"]) for row in _rows(each / "predictions-val.csv")]
        for each in (folder, edge_folder)
    )
    # Threads add float32 numbers in another order, and each step carries that on; the answers are 0.05 to 0.9.
    np.testing.assert_allclose(found, expected, atol=1e-3)
    heads = load_heads(folder / "attributes.npz")
    assert list(heads) == ["body_part", "classes"]
    assert heads["classes"].fractured == (False, True)
    assert _record(folder)["recipe"]["softmax"] == "in_place"
    assert "softmax" not in _record(edge_folder)["recipe"]


def test_saved_model_gives_the_recorded_predictions(trained: Path, train_data: Path) -> None:
    labels, probabilities = _predicted(trained, train_data)
    # A few steps of a tiny network: more than rounding, which the next lines allow.
    assert np.ptp(probabilities) > 1e-3
    rows = _rows(trained / "predictions-val.csv")
    table = read_splits(train_data / "data", train_data / "splits.csv").where("val")
    assert [row["path"] for row in rows] == [item.path for item in table]
    assert [int(row["label"]) for row in rows] == labels.tolist()
    # Six decimals are written.
    np.testing.assert_allclose([float(row["probability"]) for row in rows], probabilities, atol=1e-5)


def test_operating_point_is_that_of_the_validation_images(trained: Path, train_data: Path) -> None:
    labels, probabilities = _predicted(trained, train_data)
    record = _record(trained)
    threshold = choose_threshold(labels, probabilities)
    # The batch size may move a float32 in its last places.
    assert record["threshold"] == pytest.approx(threshold, abs=1e-5)
    band = fit_band(labels, probabilities, threshold, AIMS["balanced"])
    assert (record["uncertain_low"], record["uncertain_high"]) == pytest.approx(
        (band.uncertain_low, band.uncertain_high), abs=1e-5
    )
    assert record["operating_points"]["balanced"]["uncertain_low"] == record["uncertain_low"]
    assert list(record["operating_points"]) == list(AIMS)
    assert {point["images"] for point in record["operating_points"].values()} == {"validation"}
    assert "out_of_fold" not in record
    found = record["validation"]
    assert (found["images"], found["fractured"]) == (12, 4)
    assert found["auroc"] == pytest.approx(roc_auc_score(labels, probabilities), abs=1e-9)
    decided = probabilities >= record["threshold"]
    assert found["balanced_accuracy"] == pytest.approx(balanced_accuracy_score(labels, decided), abs=1e-9)
    assert found["log_loss"] == pytest.approx(log_loss(labels, probabilities), abs=1e-5)
    # A hair below, because a band may begin or end at a score.
    low, high = record["uncertain_low"] - 1e-6, record["uncertain_high"] - 1e-6
    uncertain = np.mean((probabilities >= low) & (probabilities < high))
    assert found["uncertain_share"] == pytest.approx(uncertain, abs=1e-9)


def test_kept_weights_are_the_best_epochs(trained: Path, train_data: Path) -> None:
    labels, probabilities = _predicted(trained, train_data)
    record, rows = _record(trained), _rows(trained / "history.csv")
    # Undo the calibration: the raw scores must give the best epoch's val_loss, class weights included. This
    # fails when validation is augmented, or other weights (not averaged, not the best) are kept.
    odds = np.log(probabilities / (1 - probabilities))
    raw = 1 / (1 + np.exp(-(odds - record["intercept"]) * record["temperature"]))
    weights = np.array([class_weights(labels.tolist())[label] for label in labels])
    loss = np.mean(-weights * np.log(np.where(labels, raw, 1 - raw)))
    last = [row for row in rows if row["phase"] == rows[-1]["phase"]]
    best = min(last, key=lambda row: float(row["val_loss"]))
    assert record["best_epoch"] == int(best["epoch"])
    # float32 log-odds of saturated scores.
    assert float(best["val_loss"]) == pytest.approx(loss, rel=1e-3)


def test_record(trained: Path, train_data: Path) -> None:
    record = _record(trained)
    table = read_splits(train_data / "data", train_data / "splits.csv")
    model = keras.saving.load_model(trained / "model.keras", compile=False)
    expected = {
        "schema_version": 1,
        "model": trained.name,
        "positive_class": "fractured",
        "parameters": model.count_params(),
        "recipe_name": str(train_data / f"{trained.name}.toml"),
        "seed": 3,
        "initial_weights": "start.keras" if trained.name == "edge" else "random",
        "epochs": len(_rows(trained / "history.csv")),
        "backend": "tensorflow",
    }
    assert {name: record[name] for name in expected} == expected
    assert record["data"] == {
        "root": str((train_data / "data").resolve()),
        "layout": "fracatlas",
        "fingerprint": fingerprint(table),
        "images": {
            "train": {"fractured": 8, "not_fractured": 16},
            "val": {"fractured": 4, "not_fractured": 8},
            "test": {"fractured": 2, "not_fractured": 2},
        },
    }
    assert record["recipe"] == json.loads(json.dumps(load_recipe(trained.name, record["recipe_name"]).to_dict()))
    assert record["versions"]["fracture-edge"] == __version__
    assert record["versions"]["keras"] == keras.__version__
    assert datetime.fromisoformat(record["created"]).tzinfo == UTC


def test_history(trained: Path) -> None:
    rows = _rows(trained / "history.csv")
    phases = {"edge": ["1", "1"], "custom_cnn": ["1", "2", "2"]}[trained.name]
    assert [row["phase"] for row in rows] == phases
    assert [row["epoch"] for row in rows] == [str(n + 1) for n in range(len(phases))]
    # Edge: three steps of warm-up reach the peak, three more the last 1 %.
    rates = {"edge": [5e-3, 5e-5], "custom_cnn": [1e-3] * 3}[trained.name]
    assert [float(row["learning_rate"]) for row in rows] == pytest.approx(rates, rel=1e-4)
    for name in ("accuracy", "auroc", "val_accuracy", "val_auroc"):
        assert all(0 <= float(row[name]) <= 1 for row in rows), name


@pytest.mark.slow
@pytest.mark.parametrize("mirrored", [True, False])
def test_a_probed_run_starts_from_the_training_images(
    mirrored: bool, train_data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[Any] = []

    def fit(model: keras.Model, views: Iterable[np.ndarray], labels: list[int], **how: bool) -> None:
        asked.append((model.name, list(views), labels, how))

    monkeypatch.setattr(once, "fit_head", fit)
    recipe = tmp_path / "probed.toml"
    recipe.write_text("probe = true\n" + (train_data / "custom_cnn.toml").read_text())
    changed = override(
        load_recipe("custom_cnn", str(recipe)),
        settings=[f"augmentation.flip_horizontal={mirrored}".lower()],
    )
    places = {"data": train_data / "data", "splits": train_data / "splits.csv", "out": tmp_path / "out"}
    run.train_model(changed, RunOptions(**places, recipe_name=str(recipe)))
    ((name, (pixels, *others), labels, how),) = asked
    table = read_splits(train_data / "data", train_data / "splits.csv").where("train")
    assert (name, list(labels)) == ("custom_cnn", list(table.labels))
    assert (how, len(others)) == ({"balanced": True}, 1 if mirrored else 0)
    np.testing.assert_array_equal(pixels[0], Preprocessing(32, 32).load(table.file(table.items[0])))


@pytest.mark.slow
def test_same_seed_same_history(cnn_folder: Path, train_data: Path, train_tiny: Train, tmp_path: Path) -> None:
    def history(folder: Path) -> list[list[float]]:
        rows = _rows(folder / "history.csv")
        return [[float(value) for name, value in row.items() if name != "seconds"] for row in rows]

    again = train_tiny(train_data, "custom_cnn", tmp_path, seed=3)
    # Threads may add float32 numbers in another order.
    np.testing.assert_allclose(history(again), history(cnn_folder), rtol=1e-4, atol=1e-5)


def test_the_seed_decides_weights_and_order(
    train_data: Path, train_tiny: Train, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    starts = []

    def stop(model: keras.Model, _: object, training: Any, *__: object, **___: object) -> None:
        starts.append((model.get_weights()[0].tobytes(), training.order.tobytes()))
        raise KeyboardInterrupt

    monkeypatch.setattr(loop, "fit", stop)
    for seed in (3, 3, 4):
        with pytest.raises(KeyboardInterrupt):
            train_tiny(train_data, "custom_cnn", tmp_path, seed=seed)
    assert starts[0] == starts[1]
    assert all(a != b for a, b in zip(starts[0], starts[2], strict=True))


@pytest.mark.slow
def test_classes_of_the_recipe_get_a_softmax(train_data: Path, tmp_path: Path) -> None:
    recipe = load_recipe("custom_cnn", str(train_data / "custom_cnn.toml"))
    places = {"data": train_data / "data", "splits": train_data / "splits.csv", "out": tmp_path}
    with pytest.raises(FractureEdgeError, match="classes: no training images in a folder named 'Spiral'"):
        run.train_model(replace(recipe, classes=("Fractured", "Spiral")), RunOptions(**places, seed=3))
    classes = ("Non_fractured", "Fractured")
    folder = run.train_model(replace(recipe, classes=classes), RunOptions(**places, seed=3))
    head = load_heads(folder / "attributes.npz")["classes"]
    assert (head.labels, head.exclusive) == (classes, True)
    assert _record(folder)["recipe"]["classes"] == list(classes)
