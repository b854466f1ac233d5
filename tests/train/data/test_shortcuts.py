from pathlib import Path

import numpy as np
import pytest

from fracture_edge.errors import Status
from train.data.dataset import ImageTable, Item
from train.data.scan import Scan
from train.data.shortcuts import metadata_shortcuts, trivial_shortcuts


def _scan(random: np.random.Generator, brightness: float) -> Scan:
    thumbnail = random.normal(0, 1, 1024).astype(np.float32)
    return Scan(
        Status.OK,
        width=64,
        height=64,
        mean=brightness,
        deviation=random.uniform(20, 60),
        thumbnail=thumbnail / np.linalg.norm(thumbnail),
    )


def _table(labels: list[int], groups: list[int], splits: list[str] | None = None) -> ImageTable:
    items = [Item(f"{k}.png", label, f"g{g}") for k, (label, g) in enumerate(zip(labels, groups, strict=True))]
    if splits:
        items = [Item(i.path, i.label, i.group, split) for i, split in zip(items, splits, strict=True)]
    return ImageTable(Path("root"), "class_folders", tuple(items))


def test_labels_made_from_brightness_are_found() -> None:
    random = np.random.default_rng(0)
    scans = [_scan(random, random.uniform(60, 180)) for _ in range(200)]
    labels = [int(scan.mean > 120) for scan in scans]
    found = trivial_shortcuts(_table(labels, list(range(200))), scans)
    # A forest on a clean cut errs only beside it.
    assert found["trivial_features"]["grouped_auroc"] > 0.99
    assert found["trivial_features"]["grouped_balanced_accuracy"] > 0.95
    # The pixels are noise. Standard error of an AUROC at 100 + 100: 0.04; three of them.
    assert found["nearest_neighbour"]["grouped_auroc"] == pytest.approx(0.5, abs=0.12)
    assert "own_split_accuracy" not in found["trivial_features"]


def test_random_labels_are_not_predicted() -> None:
    random = np.random.default_rng(1)
    scans = [_scan(random, random.uniform(60, 180)) for _ in range(200)]
    found = trivial_shortcuts(_table([0, 1] * 100, list(range(200))), scans)
    for name in ("trivial_features", "nearest_neighbour"):
        # Three standard errors, as above.
        assert found[name]["grouped_auroc"] == pytest.approx(0.5, abs=0.12), name


def test_copies_do_not_help_over_groups_but_do_on_a_leaking_split() -> None:
    random = np.random.default_rng(2)
    originals = [_scan(random, random.uniform(60, 180)) for _ in range(60)]
    labels = random.permutation([0, 1] * 30).tolist()
    table = _table(labels * 4, list(range(60)) * 4, ["train"] * 180 + ["test"] * 60)
    found = trivial_shortcuts(table, originals * 4)
    for name in ("trivial_features", "nearest_neighbour"):
        # Standard error at 30 + 30 independent X-rays: 0.075; three of them.
        assert found[name]["grouped_auroc"] == pytest.approx(0.5, abs=0.23), name
    # Every test image is in the training part three times.
    assert found["nearest_neighbour"]["own_split_accuracy"] == 1.0


def test_unreadable_images_and_small_sets() -> None:
    random = np.random.default_rng(3)
    scans = [_scan(random, 50.0 + 10 * k) for k in range(10)]
    table = _table([0, 1] * 5, list(range(10)))
    assert set(trivial_shortcuts(table, scans)) == {"trivial_features", "nearest_neighbour"}
    # Five groups of each class are the least: four remain when one image cannot be read.
    assert trivial_shortcuts(table, [Scan(Status.CORRUPT), *scans[1:]]) == {}
    assert trivial_shortcuts(_table([0, 1] * 5, [0, 1] * 5), scans) == {}


@pytest.mark.parametrize(
    ("with_flag", "without", "found"),
    [
        ((24, 25), (10, 100), True),
        ((0, 60), (60, 100), True),  # almost never fractured is a shortcut as well
        ((19, 19), (10, 100), False),  # too few to say
        ((24, 25), (19, 19), False),
        ((40, 100), (20, 100), False),  # twice as often: not yet
        ((5, 20), (8, 80), False),  # 2.5 times as often, but p = 0.12
    ],
)
def test_metadata_flags(with_flag: tuple[int, int], without: tuple[int, int], *, found: bool) -> None:
    items = []
    for value, (fractured, images) in (("1", with_flag), ("0", without)):
        for k in range(images):
            label = int(k < fractured)
            metadata = {"metal": value, "fracture_count": str(label), "fractured": str(label)}
            items.append(Item(f"{value}-{k}.png", label, metadata=metadata))
    rows = metadata_shortcuts(ImageTable(Path("root"), "fracatlas", tuple(items)))
    assert [row["flag"] for row in rows] == (["metal"] if found else [])
    for row in rows:
        assert (row["fractured"], row["images"]) == with_flag
        assert (row["fractured_without"], row["images_without"]) == without
