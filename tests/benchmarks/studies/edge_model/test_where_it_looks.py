"""Where it looks: figures of made-up answers, what a simple network is asked, and the command."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
from PIL import Image

from benchmarks.studies.edge_model import where_it_looks
from benchmarks.studies.edge_model.looking import score
from benchmarks.studies.edge_model.looking_result import (
    Scores,
    Way,
    WhereItLooks,
    change,
    figures,
    pointing,
    table_of,
)
from benchmarks.studies.robustness.degradations import DEGRADED
from fracture_edge.errors import EXIT_FAILED
from fracture_edge.preprocess import Preprocessing
from train.data.dataset import ImageTable, Item
from train.data.localisation import Marks
from train.evaluation.metrics import Estimate
from train.trainer.train_once import train_once

LABELS, GROUPS = [1, 1, 1, 1, 0, 0, 0, 0], [f"g{k}" for k in range(8)]
RIGHT = (0.9, 0.8, 0.7, 0.6, 0.4, 0.3, 0.2, 0.1)
WRONG = tuple(reversed(RIGHT))
FIRST = Scores(RIGHT, RIGHT, RIGHT, (True, True, False, None, None, None, None, None))
OTHER = Scores(RIGHT, WRONG, RIGHT, (True, True, True, None, None, None, None, None))


def test_figures_of_scores() -> None:
    assert [found.value for found in figures(LABELS, GROUPS, OTHER)] == [1, 0, 1]
    assert pointing(FIRST).value == pytest.approx(2 / 3)
    assert pointing(OTHER).value == 1


def test_changes_are_paired() -> None:
    found = change(LABELS, GROUPS, FIRST, OTHER)
    assert found.auroc == Estimate(0, 0, 0)
    # From 1 to 0 in every resample.
    assert found.covered == Estimate(-1, -1, -1)
    assert found.pointing.value == pytest.approx(1 / 3)
    # A resample may lack the image that the other way finds, or have no other one.
    assert (found.pointing.low, found.pointing.high) == (0, 1)


def test_a_pointing_game_without_marks_is_undefined() -> None:
    unmarked = Scores(RIGHT, RIGHT, RIGHT, (None,) * 8)
    assert not pointing(unmarked).defined
    assert not change(LABELS, GROUPS, unmarked, unmarked).pointing.defined


def test_scores_of_folds_are_joined_in_order() -> None:
    assert Scores.joined([FIRST, OTHER]).covered == RIGHT + WRONG


def _estimate(value: float) -> Estimate:
    return Estimate(value, value - 0.1, value + 0.1)


def test_the_table_has_changes_below_the_figures() -> None:
    way = Way(
        name="plain",
        settings=(),
        epochs=(3, 2),
        seconds=(60.0, 60.0),
        auroc=_estimate(0.8),
        covered=_estimate(0.7),
        scanner=_estimate(0.6),
        pointing=_estimate(0.5),
    )
    other = {name: getattr(way, name) for name in Way.__slots__} | {
        "name": "local",
        "change": change(LABELS, GROUPS, FIRST, OTHER),
    }
    about = {"recipe": "probed", "initial_weights": "w.npz", "input": "32x32", "seed": 0, "device": "CPU"}
    about |= {"precision": "float32", "data_fingerprint": "f", "folds": 5, "rounds": 2}
    lines = table_of(
        WhereItLooks(**about, images=8, fractured=4, marked=3, ways=(way, Way(**other)))  # type: ignore[arg-type]
    ).splitlines()
    assert lines[2].startswith("| plain | 2-3 | 2 | 0.800 [0.700, 0.900] | 0.700 [0.600, 0.800] |")
    assert lines[4].startswith("| minus plain | | | 0.000 [0.000, 0.000] | -1.000 [-1.000, -1.000] |")
    assert "2 of 5 folds: 8 images, 4 fractured, 3 of them marked" in lines[-1]


def _brightest() -> keras.Model:
    """Return a network whose cells are the mean grey levels of 8 x 8 pixels, and that answers by the largest."""
    image = keras.Input((64, 64, 1), dtype="uint8", name="image")
    cells = keras.layers.AveragePooling2D(8, name="cells")(keras.layers.Rescaling(1 / 255)(image))
    answer = keras.layers.Dense(1, activation="sigmoid", kernel_initializer="ones", name="probability")
    return keras.Model(image, answer(keras.layers.GlobalMaxPooling2D()(cells)))


def test_a_network_that_sees_the_fracture_alone_is_lost_without_it(tmp_path: Path) -> None:
    items, marks = [], {}
    for number in range(8):
        fractured = number < 4
        # A ramp: a box that is covered somewhere changes the mean of some cells, but hardly the brightest one.
        grey = np.tile(np.arange(64, dtype=np.uint8) // 4 + 40 + number, (64, 1))
        if fractured:
            # Where the last one is marked there is nothing.
            grey[16:24, 32:40] = 250
            spot = (30.0, 14.0, 12.0, 12.0) if number < 3 else (0.0, 48.0, 8.0, 8.0)
            marks[f"{number}.png"] = Marks(64, 64, (spot,))
        Image.fromarray(grey).save(tmp_path / f"{number}.png")
        items.append(Item(f"{number}.png", int(fractured), group=f"g{number}"))
    table = ImageTable(tmp_path, "fracatlas", tuple(items))
    preprocessing = Preprocessing(64, 64, "stretch", "bilinear")
    found = score(_brightest(), table, marks, preprocessing, seed=0)
    assert found.hits == (True, True, True, False, None, None, None, None)
    assert min(found.plain[:4]) > max(found.plain[4:])
    # Without the spot an image is as dark as its background; the spot beside the last one's box is left.
    assert max(found.covered[:3]) < min(found.covered[4:])
    assert found.covered[3] == found.plain[3]
    # Boxes of fractured images are covered in the others too: one with the brightest cells of the ramp loses some.
    assert all(covered <= plain + 1e-6 for covered, plain in zip(found.covered[4:], found.plain[4:], strict=True))
    pictures = [np.asarray(Image.open(table.file(item))) for item in table]
    scanned = np.stack([preprocessing(DEGRADED["as from another scanner"](grey)) for grey in pictures])
    assert found.scanner == pytest.approx(_brightest().predict_on_batch(scanned)[:, 0])


@pytest.mark.slow
def test_the_command_trains_compares_and_goes_on(
    tmp_path: Path,
    write_marked_bones: Callable[[Path], Path],
    study: Callable[..., tuple[int, str, str]],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    seen: list[tuple[set[str], set[str], set[str]]] = []

    def watched_train(
        recipe: Any, store: Any, train_part: ImageTable, val_part: ImageTable, **options: Any
    ) -> Any:
        seen.append(({item.group for item in train_part}, {item.group for item in val_part}, set()))
        return train_once(recipe, store, train_part, val_part, **options)

    def watched_score(model: Any, part: ImageTable, *arguments: Any, **options: Any) -> Any:
        seen[-1][2].update(item.group for item in part)
        return score(model, part, *arguments, **options)

    monkeypatch.setattr(where_it_looks, "train_once", watched_train)
    monkeypatch.setattr(where_it_looks, "score", watched_score)
    data = write_marked_bones(tmp_path)
    output = tmp_path / "looks.json"
    common = [
        "--data",
        data,
        "--splits",
        tmp_path / "splits.csv",
        "--recipe",
        tmp_path / "edge.toml",
        "--rounds",
        2,
    ]
    common += ["--weights", "none", "--folder", tmp_path / "runs", "-o", output]

    def run(*arguments: object) -> tuple[int, str, str]:
        return study("where-it-looks", *arguments, *common)

    code, _, error = run("scanner", "--set", "augmentation.scanner=0.5")
    assert code == EXIT_FAILED
    assert "has no way 'plain' to compare with" in error
    # Refused before any training.
    assert not (tmp_path / "runs").exists()
    code, out, error = run("plain")
    assert code == 0, error
    code, out, error = run("scanner", "--set", "augmentation.scanner=0.5")
    assert code == 0, error
    assert "| scanner (`augmentation.scanner=0.5`) | 1 |" in out
    assert len(seen) == 4
    for training, validation, tested in seen:
        assert training
        assert validation
        assert tested
        assert not training & validation
        assert not tested & (training | validation)
    found = json.loads(output.read_text())
    # Two of five folds of 40 images.
    assert (found["images"], found["fractured"], found["marked"]) == (16, 8, 8)
    assert [way["name"] for way in found["ways"]] == ["plain", "scanner"]
    assert found["ways"][1]["settings"] == ["augmentation.scanner=0.5"]
    assert found["ways"][0]["change"] is None
    change_of_auroc = found["ways"][1]["auroc"]["value"] - found["ways"][0]["auroc"]["value"]
    assert found["ways"][1]["change"]["auroc"]["value"] == pytest.approx(change_of_auroc)
    assert str(tmp_path) not in output.read_text()
    # Finished rounds are kept: nothing is trained.
    before = (tmp_path / "runs/plain/fold-1.json").stat().st_mtime_ns
    assert run("scanner", "--set", "augmentation.scanner=0.5")[1] == out
    assert (tmp_path / "runs/plain/fold-1.json").stat().st_mtime_ns == before
    assert len(seen) == 4
    code, _, error = run("other", "--set", "preprocessing.width=64")
    assert code == EXIT_FAILED
    assert "was trained with another preprocessing" in error
    code, _, error = run("plain", "--set", "label_smoothing=0.1")
    assert code == EXIT_FAILED
    assert "was trained with other settings" in error
