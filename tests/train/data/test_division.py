from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest

from train.data.dataset import DataError, ImageTable, read_splits, read_table
from train.data.splits import make_splits, read_table_with_splits, write_split_file

MakeDataset = Callable[..., Path]


@pytest.fixture
def root(tmp_path: Path, make_dataset: MakeDataset) -> Path:
    """20 images of each class, without splits; the first two of each are copies."""
    files = {
        f"{name}/{n:02}.png": 100 * label + max(n, 1)
        for label, name in enumerate(("normal", "fractured"))
        for n in range(20)
    }
    return make_dataset(tmp_path / "data", files)


def _own_splits(tmp_path: Path, make_dataset: MakeDataset, *splits: str) -> Path:
    names = [f"{split}/{name}/{n}.png" for split in splits for name in ("normal", "fractured") for n in range(2)]
    return make_dataset(tmp_path / "own", {name: number for number, name in enumerate(names)})


def _counts(table: ImageTable) -> dict[tuple[str, int], int]:
    return dict(Counter((item.split, item.label) for item in table))


def test_a_split_file(root: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    rows = ["path,label,split,group"]
    rows += [f"normal/{n:02}.png,0,{s},n{n}" for n, s in ((2, "train"), (3, "val"), (4, "test"))]
    rows += [f"fractured/{n:02}.png,1,{s},f{n}" for n, s in ((2, "train"), (3, "val"))]
    splits = tmp_path / "splits.csv"
    splits.write_text("\n".join(rows))
    table = read_table_with_splits(root, splits)
    assert table == read_splits(root, splits)
    assert _counts(table) == {("train", 0): 1, ("train", 1): 1, ("val", 0): 1, ("val", 1): 1, ("test", 0): 1}
    assert capsys.readouterr().err == f"left out: 35 images that {splits} does not name\n"


def test_images_that_get_no_split_are_counted(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for name in ("a", "b"):
        (root / f"normal/{name}.png").write_bytes(b"")
    (root / "normal/x.png").write_bytes((root / "fractured/19.png").read_bytes())
    read_table_with_splits(root, None)
    assert capsys.readouterr().err.splitlines()[-3:] == [
        "left out: 2 images that cannot be read, first: normal/a.png (the file is empty)",
        "left out: 2 images whose copies have another label, first: fractured/19.png",
        "splits: made now, grouped and stratified; give --splits to choose them",
    ]


def test_the_folders_own_splits(
    tmp_path: Path, make_dataset: MakeDataset, capsys: pytest.CaptureFixture[str]
) -> None:
    own = _own_splits(tmp_path, make_dataset, "train", "valid", "test")
    table = read_table_with_splits(own, None)
    assert _counts(table) == {(split, label): 2 for split in ("train", "val", "test") for label in (0, 1)}
    assert table == read_table(own)
    expected = "splits: the folder's own; `fracture-edge data audit` checks them for leaks\n"
    assert capsys.readouterr().err == expected


def test_held_out_test_images_are_not_used_for_training(tmp_path: Path, make_dataset: MakeDataset) -> None:
    own = _own_splits(tmp_path, make_dataset, "train", "test")
    with pytest.raises(DataError, match="has a test split, but not both train and val"):
        read_table_with_splits(own, None)


def test_a_split_file_goes_before_the_folders_own_splits(tmp_path: Path, make_dataset: MakeDataset) -> None:
    own = _own_splits(tmp_path, make_dataset, "train", "val")
    rows = [
        f"{folder}/{name}/{n}.png,{label},{split},{folder}{name}{n}"
        for folder, split in (("train", "val"), ("val", "train"))
        for label, name in enumerate(("normal", "fractured"))
        for n in range(2)
    ]
    (tmp_path / "splits.csv").write_text("\n".join(["path,label,split,group", *rows]))
    table = read_table_with_splits(own, tmp_path / "splits.csv")
    assert {item.path.split("/")[0]: item.split for item in table} == {"train": "val", "val": "train"}


def test_new_splits(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    table = read_table_with_splits(root, None, seed=3)
    assert "splits: made now, grouped and stratified; give --splits to choose them\n" in capsys.readouterr().err
    # 70, 10 and 20 % of 20; a group of two may tip one over.
    counts = _counts(table)
    for label in (0, 1):
        assert counts["train", label] in (13, 14, 15)
        assert counts["val", label] in (1, 2, 3)
        assert counts["test", label] in (3, 4, 5)
    assert len(table) == 40
    # Copies are in the same split.
    split_of = {item.path: item.split for item in table}
    for name in ("normal", "fractured"):
        assert split_of[f"{name}/00.png"] == split_of[f"{name}/01.png"]
    assert read_table_with_splits(root, None, seed=3) == table
    assert read_table_with_splits(root, None, seed=4) != table


def test_a_train_folder_alone_gets_new_splits(
    tmp_path: Path, make_dataset: MakeDataset, capsys: pytest.CaptureFixture[str]
) -> None:
    files = {
        f"train/{name}/{n}.png": 100 * label + n
        for label, name in enumerate(("normal", "fractured"))
        for n in range(20)
    }
    table = read_table_with_splits(make_dataset(tmp_path / "data", files), None)
    assert "splits: made now" in capsys.readouterr().err
    assert {item.split for item in table} == {"train", "val", "test"}


def test_unreadable_images_are_left_out_of_new_splits(root: Path) -> None:
    (root / "normal/05.png").write_bytes(b"no image")
    table = read_table_with_splits(root, None)
    assert [item.path for item in table if not item.split] == ["normal/05.png"]


@pytest.mark.parametrize("split", ["train", "val"])
@pytest.mark.parametrize(("label", "word"), [(1, "fractured"), (0, "not fractured")])
def test_a_missing_class_in_a_split_file(root: Path, tmp_path: Path, split: str, label: int, word: str) -> None:
    rows = [
        f"{name}/{n:02}.png,{value},{part},{name}{n}"
        for value, name in enumerate(("normal", "fractured"))
        for n, part in ((2, "train"), (3, "val"), (4, "test"))
        if (value, part) != (label, split)
    ]
    splits = tmp_path / "splits.csv"
    splits.write_text("\n".join(["path,label,split,group", *rows]))
    with pytest.raises(DataError) as caught:
        read_table_with_splits(root, splits)
    assert str(caught.value) == f"{splits}: the {split} split lacks the class '{word}'"


def test_a_missing_class_in_the_folders_own_splits(tmp_path: Path, make_dataset: MakeDataset) -> None:
    own = _own_splits(tmp_path, make_dataset, "train", "val")
    for path in (own / "val/fractured").iterdir():
        path.unlink()
    with pytest.raises(DataError) as caught:
        read_table_with_splits(own, None)
    assert str(caught.value) == f"{own}: the val split lacks the class 'fractured'"


def test_a_test_split_may_lack_a_class(tmp_path: Path, make_dataset: MakeDataset) -> None:
    own = _own_splits(tmp_path, make_dataset, "train", "val", "test")
    for path in (own / "test/fractured").iterdir():
        path.unlink()
    assert _counts(read_table_with_splits(own, None))["test", 0] == 2


def test_too_few_images_for_splits(tmp_path: Path, make_dataset: MakeDataset) -> None:
    few = make_dataset(tmp_path / "few", {"normal/a.png": 1, "fractured/b.png": 2})
    with pytest.raises(DataError):
        read_table_with_splits(few, None)


def test_writing_new_splits(root: Path, tmp_path: Path) -> None:
    table = make_splits(read_table(root), fractions=(0.5, 0.25, 0.25), seed=1).table
    counts = _counts(table)
    assert all(9 <= counts["train", label] <= 11 for label in (0, 1))
    path = tmp_path / "splits.csv"
    path.write_text("old")
    write_split_file(table, path)
    assert read_splits(root, path).items == table.items
    assert sorted(entry.name for entry in tmp_path.iterdir()) == ["data", "splits.csv"]
