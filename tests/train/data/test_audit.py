import io
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image, ImageFile

from train.data.audit import audit, flat_bottom
from train.data.audit_text import summary
from train.data.dataset import read_table
from train.data.scan import scan_files


def _jpeg(pixels: np.ndarray, quality: int = 95) -> bytes:
    stream = io.BytesIO()
    Image.fromarray(pixels).save(stream, "JPEG", quality=quality)
    return stream.getvalue()


def _really_missing(whole: bytes, cut: bytes) -> float:
    """Compute the share of rows, from the bottom, with over half of their pixels wrong by a lenient decoder."""
    right = np.asarray(Image.open(io.BytesIO(whole)))
    ImageFile.LOAD_TRUNCATED_IMAGES = True
    try:
        got = np.asarray(Image.open(io.BytesIO(cut)))
    finally:
        ImageFile.LOAD_TRUNCATED_IMAGES = False
    wrong = (got != right).mean(axis=1) > 0.5
    return float(wrong.mean())


@pytest.mark.parametrize("share", [0.3, 0.6, 0.9])
def test_flat_bottom(make_picture: Callable[..., np.ndarray], share: float) -> None:
    # Far from 128, the grey that libjpeg fills with, so that no true pixel looks filled.
    whole = _jpeg(make_picture(4, 160, 96, low=170, high=230))
    cut = whole[: int(len(whole) * share)]
    expected = _really_missing(whole, cut)
    assert 0 < expected < 1
    assert flat_bottom(cut) == pytest.approx(expected, abs=1e-12)
    assert not ImageFile.LOAD_TRUNCATED_IMAGES


def test_flat_bottom_of_complete_and_of_undecodable_files(make_picture: Callable[..., np.ndarray]) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (64, 64), np.uint8)
    assert flat_bottom(_jpeg(noise)) == 0.0
    assert flat_bottom(_jpeg(make_picture(4))[:40]) == 1.0


# A FracAtlas of 25 runs of four numbers with a gap of 5 between runs; run r is fractured when r % 4 == 0.
TRUNCATED = {(13, 0): 0.5, (14, 1): 0.7, (15, 2): 0.9}
COPIES = {(5, 0): (2, 0), (9, 0): (6, 0), (10, 1): (6, 0), (1, 3): (0, 0)}


def _name(run: int, k: int) -> str:
    return f"IMG{8 * run + k + 1:07}.jpg"


def _path(run: int, k: int) -> str:
    return f"images/{'Fractured' if run % 4 == 0 else 'Non_fractured'}/{_name(run, k)}"


@pytest.fixture(scope="module")
def atlas(
    tmp_path_factory: pytest.TempPathFactory,
    make_fracatlas: Callable[..., Path],
    make_picture: Callable[..., np.ndarray],
    examine_dataset: Callable[..., tuple],
) -> dict[str, Any]:
    rows = []
    for run in range(25):
        for k in range(4):
            run_of_picture, k_of_picture = COPIES.get((run, k), (run, k))
            data = _jpeg(make_picture(4 * run_of_picture + k_of_picture))
            row: dict[str, Any] = {"name": _name(run, k), "label": int(run % 4 == 0), "hand": 1, "picture": data}
            if (run, k) in TRUNCATED:
                row["picture"] = data[: int(len(data) * TRUNCATED[run, k])]
            if (run, k) == (7, 0):
                row["picture"] = _jpeg(make_picture(4 * 3), quality=60)
            if (run, k) == (12, 3):
                row["label"] = 0
            if (run, k) == (4, 1):
                row["fractured"] = 0
            if run == 11 and k >= 2:
                row |= {"hand": 0, "leg": 1}
            # 27 are fractured; all but four of them, and one other, have metal.
            row["hardware"] = int((row["label"] and run < 24) or (run, k) == (1, 0))
            rows.append(row)
    root = make_fracatlas(tmp_path_factory.mktemp("atlas"), rows)
    table, scans, _ = examine_dataset(root)
    return audit(table, scans)


def test_atlas_counts_and_notes(atlas: dict[str, Any]) -> None:
    assert (atlas["layout"], atlas["images"], atlas["fractured"], atlas["not_fractured"]) == (
        "fracatlas",
        100,
        27,
        73,
    )
    assert atlas["notes"] == [
        f"{_name(4, 1)} is in Fractured but has fractured=0 (fracture_count=1) in dataset.csv; "
        "the folder's label is used"
    ]
    assert atlas["patient_id"] is False
    assert (atlas["leaks"], atlas["leaking"]) == (None, False)


def test_atlas_truncated_files(atlas: dict[str, Any], make_picture: Callable[..., np.ndarray]) -> None:
    bad = atlas["unreadable"]
    assert bad["files"] == [{"path": _path(*key), "status": "truncated", "label": 0} for key in TRUNCATED]
    assert (bad["by_status"], bad["fractured"], bad["not_fractured"]) == ({"truncated": 3}, 0, 3)
    missing = []
    for (run, k), share in TRUNCATED.items():
        whole = _jpeg(make_picture(4 * run + k))
        missing.append(_really_missing(whole, whole[: int(len(whole) * share)]))
    # The row of blocks where the data end may count or not: 8 of 64 rows.
    assert bad["lenient_flat_bottom"]["largest"] == pytest.approx(max(missing), abs=8 / 64)
    assert bad["lenient_flat_bottom"]["median"] == pytest.approx(sorted(missing)[1], abs=8 / 64)


def test_atlas_copies(atlas: dict[str, Any]) -> None:
    assert atlas["identical"]["groups"] == 3
    assert atlas["identical"]["files"] == 7
    assert sorted(atlas["identical"]["paths"]) == [
        [_path(0, 0), _path(1, 3)],
        [_path(2, 0), _path(5, 0)],
        [_path(6, 0), _path(9, 0), _path(10, 1)],
    ]
    assert atlas["near_identical_pairs"] == [[_path(3, 0), _path(7, 0)]]
    assert atlas["conflicting_labels"] == [{"fractured": [_path(0, 0)], "not_fractured": [_path(1, 3)]}]


def test_atlas_groups(atlas: dict[str, Any]) -> None:
    # 25 runs, run 11 in two body parts; copies join runs 0 1, 2 5, 3 7 and 6 9 10: 26 - 1 - 1 - 1 - 2.
    assert atlas["groups"] == {
        "count": 21,
        "largest": 12,
        "joined_by": ["identical", "near", "neighbours"],
        "derived_from": None,
    }


def test_atlas_neighbours(atlas: dict[str, Any]) -> None:
    # Six whole fractured runs, and run 12 with labels 1 1 1 0. The next run is never fractured.
    assert atlas["neighbours"] == {
        "share_fractured": 0.27,
        "share_fractured_after_fractured": {
            "1": 20 / 21,
            "2": 13 / 14,
            "3": 6 / 7,
            "5": 0.0,
            "10": 0.0,
        },
    }


def test_atlas_hardware(atlas: dict[str, Any]) -> None:
    (flag,) = atlas["shortcuts"]["metadata"]
    assert flag.pop("p") < 1e-12
    assert flag == {
        "flag": "hardware",
        "images": 24,
        "fractured": 23,
        "images_without": 76,
        "fractured_without": 4,
    }


def test_atlas_summary(atlas: dict[str, Any]) -> None:
    lines = summary(atlas).splitlines()
    flat = atlas["unreadable"]["lenient_flat_bottom"]
    for line in (
        "  100 images: 27 fractured (27.0%), 73 not fractured",
        "  3 truncated: 0 fractured, 3 not; `data split` leaves them out",
        "  all of one class: the damage itself would reveal the label",
        f"  a lenient decoder would fill the bottom with flat grey: median {flat['median']:.0%} of the height, "
        f"up to {flat['largest']:.0%}",
        "  3 groups of pixel-identical images (7 files)",
        "  1 near-identical pairs",
        "  1 images whose copies have different labels:",
        f"    fractured: {_path(0, 0)}; not: {_path(1, 3)}",
        "  21 groups, the largest of 12 images (joined by: identical, near, neighbours)",
        "  no patient id in the metadata",
        "  P(fractured) is 0.27; by file number, after a fractured image: 0.95 at +1, 0.93 at +2, 0.86 at +3, "
        "0.00 at +5, 0.00 at +10",
        "  neighbouring files are views of one patient: a random split of images would leak",
        "  no splits here; give --splits to check a split file",
        "  hardware: 23 of 24 images with it are fractured, 4 of 76 without",
    ):
        assert line in lines
    assert any(line.startswith("  note: IMG0000034.jpg is in Fractured") for line in lines)


@pytest.fixture(scope="module")
def notebook(
    tmp_path_factory: pytest.TempPathFactory,
    make_dataset: Callable[..., Path],
    make_picture: Callable[..., np.ndarray],
    examine_dataset: Callable[..., tuple],
) -> dict[str, Any]:
    """11 names, 10 X-rays: 'not fractured' 5 and 6 are one."""
    files = {}
    for name, count in (("fractured", 5), ("not fractured", 6)):
        for n in range(1, count + 1):
            original = make_picture(100 * count + min(n, 5))
            for k, mark in enumerate(("", "-rotated1", "-rotated2")):
                files[f"train/{name}/{n}{mark}.png"] = np.rot90(original, k)
            files[f"val/{name}/{n}-rotated1 - Copy.png"] = np.rot90(original)
            old = name == "fractured" and n < 5
            files[f"test/{name}/{n}-rotated4.png"] = np.rot90(original, 2) if old else original.T
    files = {path: np.ascontiguousarray(pixels) for path, pixels in files.items()}
    table, scans, _ = examine_dataset(make_dataset(tmp_path_factory.mktemp("notebook"), files))
    return audit(table, scans)


def test_notebook_sources(notebook: dict[str, Any]) -> None:
    assert (notebook["layout"], notebook["images"], notebook["fractured"]) == ("split_folders", 55, 25)
    assert notebook["groups"] == {
        "count": 10,
        "largest": 10,
        "joined_by": ["identical", "derived"],
        "derived_from": {
            "by_name": 11,
            "after_joining_copies": 10,
            "same_picture": [["test/not fractured/5-rotated4.png", "test/not fractured/6-rotated4.png"]],
        },
    }
    assert notebook["near_identical_pairs"] == []
    assert notebook["neighbours"] is None
    # Each X-ray's first rotation twice (9), four second rotations, and the four versions of 5 = 6.
    assert (notebook["identical"]["groups"], notebook["identical"]["files"]) == (17, 9 * 2 + 4 * 2 + 10)


def test_notebook_leaks(notebook: dict[str, Any]) -> None:
    assert notebook["leaking"] is True
    assert notebook["leaks"] == {
        "val": {
            "images": 11,
            "images_with_group_in_train": 11,
            "identical_to_train": {"fractured": 5, "not_fractured": 6},
            "fractured": 5,
        },
        "test": {
            "images": 11,
            "images_with_group_in_train": 11,
            "identical_to_train": {"fractured": 4, "not_fractured": 0},
            "fractured": 5,
        },
    }


def test_notebook_own_split_is_optimistic(notebook: dict[str, Any]) -> None:
    trivial = notebook["shortcuts"]["trivial_features"]
    # Turning keeps size and histogram, so each test image has the features of three training images. The
    # forest averages leaves of three or more: one of 11 may go wrong.
    assert trivial["own_split_accuracy"] >= 10 / 11
    # Between X-rays the features carry no information; ten groups allow no tighter bound.
    assert trivial["grouped_balanced_accuracy"] < 0.85


def test_notebook_summary(notebook: dict[str, Any]) -> None:
    lines = summary(notebook).splitlines()
    accuracy = notebook["shortcuts"]["trivial_features"]["own_split_accuracy"]
    for line in (
        "  all can be read",
        "  0 images whose copies have different labels",
        "  by their names, the 55 files are derived from 11 X-rays, 10 when copies are merged",
        "    one X-ray under several names: test/not fractured/5-rotated4.png, test/not fractured/6-rotated4.png",
        "  test: 11 of 11 images have their group in train",
        "    pixel-identical to a training image: 4 of 5 fractured, 0 of 6 not",
        "  LEAKING: related images are in two splits; metrics on them measure memorisation",
        f"    but accuracy {accuracy:.1%} on the folder's own test split",
    ):
        assert line in lines


def test_splits_without_leak(
    tmp_path: Path, make_dataset: Callable[..., Path], examine_dataset: Callable[..., tuple]
) -> None:
    folders = [f"{split}/{name}" for split in ("train", "val", "test") for name in ("fractured", "normal")]
    files = {f"{folder}/{n}.png": n for n, folder in enumerate(folders)}
    root = make_dataset(tmp_path, files)
    table, scans, _ = examine_dataset(root)
    report = audit(table, scans)
    assert report["leaking"] is False
    assert report["leaks"]["test"] == {
        "images": 2,
        "images_with_group_in_train": 0,
        "identical_to_train": {"fractured": 0, "not_fractured": 0},
        "fractured": 1,
    }
    assert "  no leak found" in summary(report).splitlines()


def test_leak_between_validation_and_test(
    tmp_path: Path, make_dataset: Callable[..., Path], examine_dataset: Callable[..., tuple]
) -> None:
    files = {"train/fractured/1.png": 1, "train/normal/2.png": 2, "val/normal/3.png": 3, "test/normal/4.png": 3}
    table, scans, _ = examine_dataset(make_dataset(tmp_path, files))
    # The threshold is chosen on validation: it must not be evaluated on the same images.
    assert audit(table, scans)["leaking"] is True


def test_kinds_that_are_not_supported_are_no_damage(
    tmp_path: Path, make_picture: Callable[..., np.ndarray]
) -> None:
    for number, label in enumerate(("fractured", "not_fractured")):
        (tmp_path / label).mkdir()
        for view in range(3):
            (tmp_path / label / f"{view}.jpg").write_bytes(_jpeg(make_picture(3 * number + view)))
    stream = io.BytesIO()
    Image.fromarray(make_picture(9)).save(stream, "TIFF", tiffinfo={262: 1})
    page = stream.getvalue()
    # Raw sensor data by its photometric interpretation.
    entry = page.index(b"\x06\x01\x03\0\x01\0\0\0") + 8
    (tmp_path / "fractured" / "sensor.tif").write_bytes(page[:entry] + b"\x23\x80" + page[entry + 2 :])
    (tmp_path / "fractured" / "broken.tif").write_bytes(page[:99])
    table = read_table(tmp_path)
    report = audit(table, scan_files([table.file(item) for item in table]))
    assert [entry["path"] for entry in report["unreadable"]["files"]] == ["fractured/broken.tif"]
    assert report["not_supported"] == {
        "files": [{"path": "fractured/sensor.tif", "status": "unsupported_format", "label": 1}],
        "by_detail": {"raw sensor data in TIFF is not supported": 1},
        "fractured": 1,
        "not_fractured": 0,
    }
    text = summary(report)
    assert "  1 of a kind that is not read here: 1 fractured, 0 not" in text
    assert "    1: raw sensor data in TIFF is not supported" in text
