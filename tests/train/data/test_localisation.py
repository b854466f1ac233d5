import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from fracture_edge.preprocess import Preprocessing
from train.data.dataset import DataError, ImageTable, read_table
from train.data.localisation import fracture_masks
from train.trainer.cell_loss import FULL_COVERAGE, POSITIVE_WEIGHT, CellLoss

COCO = "Annotations/COCO JSON/COCO_fracture_masks.json"


def _annotate(root: Path, boxes: list[tuple[str, tuple[float, ...]]], size: tuple[int, int] = (200, 100)) -> None:
    names = sorted({name for name, _ in boxes})
    content = {
        "images": [
            {"id": 7 + k, "file_name": n, "width": size[0], "height": size[1]} for k, n in enumerate(names)
        ],
        "annotations": [{"image_id": 7 + names.index(name), "bbox": list(box)} for name, box in boxes],
    }
    (root / COCO).parent.mkdir(parents=True, exist_ok=True)
    (root / COCO).write_text(json.dumps(content))


@pytest.fixture
def table(tmp_path: Path, make_fracatlas: Callable[..., Path]) -> ImageTable:
    rows = [{"name": f"IMG{n}.jpg", "label": int(n < 3), "picture": n} for n in (1, 2, 3)]
    return read_table(make_fracatlas(tmp_path, rows))


def test_no_annotation_file(table: ImageTable) -> None:
    assert fracture_masks(table, Preprocessing(64, 64)) is None


def _check(mask: np.ndarray, top: int, bottom: int, left: int, right: int) -> None:
    """Assert that the mask covers rows top to bottom and columns left to right, but for a border of one pixel."""
    inside = np.zeros(mask.shape, bool)
    inside[top:bottom, left:right] = True
    rim = np.zeros(mask.shape, bool)
    rim[top - 1 : bottom + 1, left - 1 : right + 1] = True
    assert (mask[inside] == 255).all()
    assert (mask[~rim] == 0).all()


def test_boxes_fall_where_the_letterboxed_image_falls(table: ImageTable) -> None:
    # IMG3, not fractured, has a box by mistake; IMG9 is not in the table.
    wide = (50, 20, 60, 40)
    _annotate(table.root, [("IMG1.jpg", wide), ("IMG3.jpg", wide), ("IMG9.jpg", wide)])
    masks = fracture_masks(table, Preprocessing(100, 100, filter="box"))
    assert (masks.shape, masks.dtype) == ((3, 100, 100, 1), np.uint8)
    # 200x100 shrinks to 100x50, 25 rows of black above: columns 50..110 and rows 20..60 halve.
    _check(masks[0, ..., 0], 25 + 10, 25 + 30, 25, 55)
    assert not masks[1].any()
    assert not masks[2].any()


def test_several_boxes_in_a_tall_image(table: ImageTable) -> None:
    _annotate(table.root, [("IMG2.jpg", (0, 0, 20, 20)), ("IMG2.jpg", (60, 160, 40, 40))], size=(100, 200))
    mask = fracture_masks(table, Preprocessing(50, 100, filter="box"))[1, ..., 0]
    # 200 rows become 50, so 100 columns become 25, with 37 black ones to the left.
    expected = np.zeros((50, 100), bool)
    expected[0:5, 37:42] = True
    expected[40:50, 37 + 15 : 37 + 25] = True
    assert (mask[expected] == 255).all()
    rim = np.zeros_like(expected)
    rim[0:6, 36:43] = True
    rim[39:50, 51:63] = True
    assert (mask[~rim] == 0).all()


def test_letterbox_bars_are_not_in_the_mask(table: ImageTable) -> None:
    _annotate(table.root, [("IMG1.jpg", (50, 20, 60, 40))])
    grey = fracture_masks(table, Preprocessing(100, 100, filter="box", pad=128))
    np.testing.assert_array_equal(grey, fracture_masks(table, Preprocessing(100, 100, filter="box")))


@pytest.mark.parametrize(
    "text",
    [
        "no json",
        "[]",
        "{}",
        '{"images": [], "annotations": [{"image_id": 1, "bbox": [0, 0, 1, 1]}]}',
        '{"images": [{"id": 1, "file_name": "IMG1.jpg"}], "annotations": []}',
        '{"images": [{"id": 1, "file_name": "IMG1.jpg", "width": 9, "height": 9}],'
        ' "annotations": [{"image_id": 1}]}',
        # Boxes of three numbers, and of none.
        '{"images": [{"id": 1, "file_name": "IMG1.jpg", "width": 99, "height": 99}],'
        ' "annotations": [{"image_id": 1, "bbox": [0, 0, 1]}]}',
        '{"images": [{"id": 1, "file_name": "IMG1.jpg", "width": 99, "height": 99}],'
        ' "annotations": [{"image_id": 1, "bbox": null}]}',
    ],
)
def test_malformed_annotations(table: ImageTable, text: str) -> None:
    _annotate(table.root, [("IMG1.jpg", (0, 0, 1, 1))])
    (table.root / COCO).write_text(text)
    with pytest.raises(DataError, match=r"COCO_fracture_masks\.json: not the COCO annotations expected"):
        fracture_masks(table, Preprocessing(64, 64))


def _arguments() -> tuple[Any, Any, Any]:
    random = np.random.default_rng(0)
    mask = np.zeros((2, 8, 12, 1), np.float32)
    mask[0, :2, :2] = 255  # 4 of the 16 pixels of cell (0, 0): covered in full
    mask[0, 4:5, 4:6] = 255  # 2 of 16 of cell (1, 1): half of what counts as full
    mask[1] = 255
    cells = random.normal(0, 2, (2, 2, 3, 1)).astype(np.float32)
    return random.uniform(0, 1, (2, 1)).astype(np.float32), cells, mask


def test_cell_loss_by_hand() -> None:
    probability, cells, mask = _arguments()
    layer = CellLoss(0.7)
    out = layer(probability, cells, mask, training=True)
    np.testing.assert_array_equal(np.asarray(out), probability)
    target = np.zeros((2, 2, 3))
    target[0, 0, 0], target[0, 1, 1], target[1] = 1.0, 0.5, 1.0
    assert (FULL_COVERAGE, POSITIVE_WEIGHT) == (0.25, 10.0)
    p = 1 / (1 + np.exp(-cells[..., 0].astype(np.float64)))
    expected = 0.7 * np.mean(-10.0 * target * np.log(p) - (1 - target) * np.log(1 - p))
    (loss,) = layer.losses
    # float32 mean of twelve terms.
    assert float(loss) == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize("arguments", [{"training": False}, {}])
def test_no_loss_outside_training(arguments: dict[str, bool]) -> None:
    probability, cells, mask = _arguments()
    layer = CellLoss(0.7)
    np.testing.assert_array_equal(np.asarray(layer(probability, cells, mask, **arguments)), probability)
    assert layer.losses == []


def test_output_shape() -> None:
    assert CellLoss(1.0).compute_output_shape((None, 1), (None, 2, 3, 1), (None, 8, 12, 1)) == (None, 1)
