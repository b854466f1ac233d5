"""Patches at full resolution: where they are cut, and what they show."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from fracture_edge.errors import FractureEdgeError
from train.data.dataset import ImageTable, Item
from train.data.patches import SIDE, cut_patches

#: Box of the fracture in an image of 300 x 400 pixels: left, top, width, height.
BOX = (200, 60, 40, 30)


def _table(root: Path, boxes: dict[str, tuple[int, ...]], *, shape: tuple[int, int] = (400, 300)) -> ImageTable:
    """Return noise; in fractured images the box is white. Boxes are given at twice the size of the files."""
    names = [f"{number}.png" for number in range(6)]
    for number, name in enumerate(names):
        grey = np.random.default_rng(number).integers(0, 200, shape, np.uint8)
        if number < 3:
            left, top, width, height = BOX
            grey[top : top + height, left : left + width] = 255
        Image.fromarray(grey).save(root / name)
    path = root / "Annotations/COCO JSON/COCO_fracture_masks.json"
    path.parent.mkdir(parents=True)
    images = [{"id": name, "file_name": name, "width": 2 * shape[1], "height": 2 * shape[0]} for name in names]
    marks = [{"image_id": name, "bbox": [2 * side for side in box]} for name, box in boxes.items()]
    path.write_text(json.dumps({"images": images, "annotations": marks}))
    items = tuple(Item(name, int(number < 3), group=name) for number, name in enumerate(names))
    return ImageTable(root, "fracatlas", items)


@pytest.fixture
def table(tmp_path: Path) -> ImageTable:
    return _table(tmp_path, dict.fromkeys(("0.png", "1.png", "2.png"), BOX))


def test_patches_around_fractures_hold_them_and_others_do_not(table: ImageTable) -> None:
    found = cut_patches(table, seed=0)
    assert found.pixels.shape == found.masks.shape == (len(found.labels), SIDE, SIDE, 1)
    # One around the fracture of each fractured image; beside it there is room, and two in each other image.
    assert sum(found.labels) == 3
    assert len(found.labels) == 3 + 3 + 6
    marked = (found.masks > 0).sum(axis=(1, 2, 3))
    assert (marked[np.array(found.labels) == 0] == 0).all()
    # At least half of the 1,200 marked pixels.
    assert (marked[np.array(found.labels) == 1] >= 600).all()
    # Full resolution, mask and image in one place: white where it is marked, and only there.
    np.testing.assert_array_equal(found.pixels == 255, found.masks == 255)


def test_the_seed_decides_the_places(table: ImageTable) -> None:
    one, same, other = (cut_patches(table, seed=seed).pixels for seed in (1, 1, 2))
    np.testing.assert_array_equal(one, same)
    assert not np.array_equal(one, other)


def test_fractured_images_without_a_box_are_left_out(tmp_path: Path) -> None:
    found = cut_patches(_table(tmp_path, {"1.png": BOX}), seed=0)
    assert (sum(found.labels), len(found.labels)) == (1, 2 + 6)


def test_large_images_are_scaled_down_and_small_ones_up(tmp_path: Path) -> None:
    large = cut_patches(_table(tmp_path, {"0.png": BOX}, shape=(1280, 640)), seed=0)
    # Half the size: a quarter of the box's 1,200 pixels, and its smoothed rim.
    assert 150 <= (large.masks > 0).sum() <= 350
    (tmp_path / "small").mkdir()
    small = cut_patches(_table(tmp_path / "small", {"0.png": (20, 20, 40, 40)}, shape=(100, 120)), seed=0)
    assert small.pixels.shape[1:] == (SIDE, SIDE, 1)


@pytest.mark.parametrize("boxes", [{}, {"5.png": BOX}])
def test_data_without_boxes_are_refused(tmp_path: Path, boxes: Any) -> None:
    with pytest.raises(FractureEdgeError, match=r"recipe\.patches: needs boxes around fractures"):
        cut_patches(_table(tmp_path, boxes), seed=0)
