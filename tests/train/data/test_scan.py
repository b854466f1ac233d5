from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from fracture_edge.errors import Status
from train.data.scan import Scan, scan_file, scan_files


def test_scan_by_hand(tmp_path: Path) -> None:
    grey = np.zeros((40, 50), np.uint8)
    grey[:10] = 247
    grey[10:20] = 8
    grey[20:30] = 9
    path = tmp_path / "a.png"
    Image.fromarray(grey).save(path)
    scan = scan_file(path)
    assert (scan.status, scan.ok, scan.detail) == (Status.OK, True, "")
    assert (scan.width, scan.height, scan.file_bytes) == (50, 40, path.stat().st_size)
    # A quarter each of 247, 8, 9 and 0; black is 8 or less, white 247 or more.
    assert (scan.black, scan.white) == (0.5, 0.25)
    assert scan.mean == pytest.approx(66.0, abs=1e-9)
    assert scan.deviation == pytest.approx(float(grey.std()), abs=1e-9)
    assert scan.trivial_features == (50, 40, scan.mean, scan.deviation, 0.5, 0.25)


def test_thumbnail_is_a_unit_vector(tmp_path: Path, make_picture: Callable[..., np.ndarray]) -> None:
    picture = make_picture(1, 64, 96)
    Image.fromarray(picture).save(tmp_path / "a.png")
    thumbnail = scan_file(tmp_path / "a.png").thumbnail
    # 64x96 shrinks to 32x32 by means over 2x3 pixels.
    small = picture.reshape(32, 2, 32, 3).mean(axis=(1, 3)).ravel()
    small -= small.mean()
    # Pillow rounds the means to whole grey levels.
    assert thumbnail == pytest.approx(small / np.linalg.norm(small), abs=2e-3)
    # float32 sums of 1024 numbers.
    assert float(thumbnail @ thumbnail) == pytest.approx(1.0, abs=1e-5)


def test_constant_image_correlates_with_nothing(tmp_path: Path) -> None:
    Image.fromarray(np.full((40, 40), 9, np.uint8)).save(tmp_path / "a.png")
    assert not scan_file(tmp_path / "a.png").thumbnail.any()


def test_order_progress_and_failures(tmp_path: Path, make_dataset: Callable[..., Path]) -> None:
    make_dataset(tmp_path, {"a.png": 1, "b.png": 2})
    (tmp_path / "empty.png").write_bytes(b"")
    (tmp_path / "text.png").write_bytes(b"hello, this is no image")
    Image.fromarray(np.zeros((8, 8), np.uint8)).save(tmp_path / "small.png")
    names = ["b.png", "gone.png", "a.png", "empty.png", "text.png", "small.png"]
    steps: list[int] = []
    scans = scan_files([tmp_path / name for name in names], progress=steps.append)
    assert [str(scan.status) for scan in scans] == [
        "ok",
        "not_found",
        "ok",
        "empty",
        "unsupported_format",
        "too_small",
    ]
    assert scans[0].pixels == scan_file(tmp_path / "b.png").pixels != scans[2].pixels
    assert scans[1] == Scan(Status.NOT_FOUND, "no such file", 0)
    assert scans[4].file_bytes == 23
    assert steps == [1] * 6
