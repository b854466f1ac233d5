"""Robustness and shortcut tests, with a model that predicts by the brightest pixel of an image."""

import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from benchmarks.studies.robustness import stress
from benchmarks.studies.robustness.degradations import COVERED, DEGRADED, sample_marks, without_boxes
from benchmarks.studies.robustness.pointing import hit, hits_at_centre, peak
from benchmarks.studies.robustness.stress_result import Stress, side_by_side, tables_of, worst
from fracture_edge.preprocess import Preprocessing
from train.data.dataset import ImageTable, Item
from train.data.localisation import Marks
from train.evaluation.metrics import Estimate
from train.json_records import from_plain, to_plain

Grey = npt.NDArray[np.uint8]
INPUT = Preprocessing(64, 48, orientation="portrait")


class Brightest:
    """Model whose P(fractured) is the brightest pixel over 255, and whose heat map is the input."""

    info = SimpleNamespace(name="brightest", policy=SimpleNamespace(threshold=0.5), preprocessing=INPUT)
    sha256 = "0123abc"

    def predict_many(self, images: Sequence[Grey]) -> Iterator[Any]:
        """Predict like `FractureClassifier.predict_many`."""
        for image in images:
            heatmap = (INPUT(image)[..., 0] / 255).astype(np.float32)
            yield SimpleNamespace(probability=image.max() / 255, heatmap=heatmap, reason="")


def _image(spot: tuple[int, int] | None, level: int, *, shape: tuple[int, int] = (80, 60)) -> Grey:
    grey = np.full(shape, 20, np.uint8)
    if spot:
        grey[spot[0] - 2 : spot[0] + 3, spot[1] - 2 : spot[1] + 3] = level
    return grey


@pytest.fixture
def tested(tmp_path: Path) -> stress.TestedModel:
    """Return six fractured images with a spot in their box, one near the border, and six with a dimmer spot."""
    spots = [(40, 30)] * 5 + [(6, 30)]
    images = [_image(spot, 240) for spot in spots] + [_image((40, 30), 60 + k) for k in range(6)]
    names = [f"IMG{k}.jpg" for k in range(12)]
    items = tuple(
        Item(f"images/x/{name}", int(k < 6), group=f"g{k}", metadata={"hardware": str(int(k in (0, 1)))})
        for k, name in enumerate(names)
    )
    content = {
        # The published size is twice that of the files.
        "images": [{"id": k, "file_name": name, "width": 120, "height": 160} for k, name in enumerate(names)],
        "annotations": [
            {"image_id": k, "bbox": [2 * column - 8, 2 * row - 8, 18, 18]} for k, (row, column) in enumerate(spots)
        ],
    }
    coco = tmp_path / "Annotations/COCO JSON/COCO_fracture_masks.json"
    coco.parent.mkdir(parents=True)
    coco.write_text(json.dumps(content))
    table = ImageTable(tmp_path, "fracatlas", items)
    return stress.TestedModel(Brightest(), table, tuple(images), "val", "f")  # type: ignore[arg-type]


def test_every_result_of_a_simple_model(tested: stress.TestedModel) -> None:
    found = stress.stress(tested)
    assert found.figures["auroc"].value == 1
    assert found.figures["recall"].value == 1
    # Noise larger than the difference of dim spots does not reach the bright ones.
    assert {name: row.auroc.value for name, row in found.degraded.items() if "inverted" not in name} == {
        name: 1 for name in DEGRADED if "inverted" not in name
    }
    # When inverted, all images are as bright as their background: 235.
    assert found.degraded["grey scale inverted"].auroc.value == 0.5
    assert found.degraded["grey scale inverted"].change == Estimate(-0.5, -0.5, -0.5)
    shortcuts = found.shortcuts
    # 8 % of 60 pixels are 5: the spot in rows 4 to 8 is cut but not removed.
    assert shortcuts["border of 8% blackened"].auroc.value == 1
    assert shortcuts[stress.WITHOUT_METAL].images == 10
    assert set(to_plain(shortcuts[stress.WITHOUT_METAL])) == {"auroc", "images"}
    # Without its spot a fractured image is all background, darker than any other; in the other images the covered
    # box may remove the dimmer spot or not.
    left = shortcuts[stress.BOXES_COVERED].auroc.value
    assert left < 0.5
    assert found.pointing is not None
    assert found.pointing.images == 6
    assert found.pointing.within_box.model.value == 1
    assert found.pointing.within_box.centre.value == pytest.approx(5 / 6)


def test_a_model_without_heat_map_has_no_pointing_game(tested: stress.TestedModel) -> None:
    class Blind(Brightest):
        def predict_many(self, images: Sequence[Grey]) -> Iterator[Any]:
            for prediction in super().predict_many(images):
                yield SimpleNamespace(probability=prediction.probability, heatmap=None, reason="")

    found = stress.stress(replace(tested, classifier=Blind()))  # type: ignore[arg-type]
    assert found.pointing is None
    assert to_plain(found)["pointing"] is None
    assert "Pointing game" not in tables_of(found)


def test_worst_and_tables(tested: stress.TestedModel) -> None:
    found = stress.stress(tested)
    name, estimate = worst(found)
    assert (name, estimate.value) == ("grey scale inverted", 0.5)
    text = tables_of(found)
    assert "| unchanged | 1.000 [1.000, 1.000] | |" in text
    assert "| grey scale inverted | 0.500 [0.500, 0.500] | -0.500 [-0.500, -0.500] |" in text
    assert "within the box itself for 1.000" in text
    both = side_by_side({"a": found, "b": found}).splitlines()
    assert both[0] == "| images | a | b |"
    assert "| unchanged | 1.000 [1.000, 1.000] | 1.000 [1.000, 1.000] |" in both
    assert "| grey scale inverted | 0.500 [0.500, 0.500] | 0.500 [0.500, 0.500] |" in both
    assert both[-1].startswith("| (pointing game: share) | 1.000 [")


@pytest.mark.parametrize("name", [*DEGRADED, *COVERED])
def test_modifications_return_uint8_and_do_not_change_their_input(name: str) -> None:
    grey = np.random.default_rng(0).integers(0, 256, (50, 40), np.uint8)
    before = grey.copy()
    changed = (DEGRADED | COVERED)[name](grey)
    np.testing.assert_array_equal(grey, before)
    assert changed.dtype == np.uint8
    assert changed.shape == {"half the resolution": (25, 20)}.get(
        name, (40, 50) if "90" in name or "270" in name else (50, 40)
    )
    np.testing.assert_array_equal((DEGRADED | COVERED)[name](grey), changed)


def test_modifications_match_their_names() -> None:
    grey = np.array([[0, 100], [200, 255]], np.uint8)
    for name, expected in {
        "brighter by 40 grey levels": [[40, 140], [240, 255]],
        "darker by 40 grey levels": [[0, 60], [160, 215]],
        # 127.5 + 1.5 (100 - 127.5) = 86.25
        "contrast times 1.5": [[0, 86], [236, 255]],
        "contrast divided by 1.5": [[42, 109], [175, 212]],
        "turned by 90 degrees": [[100, 255], [0, 200]],
        "turned by 180 degrees": [[255, 200], [100, 0]],
        "turned by 270 degrees": [[200, 0], [255, 100]],
        "grey scale inverted": [[255, 155], [55, 0]],
    }.items():
        np.testing.assert_array_equal(DEGRADED[name](grey), expected, err_msg=name)
    flat = np.full((100, 100), 128, np.uint8)
    noise = DEGRADED["noise of 10 grey levels"](flat).astype(float) - 128
    # 10,000 pixels: five deviations of mean and deviation.
    assert noise.mean() == pytest.approx(0, abs=0.5)
    assert noise.std() == pytest.approx(10, abs=0.4)


def test_border_and_corners_are_black_and_the_rest_is_there() -> None:
    white = np.full((200, 100), 255, np.uint8)
    inner = COVERED["border of 8% blackened"](white)
    assert inner[8:-8, 8:-8].min() == 255
    assert inner.sum() == 255 * 184 * 84
    left = COVERED["corners of 20% blackened"](white)
    assert left.sum() == 255 * (200 * 100 - 4 * 20 * 20)
    assert left[:20, 20:-20].min() == 255


def test_boxes_are_covered_with_their_rim() -> None:
    grey = np.zeros((20, 30), np.uint8)
    grey[5:10, 10:20] = 80
    grey[6:9, 11:19] = 250
    # The boxes are for an image of twice the size.
    found = without_boxes(grey, Marks(60, 40, ((20, 10, 20, 10),)))
    expected = np.zeros_like(grey)
    expected[5:10, 10:20] = 80
    np.testing.assert_array_equal(found, expected)
    assert grey.max() == 250


def test_boxes_at_the_edge_cover_at_least_a_pixel() -> None:
    grey = np.arange(12, dtype=np.uint8).reshape(3, 4)
    found = without_boxes(grey, Marks(400, 300, ((399, 299, 1, 1), (-5, -5, 3, 3))))
    assert found.shape == (3, 4)
    assert found[2, 3] == 11
    assert found[0, 0] == 0


def test_marks_are_sampled_by_the_seed() -> None:
    marks = [Marks(10 * k, 10, ((0, 0, 1, 1),)) for k in range(1, 6)]
    first = sample_marks(marks, 50, seed=1)
    assert first == sample_marks(marks, 50, seed=1) != sample_marks(marks, 50, seed=2)
    assert set(first) == set(marks)


def test_the_peak_is_in_image_coordinates() -> None:
    heatmap = np.zeros((4, 4), np.float32)
    heatmap[1, 2] = 1
    # Letterboxed: 64 columns wide, 32 rows in the middle, so that row 1 of 4 is the upper half of the image.
    column, row = peak(heatmap, Preprocessing(64, 64), (200, 100))
    assert column == pytest.approx(0.625, abs=0.03)
    assert row == pytest.approx(0.25, abs=0.03)
    # Upright: the same image fills the frame after a quarter turn anticlockwise, of which this is the inverse.
    column, row = peak(heatmap, Preprocessing(64, 32, orientation="portrait"), (200, 100))
    assert column == pytest.approx(1 - 0.375, abs=0.03)
    assert row == pytest.approx(0.625, abs=0.03)


def test_hits() -> None:
    marks = Marks(200, 100, ((20, 10, 40, 20), (100, 60, 20, 20)))
    assert hit((0.2, 0.2), marks, margin=0)
    assert hit((0.1, 0.1), marks, margin=0)
    assert not hit((0.31, 0.2), marks, margin=0)
    assert hit((0.31, 0.2), marks)
    assert not hit((0.36, 0.2), marks)
    assert hit((0.55, 0.7), marks, margin=0)
    # The centre is half a margin from the second box, and in no box of the first image.
    assert hits_at_centre([marks, Marks(10, 10, ((0, 0, 2, 2),))]) == [False, False]
    assert hits_at_centre([Marks(200, 100, ((90, 54, 20, 20),))]) == [True]


def test_command(
    write_bones: Callable[..., Path],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    study: Callable[..., tuple[int, str, str]],
) -> None:
    monkeypatch.setattr(stress, "RESAMPLES", 50)
    root = write_bones(tmp_path / "bones", 3, splits=("train", "val"))
    splits = tmp_path / "splits.csv"
    rows = [
        f"{path.relative_to(root).as_posix()},{int(path.parent.name == 'fractured')},{path.parts[-3]},{path.stem}"
        for path in sorted(root.rglob("bone*.*"))
    ]
    splits.write_text("path,label,split,group\n" + "\n".join(rows) + "\n")
    output = tmp_path / "stress.json"
    code, out, _ = study("stress", "--data", root, "--splits", splits, "-o", output)
    assert code == 0
    found = json.loads(output.read_text())
    assert found["split"] == "val"
    assert set(found["degraded"]) == set(DEGRADED)
    # Neither boxes nor metal are known here.
    assert set(found["shortcuts"]) == set(COVERED)
    assert str(tmp_path) not in output.read_text()
    assert out == tables_of(from_plain(Stress, found, ""))
