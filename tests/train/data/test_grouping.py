from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from fracture_edge.errors import Status
from train.data.dataset import ImageTable, Item
from train.data.grouping import Links, find_links, join, original_stem, with_groups
from train.data.scan import Scan, scan_file

UNREADABLE = Scan(Status.CORRUPT)


@pytest.mark.parametrize(
    ("name", "stem"),
    [
        ("1-rotated1-rotated2 - Copy.jpg", "1"),
        ("fractured/12-rotated3.jpg", "12"),
        ("12.jpg", "12"),
        ("IMG0001 (2).jpg", "IMG0001"),
        ("IMG0001(2).jpg", "IMG0001"),
        ("IMG0001 - Copy (3).png", "IMG0001"),
        ("7_flip.png", "7"),
        ("7_aug_12.png", "7"),
        ("7-ROTATED1.png", "7"),
        ("IMG0000042.jpg", "IMG0000042"),
        ("hand.v2.jpg", "hand.v2"),
        # Nothing would remain: the name stays.
        ("copy.jpg", "copy"),
        ("rotated1.jpg", "rotated1"),
    ],
)
def test_original_stem(name: str, stem: str) -> None:
    assert original_stem(name) == stem


def _links(items: list[Item], layout: str = "class_folders") -> Links:
    return find_links(ImageTable(Path("root"), layout, tuple(items)), [UNREADABLE] * len(items))


def test_derived_names_are_joined_and_plain_equal_names_are_not() -> None:
    items = [
        Item("test/fractured/1-rotated1.jpg", 1),
        Item("test/normal/1.jpg", 0),
        Item("train/fractured/1.jpg", 1),
        Item("train/fractured/2.jpg", 1),
        Item("train/normal/1.jpg", 0),
        Item("val/fractured/1-rotated2-rotated1.jpg", 1),
        Item("val/fractured/2.jpg", 1),
    ]
    # Fractured 1 and its rotations; the two plain "1" of the other class and the two plain "2" stay apart.
    assert _links(items) == Links((), (), ((0, 2), (2, 5)), ())


@pytest.mark.parametrize(
    ("first", "second", "joined"),
    [
        (("IMG0000010", "hand"), ("IMG0000011", "hand"), True),
        (("IMG0000010", "hand"), ("IMG0000012", "hand"), True),
        (("IMG0000010", "hand"), ("IMG0000013", "hand"), False),
        (("IMG0000010", "hand"), ("IMG0000011", "leg"), False),
        (("IMG0000099", "hip"), ("IMG0000101", "hip"), True),
        (("IMG0000010", "hand"), ("scan", "hand"), False),
    ],
)
def test_neighbours(first: tuple[str, str], second: tuple[str, str], *, joined: bool) -> None:
    items = [Item(f"images/Fractured/{name}.jpg", 1, metadata={part: "1"}) for name, part in (first, second)]
    assert _links(items, "fracatlas").neighbours == (((0, 1),) if joined else ())
    assert _links(items).neighbours == ()


def test_neighbours_whatever_their_class() -> None:
    items = [Item("images/Fractured/IMG2.jpg", 1), Item("images/Non_fractured/IMG1.jpg", 0)]
    assert _links(items, "fracatlas").neighbours == ((1, 0),)


def test_neighbours_of_one_body_part_with_another_between() -> None:
    parts = {1: "hand", 2: "leg", 3: "hand"}
    items = [Item(f"images/Fractured/IMG{n}.jpg", 1, metadata={part: "1"}) for n, part in parts.items()]
    # 1 and 3 are two apart and both hands.
    assert _links(items, "fracatlas").neighbours == ((0, 2),)


def _scan(path: Path, pixels: np.ndarray, **options: int) -> Scan:
    Image.fromarray(pixels).save(path, **options)
    return scan_file(path)


def _pair(a: Scan, b: Scan) -> Links:
    items = (Item("fractured/a.png", 1), Item("normal/b.png", 0))
    return find_links(ImageTable(Path("root"), "class_folders", items), [a, b])


@pytest.mark.parametrize("suffix", ["png", "bmp", "tiff"])
def test_identical_whatever_the_encoding(
    tmp_path: Path, make_picture: Callable[..., np.ndarray], suffix: str
) -> None:
    a = _scan(tmp_path / "a.png", make_picture(1))
    b = _scan(tmp_path / f"b.{suffix}", make_picture(1))
    assert _pair(a, b) == Links(((0, 1),), (), (), ())


def test_same_bytes_in_another_shape_are_not_identical(tmp_path: Path) -> None:
    grey = np.full((64, 32), 9, np.uint8)
    assert _pair(_scan(tmp_path / "a.png", grey), _scan(tmp_path / "b.png", grey.T)).identical == ()


def test_near_identical(tmp_path: Path, make_picture: Callable[..., np.ndarray]) -> None:
    original = make_picture(1, 96, 80)
    versions = {
        "jpeg60": _scan(tmp_path / "a.jpg", original, quality=60),
        "brighter": _scan(tmp_path / "b.png", np.clip(original, 0, 243) + np.uint8(12)),
        "smaller": _scan(
            tmp_path / "c.png", np.asarray(Image.fromarray(original).resize((70, 84), Image.Resampling.BICUBIC))
        ),
    }
    first = _scan(tmp_path / "o.png", original)
    for name, version in versions.items():
        assert _pair(first, version) == Links((), ((0, 1),), (), ()), name


def test_unrelated_are_not_near(tmp_path: Path, make_picture: Callable[..., np.ndarray]) -> None:
    original = make_picture(1)
    turned = np.ascontiguousarray(np.rot90(original))
    for other in (make_picture(2), turned, 255 - original):
        pair = _pair(_scan(tmp_path / "a.png", original), _scan(tmp_path / "b.png", other))
        assert pair == Links((), (), (), ())


def test_both_hash_and_thumbnail_must_agree(tmp_path: Path) -> None:
    # A wide, faint slope over two different fine textures: the thumbnails correlate, the hashes do not.
    slope = np.linspace(0, 200, 64)[np.newaxis] + np.zeros((64, 1))
    fine = np.random.default_rng(0).normal(0, 1, (2, 64, 64))
    a, b = (_scan(tmp_path / f"{k}.png", np.clip(slope + 40 + fine[k], 0, 255).astype(np.uint8)) for k in (0, 1))
    assert float(a.thumbnail @ b.thumbnail) > 0.985
    distance = int((a.hash != b.hash).sum())
    assert bool(_pair(a, b).near) == (distance <= 12)


def test_join_is_transitive() -> None:
    assert join(6, [(0, 3), (3, 5), (1, 2)]).tolist() == [0, 1, 1, 0, 2, 0]
    assert join(3, []).tolist() == [0, 1, 2]


def test_groups_are_named_after_their_first_file() -> None:
    items = tuple(Item(f"normal/{n}.png", 0) for n in range(5))
    links = Links(identical=((3, 4),), near=((1, 3),), derived=(), neighbours=((0, 2),))
    grouped = with_groups(ImageTable(Path("root"), "class_folders", items), links)
    assert [item.group for item in grouped] == ["normal/0", "normal/1", "normal/0", "normal/1", "normal/1"]


def test_links_by_kind() -> None:
    links = Links(((0, 1),), ((1, 2),), ((2, 3),), ((3, 4),))
    assert list(links.all) == [(0, 1), (1, 2), (2, 3), (3, 4)]
    # Only copies must have the same label; those of derived and neighbouring images may differ.
    assert list(links.copies) == [(0, 1), (1, 2)]


def test_files_are_joined_over_all_reasons(
    tmp_path: Path,
    make_dataset: Callable[..., Path],
    make_picture: Callable[..., np.ndarray],
    examine_dataset: Callable[..., tuple],
) -> None:
    picture = make_picture(1)
    root = make_dataset(
        tmp_path,
        {
            "train/fractured/1.png": picture,
            "test/fractured/1-rotated1.png": np.ascontiguousarray(np.rot90(picture)),
            "val/normal/5.png": np.ascontiguousarray(np.rot90(picture)),
            "train/normal/6.png": 6,
        },
    )
    table, _, links = examine_dataset(root)
    assert {item.path: item.group for item in with_groups(table, links)} == {
        "test/fractured/1-rotated1.png": "test/fractured/1-rotated1",
        "train/fractured/1.png": "test/fractured/1-rotated1",
        "train/normal/6.png": "train/normal/6",
        "val/normal/5.png": "test/fractured/1-rotated1",
    }
