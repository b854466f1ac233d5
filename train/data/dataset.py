"""A folder of labelled radiographs as one table: path, label, group, split, metadata.

Two layouts are read:

* FracAtlas, as published: ``images/Fractured``, ``images/Non_fractured`` and ``dataset.csv``.
* Class folders, with or without split folders around them: ``train/fractured``, ``val/normal`` and so on.

The labels come from the names of the folders, see `train.data.folders`.
"""

import csv
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path, PurePosixPath
from types import MappingProxyType

from fracture_edge.errors import FractureEdgeError
from train.data.folders import read_folders

SPLITS = ("train", "val", "test")

#: Attribution that CC BY 4.0 requires with the data and anything derived from them.
FRACATLAS_ATTRIBUTION = (
    'Trained on FracAtlas (CC BY 4.0): Abedeen et al., "FracAtlas: A Dataset for Fracture Classification, '
    'Localization and Segmentation of Musculoskeletal Radiographs", Scientific Data 10:521 (2023)'
)

#: Labels of an image beside fractured or not, several of which may hold: columns of FracAtlas's ``dataset.csv``.
ATTRIBUTES: Mapping[str, tuple[str, ...]] = MappingProxyType(
    {"body_part": ("hand", "leg", "hip", "shoulder"), "view": ("frontal", "lateral", "oblique")}
)
_SPLIT_COLUMNS = ("path", "label", "split", "group")


class DataError(FractureEdgeError):
    """The data folder or a split file is missing or malformed; the message names the file."""


@dataclass(frozen=True, slots=True)
class Item:
    """One image of a data set.

    Attributes:
        path: Path relative to the table's root, with forward slashes.
        label: Label: 1 fractured (the positive class), 0 not fractured.
        group: Name of the group of images that must be in the same split; empty until groups are made.
        split: ``train``, ``val``, ``test``, or empty.
        metadata: Metadata of the image in the data set (FracAtlas: the columns of ``dataset.csv``).
    """

    path: str
    label: int
    group: str = ""
    split: str = ""
    metadata: Mapping[str, str] = field(default_factory=dict)

    @property
    def body_part(self) -> str:
        """Body part: ``hand``, ``leg``, ``hip``, ``shoulder``, several joined by ``+``, or empty if unknown."""
        return self._joined("body_part")

    @property
    def view(self) -> str:
        """View: ``frontal``, ``lateral``, ``oblique``, several joined by ``+``, or empty if unknown."""
        return self._joined("view")

    def _joined(self, attribute: str) -> str:
        return "+".join(label for label in ATTRIBUTES[attribute] if self.metadata.get(label) == "1")


@dataclass(frozen=True, slots=True)
class ImageTable:
    """Images of a data set, sorted by path.

    Attributes:
        root: Folder that the paths are relative to.
        layout: ``fracatlas``, ``class_folders`` or ``split_folders``.
        items: Images.
        notes: Irregularities found while reading, in words.
        left_out: What the folder holds beside these images, one line of words for each kind, with its number.
    """

    root: Path
    layout: str
    items: tuple[Item, ...]
    notes: tuple[str, ...] = ()
    left_out: tuple[str, ...] = ()

    def __len__(self) -> int:
        return len(self.items)

    def __iter__(self) -> Iterator[Item]:
        return iter(self.items)

    def file(self, item: Item) -> Path:
        """Return the path of the image file of `item`."""
        return self.root / item.path

    def where(self, split: str) -> "ImageTable":
        """Return the part of the table that belongs to `split`."""
        return replace(self, items=tuple(item for item in self.items if item.split == split))

    @property
    def labels(self) -> list[int]:
        """Labels, 0 or 1, in the table's order."""
        return [item.label for item in self.items]


def read_table(root: Path) -> ImageTable:
    """Read a data folder in any of the supported layouts.

    Raises:
        DataError: The folder does not exist or has no known layout, or a class has no images.
    """
    if not root.is_dir():
        raise DataError(f"{root}: no such folder")
    table = _read_fracatlas(root) if (root / "dataset.csv").is_file() else _read_class_folders(root)
    for label, word in ((1, "fractured"), (0, "not fractured")):
        if label not in set(table.labels):
            raise DataError(f"{root}: no image of the class '{word}'{_instead(table.left_out)}")
    return table


def _read_class_folders(root: Path) -> ImageTable:
    try:
        found = read_folders(root)
    except OSError as error:
        raise DataError(f"{root}: {error.strerror}") from error
    if not found.images:
        raise DataError(
            f"{root}: no images found. Expected class folders such as 'fractured' and 'not_fractured', "
            f"optionally inside 'train', 'val' and 'test', or the FracAtlas layout with dataset.csv"
            f"{_instead(found.left_out)}"
        )
    items = tuple(Item(image.path, image.label, split=image.split) for image in found.images)
    layout = "split_folders" if items[0].split else "class_folders"
    return ImageTable(root, layout, items, left_out=tuple(found.left_out))


def _instead(left_out: Sequence[str]) -> str:
    return f"; left out: {'; '.join(left_out)}" if left_out else ""


def _read_fracatlas(root: Path) -> ImageTable:
    rows = _read_csv(root / "dataset.csv")
    if not rows or not {"image_id", "fractured"} <= set(rows[0]):
        raise DataError(f"{root / 'dataset.csv'}: no columns image_id and fractured")
    metadata = {row.pop("image_id"): row for row in rows}
    items, notes = [], []
    folders = _read_class_folders(root)
    for item in folders:
        name = PurePosixPath(item.path).name
        row = metadata.get(name)
        if row is None:
            notes.append(f"{name} has no row in dataset.csv")
            row = {}
        elif row["fractured"] != str(item.label):
            # The folder takes precedence: the one known case has a fracture box and is among the fractured images.
            notes.append(
                f"{name} is in {PurePosixPath(item.path).parent.name} but has fractured={row['fractured']} "
                f"(fracture_count={row.get('fracture_count', '?')}) in dataset.csv; the folder's label is used"
            )
        items.append(replace(item, metadata=row))
    missing = set(metadata) - {PurePosixPath(item.path).name for item in items}
    if missing:
        notes.append(f"{len(missing)} rows of dataset.csv have no image here")
    return ImageTable(root, "fracatlas", tuple(items), tuple(notes), folders.left_out)


def write_splits(table: ImageTable, stream: "csv.Writer") -> None:  # type: ignore[name-defined]
    """Write the rows of `table` that have a split: path, label, split, group."""
    stream.writerow(_SPLIT_COLUMNS)
    stream.writerows((item.path, item.label, item.split, item.group) for item in table if item.split)


def read_splits(root: Path, splits: Path) -> ImageTable:
    """Read a data folder with the splits of a split file. Images that the file does not name are left out.

    Raises:
        DataError: The file is missing or malformed, names images that do not exist or an image twice, has a
            label that differs from the folder's, or puts one group into two splits.
    """
    table = read_table(root)
    known = {item.path: item for item in table}
    rows = _read_csv(splits)
    if not rows or not set(_SPLIT_COLUMNS) <= set(rows[0]):
        raise DataError(f"{splits}: expected the columns {', '.join(_SPLIT_COLUMNS)}")
    missing = [row["path"] for row in rows if row["path"] not in known]
    if missing:
        raise DataError(f"{splits}: {len(missing)} images are not in {root}, first: {missing[0]}")
    if twice := [path for path, count in Counter(row["path"] for row in rows).items() if count > 1]:
        raise DataError(f"{splits}: {len(twice)} images are named more than once, first: {twice[0]}")
    items = [_item_of_row(known[row["path"]], row, splits) for row in rows]
    _refuse_leak(items, splits)
    unnamed = (f"{len(table) - len(items)} images that {splits} does not name",) if len(items) < len(table) else ()
    return replace(
        table, items=tuple(sorted(items, key=lambda item: item.path)), left_out=(*table.left_out, *unnamed)
    )


def _read_csv(path: Path) -> list[dict[str, str]]:
    try:
        # utf-8-sig: spreadsheets put a byte order mark before the first column's name. surrogateescape: file
        # names need not be UTF-8.
        with path.open(newline="", encoding="utf-8-sig", errors="surrogateescape") as stream:
            reader = csv.DictReader(stream)
            # Only file names may be in another encoding: this raises for a header that is not UTF-8.
            ",".join(reader.fieldnames or ()).encode("utf-8")
            return list(reader)
    except OSError as error:
        raise DataError(f"{path}: {error.strerror}") from error
    except (UnicodeError, csv.Error) as error:
        raise DataError(f"{path}: not a CSV file ({error})") from error


def _item_of_row(item: Item, row: Mapping[str, str], splits: Path) -> Item:
    if row["split"] not in SPLITS:
        raise DataError(
            f"{splits}: {item.path}: split {row['split']!r} is unknown; must be one of: {', '.join(SPLITS)}"
        )
    if row["label"] != str(item.label):
        raise DataError(f"{splits}: {item.path}: label {row['label']!r}, but its folder says {item.label}")
    return replace(item, split=row["split"], group=row["group"])


def _refuse_leak(items: list[Item], splits: Path) -> None:
    split_of: dict[str, str] = {}
    for item in items:
        if item.group and split_of.setdefault(item.group, item.split) != item.split:
            raise DataError(f"{splits}: group {item.group} is in {split_of[item.group]} and in {item.split}")


def join_tables(first: ImageTable, second: ImageTable) -> ImageTable:
    """Concatenate the images of two tables with the same root."""
    return replace(first, items=(*first.items, *second.items))
