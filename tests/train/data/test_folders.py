from collections.abc import Callable
from pathlib import Path

import pytest

from train.data.dataset import DataError, read_splits, read_table
from train.data.folders import read_folders

Make = Callable[..., Path]


def _found(root: Path) -> list[tuple[str, int, str]]:
    return [tuple(image) for image in read_folders(root).images]


def test_nearest_class_folder_decides(tmp_path: Path, make_dataset: Make) -> None:
    root = make_dataset(
        tmp_path,
        {
            "fractured/not fractured/x.png": 1,
            "fractured/hairline/x.png": 2,
            "normal/positive/sub/x.png": 3,
            "normal/x.png": 4,
        },
    )
    assert read_folders(root) == (
        [
            ("fractured/hairline/x.png", 1, ""),
            ("fractured/not fractured/x.png", 0, ""),
            ("normal/positive/sub/x.png", 1, ""),
            ("normal/x.png", 0, ""),
        ],
        [],
    )


def test_content_decides_what_is_an_image(tmp_path: Path, make_dataset: Make) -> None:
    names = ("a.jfif", "b.jpe", "c", "d.old", "e.webp", "f.JPG")
    root = make_dataset(tmp_path, {f"{part}/{n}.png": n for part in ("fractured", "normal") for n in (1, 2)})
    for name in names:
        style = "webp" if name == "e.webp" else "jpeg"
        make_dataset(tmp_path, {f"normal/x.{style}": 7})
        (root / f"normal/x.{style}").rename(root / "normal" / name)
    (root / "normal/notes.txt").write_text("text")
    (root / "normal/list.csv").write_text("a,b")
    (root / "normal/more.txt").write_text("text")
    found = read_folders(root)
    assert [image.path for image in found.images if image.path.startswith("normal")] == sorted(
        f"normal/{name}" for name in ("1.png", "2.png", *names)
    )
    assert found.left_out == ["3 files that are not images (.txt 2, .csv)"]


def test_folders_that_are_no_classes_and_no_splits_are_named(tmp_path: Path, make_dataset: Make) -> None:
    files = {f"{split}/{part}/1.png": 1 for split in ("train", "val") for part in ("fractured", "normal")}
    files |= {f"holdout/fractured/{n}.png": n for n in range(3)}
    files |= {f"fractured/{n}.png": n for n in range(2)}
    files |= {"train/hairline/a/1.png": 1, "train/hairline/2.png": 2, "train/fractured (1)/1.png": 1, "x.png": 1}
    files |= {"train/test/normal/1.png": 1}
    root = make_dataset(tmp_path, files)
    found = read_folders(root)
    assert [image.path for image in found.images] == [
        "train/fractured/1.png",
        "train/normal/1.png",
        "val/fractured/1.png",
        "val/normal/1.png",
    ]
    assert found.left_out == [
        "1 images in '.', which is not the name of a class",
        "2 images in 'fractured', which is in no split folder",
        "3 images in 'holdout', which is neither a class nor a split",
        "1 images in 'train/fractured (1)', which is not the name of a class",
        "2 images in 'train/hairline', which is not the name of a class",
        "1 images in 'train/test/normal', which is in two splits",
    ]


def test_split_folders_inside_class_folders(tmp_path: Path, make_dataset: Make) -> None:
    root = make_dataset(tmp_path, {"fractured/train/1.png": 1, "normal/test/1.png": 2})
    assert _found(root) == [("fractured/train/1.png", 1, "train"), ("normal/test/1.png", 0, "test")]


def test_hidden_files_and_folders(tmp_path: Path, make_dataset: Make) -> None:
    hidden = (".ipynb_checkpoints/1.png", "@eaDir/1.png", "__MACOSX/1.png", "._1.png", ".1.png", "1.png~")
    files = {"fractured/1.png": 1, "normal/1.png": 2}
    root = make_dataset(tmp_path, files)
    for name in hidden:
        path = root / "normal" / name
        path.parent.mkdir(exist_ok=True)
        path.write_bytes((root / "normal/1.png").read_bytes())
    found = read_folders(root)
    assert [image.path for image in found.images] == ["fractured/1.png", "normal/1.png"]
    assert found.left_out == ["5 hidden images and folders (.1.png, ._1.png, .ipynb_checkpoints, ...)"]


@pytest.mark.skipif(not hasattr(Path, "symlink_to"), reason="needs symbolic links")
def test_class_folders_may_be_links(tmp_path: Path, make_dataset: Make) -> None:
    elsewhere = make_dataset(tmp_path / "elsewhere", {"a/1.png": 1, "b/2.png": 2})
    root = tmp_path / "data"
    (root / "train").mkdir(parents=True)
    (root / "train/fractured").symlink_to(elsewhere / "a")
    (root / "train/normal").symlink_to(elsewhere / "b")
    # A link to a folder above it would never end.
    (root / "train/val").symlink_to(root)
    assert _found(root) == [("train/fractured/1.png", 1, "train"), ("train/normal/2.png", 0, "train")]


def test_errors_name_what_was_found_instead(tmp_path: Path, make_dataset: Make) -> None:
    root = make_dataset(tmp_path, {"fractured (1)/1.png": 1, "fractured (1)/2.png": 2})
    with pytest.raises(
        DataError, match=r"; left out: 2 images in 'fractured \(1\)', which is not the name of a class$"
    ):
        read_table(root)
    make_dataset(tmp_path, {"normal/1.png": 1})
    with pytest.raises(
        DataError, match=r"no image of the class 'fractured'; left out: 2 images in 'fractured \(1\)', "
    ):
        read_table(root)


def test_images_that_a_split_file_does_not_name(tmp_path: Path, make_dataset: Make) -> None:
    root = make_dataset(
        tmp_path / "data", {f"{part}/{n}.png": n for part in ("fractured", "normal") for n in (1, 2)}
    )
    splits = tmp_path / "splits.csv"
    splits.write_text("path,label,split,group\nfractured/1.png,1,train,a\nnormal/1.png,0,train,b\n")
    assert read_splits(root, splits).left_out == (f"2 images that {splits} does not name",)
