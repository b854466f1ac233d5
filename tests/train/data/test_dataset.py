import csv
from collections.abc import Callable
from pathlib import Path

import pytest

from train.data.dataset import DataError, ImageTable, Item, read_splits, read_table, write_splits
from train.data.folders import label_of_folder

HEADER = "path,label,split,group\n"


@pytest.mark.parametrize(
    ("name", "label"),
    [
        ("fractured", 1),
        ("Fractured", 1),
        ("fracture", 1),
        ("POSITIVE", 1),
        ("abnormal", 1),
        ("not_fractured", 0),
        ("not fractured", 0),
        ("Not-Fractured", 0),
        ("notfractured", 0),
        ("Non_fractured", 0),
        ("no fracture", 0),
        ("normal", 0),
        ("NEGATIVE", 0),
        ("images", None),
        ("fractured_hands", None),
        ("", None),
    ],
)
def test_label_of_folder(name: str, label: int | None) -> None:
    assert label_of_folder(name) == label


@pytest.mark.parametrize(
    ("folder", "split"),
    [
        ("train", "train"),
        ("Training", "train"),
        ("val", "val"),
        ("VALID", "val"),
        ("validation", "val"),
        ("test", "test"),
        ("Testing", "test"),
    ],
)
def test_split_folders(tmp_path: Path, make_dataset: Callable[..., Path], folder: str, split: str) -> None:
    table = read_table(make_dataset(tmp_path, {f"{folder}/normal/1.png": 1, f"{folder}/fractured/1.png": 2}))
    assert table.layout == "split_folders"
    assert table.items == (
        Item(f"{folder}/fractured/1.png", 1, split=split),
        Item(f"{folder}/normal/1.png", 0, split=split),
    )


def test_class_folders_are_sorted_and_other_files_ignored(
    tmp_path: Path, make_dataset: Callable[..., Path]
) -> None:
    files = {"normal/b.png": 1, "normal/sub/a.JPG": 2, "Fractured/c.bmp": 3, "elsewhere/d.png": 4}
    root = make_dataset(tmp_path, files)
    (root / "normal/readme.txt").write_text("no image")
    (root / "normal/IM000001").write_bytes(bytes(128) + b"DICM")
    table = read_table(root)
    assert [(item.path, item.label, item.split) for item in table] == [
        ("Fractured/c.bmp", 1, ""),
        ("normal/IM000001", 0, ""),
        ("normal/b.png", 0, ""),
        ("normal/sub/a.JPG", 0, ""),
    ]
    assert (table.layout, len(table), table.labels, table.notes) == ("class_folders", 4, [1, 0, 0, 0], ())
    assert table.left_out == (
        "1 images in 'elsewhere', which is not the name of a class",
        "1 files that are not images (.txt)",
    )
    assert table.file(table.items[0]) == root / "Fractured/c.bmp"


def test_images_wrapper_keeps_paths_relative_to_the_root(
    tmp_path: Path, make_dataset: Callable[..., Path]
) -> None:
    files = {"images/val/fractured/1.png": 1, "images/train/normal/2.png": 2}
    table = read_table(make_dataset(tmp_path, files))
    assert [(item.path, item.split) for item in table] == [
        ("images/train/normal/2.png", "train"),
        ("images/val/fractured/1.png", "val"),
    ]
    assert [item.path for item in table.where("val")] == ["images/val/fractured/1.png"]


def test_fracatlas(tmp_path: Path, make_fracatlas: Callable[..., Path]) -> None:
    rows = [
        {"name": "IMG1.jpg", "label": 1, "picture": 1, "hand": 1, "hardware": 1},
        {"name": "IMG2.jpg", "label": 1, "picture": 2, "hand": 1, "leg": 1, "fractured": 0, "fracture_count": 3},
        {"name": "IMG3.jpg", "label": 0, "picture": 3, "csv": False},
        {"name": "IMG4.jpg", "label": 0, "picture": None, "hip": 1},
        {"name": "IMG5.jpg", "label": 0, "picture": 5, "shoulder": 1},
    ]
    table = read_table(make_fracatlas(tmp_path, rows))
    assert table.layout == "fracatlas"
    assert [(item.path, item.label, item.body_part) for item in table] == [
        ("images/Fractured/IMG1.jpg", 1, "hand"),
        ("images/Fractured/IMG2.jpg", 1, "hand+leg"),
        ("images/Non_fractured/IMG3.jpg", 0, ""),
        ("images/Non_fractured/IMG5.jpg", 0, "shoulder"),
    ]
    assert table.items[0].metadata["hardware"] == "1"
    assert table.items[2].metadata == {}
    assert table.notes == (
        "IMG2.jpg is in Fractured but has fractured=0 (fracture_count=3) in dataset.csv; "
        "the folder's label is used",
        "IMG3.jpg has no row in dataset.csv",
        "1 rows of dataset.csv have no image here",
    )


def test_fracatlas_without_its_columns(tmp_path: Path, make_dataset: Callable[..., Path]) -> None:
    make_dataset(tmp_path, {"fractured/1.png": 1, "normal/2.png": 2})
    (tmp_path / "dataset.csv").write_text("name,label\n1.png,1\n")
    with pytest.raises(DataError, match=r"dataset\.csv: no columns image_id and fractured"):
        read_table(tmp_path)


@pytest.mark.parametrize(
    ("files", "message"),
    [
        ({}, "no images found. Expected class folders"),
        ({"hands/1.png": 1}, "no images found. Expected class folders"),
        ({"fractured/1.png": 1}, "no image of the class 'not fractured'"),
        ({"train/normal/1.png": 1}, "no image of the class 'fractured'"),
    ],
)
def test_folder_errors(
    tmp_path: Path, make_dataset: Callable[..., Path], files: dict[str, int], message: str
) -> None:
    with pytest.raises(DataError) as caught:
        read_table(make_dataset(tmp_path, files))
    assert str(caught.value).startswith(f"{tmp_path}: {message}")


def test_no_such_folder(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"gone: no such folder$"):
        read_table(tmp_path / "gone")


@pytest.fixture
def four(tmp_path: Path, make_dataset: Callable[..., Path]) -> Path:
    """Four images: fractured/1, fractured/2, normal/1, normal/2."""
    return make_dataset(tmp_path / "data", {f"{c}/{n}.png": n for c in ("fractured", "normal") for n in (1, 2)})


def _write(path: Path, table: ImageTable) -> Path:
    with path.open("w", newline="", encoding="utf-8") as stream:
        write_splits(table, csv.writer(stream))
    return path


def test_splits_round_trip(four: Path, tmp_path: Path) -> None:
    first, second, third, fourth = read_table(four).items
    items = (
        Item(first.path, 1, "a, b", "train"),
        Item(second.path, 1, "c", "val"),
        Item(third.path, 0, "a, b", "train"),
        Item(fourth.path, 0, "d", ""),
    )
    file = _write(tmp_path / "splits.csv", ImageTable(four, "class_folders", items))
    assert file.read_text(encoding="utf-8").splitlines() == [
        "path,label,split,group",
        'fractured/1.png,1,train,"a, b"',
        "fractured/2.png,1,val,c",
        'normal/1.png,0,train,"a, b"',
    ]
    # The image without a split is left out.
    assert read_splits(four, file).items == items[:3]


def test_splits_keep_metadata_and_sort_rows(tmp_path: Path, make_fracatlas: Callable[..., Path]) -> None:
    rows = [{"name": f"IMG{n}.jpg", "label": n % 2, "picture": n, "leg": 1} for n in (1, 2)]
    root = make_fracatlas(tmp_path / "data", rows)
    file = tmp_path / "splits.csv"
    file.write_text(HEADER + "images/Non_fractured/IMG2.jpg,0,test,x\nimages/Fractured/IMG1.jpg,1,val,y\n")
    table = read_splits(root, file)
    assert [(item.path, item.split, item.group, item.body_part) for item in table] == [
        ("images/Fractured/IMG1.jpg", "val", "y", "leg"),
        ("images/Non_fractured/IMG2.jpg", "test", "x", "leg"),
    ]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            HEADER + "fractured/9.png,1,train,a\nx.png,0,val,b\n",
            "2 images are not in ROOT, first: fractured/9.png",
        ),
        (HEADER + "fractured/1.png,0,train,a\n", "fractured/1.png: label '0', but its folder says 1"),
        (HEADER + "normal/2.png,yes,train,a\n", "normal/2.png: label 'yes', but its folder says 0"),
        (
            HEADER + "normal/1.png,0,dev,a\n",
            "normal/1.png: split 'dev' is unknown; must be one of: train, val, test",
        ),
        (
            HEADER + "fractured/1.png,1,train,g\nfractured/2.png,1,train,g\nnormal/1.png,0,test,g\n",
            "group g is in train and in test",
        ),
        ("path,label,split\nfractured/1.png,1,train\n", "expected the columns path, label, split, group"),
        ("", "expected the columns path, label, split, group"),
        (HEADER, "expected the columns path, label, split, group"),
    ],
)
def test_split_file_errors(four: Path, tmp_path: Path, text: str, message: str) -> None:
    file = tmp_path / "splits.csv"
    file.write_text(text)
    with pytest.raises(DataError) as caught:
        read_splits(four, file)
    assert str(caught.value) == f"{file}: {message}".replace("ROOT", str(four))


@pytest.mark.parametrize("rows", ["train,\nfractured/1.png,1,test,", "train,g\nfractured/1.png,1,train,g"])
def test_split_file_with_an_image_twice(four: Path, tmp_path: Path, rows: str) -> None:
    file = tmp_path / "splits.csv"
    file.write_text(f"{HEADER}fractured/1.png,1,{rows}\nnormal/1.png,0,train,h\n")
    with pytest.raises(DataError, match=r"fractured/1\.png"):
        read_splits(four, file)


def test_split_file_that_is_no_csv(four: Path, tmp_path: Path) -> None:
    file = tmp_path / "splits.csv"
    file.write_bytes(b"\x89PNG\xff\xfe\x00")
    with pytest.raises(DataError, match=r"splits\.csv: not a CSV file"):
        read_splits(four, file)


def test_missing_split_file(four: Path, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"gone\.csv: No such file or directory"):
        read_splits(four, tmp_path / "gone.csv")
