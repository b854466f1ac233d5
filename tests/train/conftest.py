"""Small generated data sets for the tests of `train`."""

import csv
import json
import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import numpy as np
import pytest
from PIL import Image

from train.data.dataset import ImageTable, read_table
from train.data.grouping import Links, find_links
from train.data.scan import Scan, scan_files

Picture = Any  # a seed, or uint8 [H, W]


def _picture(seed: int, height: int = 64, width: int = 64, low: int = 20, high: int = 236) -> np.ndarray:
    """Generate a smooth image; those of two seeds are independent (64 grey levels)."""
    coarse = np.random.default_rng(seed).integers(low, high, (8, 8), np.uint8)
    return np.asarray(Image.fromarray(coarse).resize((width, height), Image.Resampling.BICUBIC))


def _save(path: Path, picture: Picture) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = _picture(picture) if isinstance(picture, int) else picture
    options = {"quality": 95} if path.suffix in (".jpg", ".jpeg") else {}
    Image.fromarray(pixels).save(path, **options)


@pytest.fixture(scope="session")
def make_picture() -> Callable[..., np.ndarray]:
    """`make_picture(seed, height=64, width=64, low=20, high=236)`: generate an image, uint8 [height, width]."""
    return _picture


@pytest.fixture(scope="session")
def make_dataset() -> Callable[[Path, Mapping[str, Picture]], Path]:
    """`make_dataset(root, {relative path: seed or pixels})` writes the images and returns the root."""

    def make(root: Path, files: Mapping[str, Picture]) -> Path:
        for name, picture in files.items():
            _save(root / name, picture)
        return root

    return make


FLAGS = ("hand", "leg", "hip", "shoulder", "hardware")


@pytest.fixture(scope="session")
def make_fracatlas() -> Callable[..., Path]:
    """`make_fracatlas(root, rows)`: images and dataset.csv in the published layout.

    A row has ``name``, ``label``, ``picture`` (seed, pixels, or the bytes of the file; no file when
    ``None``) and any column of dataset.csv; ``csv=False`` leaves it out of the file.
    """

    def make(root: Path, rows: list[dict[str, Any]]) -> Path:
        for folder in ("Fractured", "Non_fractured"):
            (root / "images" / folder).mkdir(parents=True, exist_ok=True)
        with (root / "dataset.csv").open("w", newline="", encoding="utf-8") as stream:
            writer = csv.DictWriter(
                stream, ("image_id", *FLAGS, "fractured", "fracture_count"), restval="0", extrasaction="ignore"
            )
            writer.writeheader()
            for row in rows:
                path = root / "images" / ("Fractured" if row["label"] else "Non_fractured") / row["name"]
                if isinstance(row["picture"], bytes):
                    path.write_bytes(row["picture"])
                elif row["picture"] is not None:
                    _save(path, row["picture"])
                if row.get("csv", True):
                    known = {"image_id": row["name"], "fractured": row["label"], "fracture_count": row["label"]}
                    writer.writerow(known | row)
        return root

    return make


@pytest.fixture(scope="session")
def examine_dataset() -> Callable[[Path], tuple[ImageTable, list[Scan], Links]]:
    """`examine_dataset(root)`: the table, a scan of each file, and the links."""

    def examine(root: Path) -> tuple[ImageTable, list[Scan], Links]:
        table = read_table(root)
        scans = scan_files([table.file(item) for item in table])
        return table, scans, find_links(table, scans)

    return examine


@pytest.fixture(scope="session")
def liven() -> Callable[[Any, np.ndarray], Any]:
    """`liven(model, images)`: set the batch norm statistics to those of `images`.

    With fresh ones the signal of a narrow network dies out before its head, and every image scores alike.
    """
    import keras

    def liven(model: Any, images: np.ndarray) -> Any:
        norms = [layer for layer in model.layers if isinstance(layer, keras.layers.BatchNormalization)]
        for layer in norms:
            layer.momentum = 0.0
        model(images, training=True)
        for layer in norms:
            layer.momentum = 0.99
        return model

    return liven


EDGE = """
architecture = "edge"
batch_size = 8
optimizer = "adamw"
weight_decay = 0.01
ema_momentum = 0.5
localisation = 0.5
monitor = "val_loss"
options = { filters = 0.25, depth = 0.5 }
preprocessing = { height = 64, width = 64 }
phases = [{ epochs = 2, learning_rate = 5e-3, schedule = "cosine", warmup_epochs = 1 }]
augmentation = { rotation = 5, flip_horizontal = true, contrast = 0.1 }
"""
CNN = """
architecture = "custom_cnn"
batch_size = 8
monitor = "val_loss"
options = { filters = [4, 6, 8], units = 10 }
preprocessing = { height = 32, width = 32 }
phases = [{ epochs = 1, learning_rate = 1e-3, trainable = "head" }, { epochs = 2, learning_rate = 1e-3 }]
augmentation = { rotation = 5 }
"""


@pytest.fixture(scope="module")
def train_data(
    tmp_path_factory: pytest.TempPathFactory,
    make_fracatlas: Callable[..., Path],
    make_picture: Callable[..., np.ndarray],
) -> Path:
    """data/ (FracAtlas: 24 training, 12 validation, 4 test images), splits.csv, edge.toml, custom_cnn.toml."""
    root = tmp_path_factory.mktemp("run")
    rows, lines, boxes = [], ["path,label,split,group"], []
    for n in range(40):
        label = int(n % 3 == 0)
        split = "train" if n < 24 else "val" if n < 36 else "test"
        # Test images are not valid images: training must not read them.
        picture = make_picture(n, low=20 + 60 * label, high=130 + 60 * label) if split != "test" else b"none"
        part = FLAGS[n % 4]
        rows.append({"name": f"IMG{n:07}.jpg", "label": label, "picture": picture, part: 1})
        folder = "Fractured" if label else "Non_fractured"
        lines.append(f"images/{folder}/IMG{n:07}.jpg,{label},{split},g{n}")
        if label:
            boxes.append({"image_id": n, "bbox": [16, 16, 20, 30]})
    make_fracatlas(root / "data", rows)
    (root / "splits.csv").write_text("\n".join(lines))
    coco = {"images": [{"id": n, "file_name": f"IMG{n:07}.jpg", "width": 64, "height": 64} for n in range(40)]}
    path = root / "data/Annotations/COCO JSON/COCO_fracture_masks.json"
    path.parent.mkdir(parents=True)
    path.write_text(json.dumps(coco | {"annotations": boxes}))
    for name, text in (("edge", EDGE), ("custom_cnn", CNN)):
        (root / f"{name}.toml").write_text(text)
    return root


@pytest.fixture(scope="session")
def train_tiny() -> Callable[..., Path]:
    """`train_tiny(train_data, model, out, **options)`: `train_model` with the recipe in that folder."""
    from train.recipes.recipe import load_recipe
    from train.runs.options import RunOptions
    from train.runs.train_model import train_model

    def train(root: Path, model: str, out: Path, **options: Any) -> Path:
        recipe = str(root / f"{model}.toml")
        places = {"data": root / "data", "splits": root / "splits.csv", "out": out, "recipe_name": recipe}
        return train_model(load_recipe(model, recipe), RunOptions(**(places | options)))

    return train
