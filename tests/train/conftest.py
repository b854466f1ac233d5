"""Small data sets for the tests of `train`, drawn by seed."""

import csv
import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import numpy as np
import pytest
from PIL import Image

from train.dataset import ImageTable, read_table
from train.grouping import Links, find_links
from train.scan import Scan, scan_files

Picture = Any  # a seed, or uint8 [H, W]


def _picture(seed: int, height: int = 64, width: int = 64, low: int = 20, high: int = 236) -> np.ndarray:
    """A smooth picture; two seeds share nothing (64 independent grey levels)."""
    coarse = np.random.default_rng(seed).integers(low, high, (8, 8), np.uint8)
    return np.asarray(Image.fromarray(coarse).resize((width, height), Image.Resampling.BICUBIC))


def _save(path: Path, picture: Picture) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = _picture(picture) if isinstance(picture, int) else picture
    options = {"quality": 95} if path.suffix in (".jpg", ".jpeg") else {}
    Image.fromarray(pixels).save(path, **options)


@pytest.fixture(scope="session")
def make_picture() -> Callable[..., np.ndarray]:
    """`make_picture(seed, height=64, width=64, low=20, high=236)`: uint8 [height, width]."""
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
