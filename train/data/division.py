"""The images of a training run, divided: by a split file, by the folder's own splits, or drawn here."""

import csv
import sys
from dataclasses import replace
from pathlib import Path

from fracture_edge.files import atomic_path
from train.data.dataset import DataError, ImageTable, read_splits, read_table, write_splits
from train.data.grouping import find_links, with_groups
from train.data.scan import Scan, scan_files
from train.data.splits import Division, divide


def divided_table(data: Path, splits: Path | None, *, seed: int = 0) -> ImageTable:
    """Read a data folder with its splits.

    Args:
        data: The data folder.
        splits: A split file. ``None``: the folder's own splits where it has a train and a validation split; else
            grouped splits are drawn as `fracture-edge data split` does, unless it has a test split.
        seed: Of the draw.

    Raises:
        DataError: The folder or the split file is wrong, training or validation lack a class, or the folder has a
            test split and no validation split.
    """
    if splits is not None:
        table = read_splits(data, splits)
        source = str(splits)
    else:
        table = read_table(data)
        source = str(data)
        own = {item.split for item in table}
        if "test" in own and not {"train", "val"} <= own:
            # Drawn anew, images that were put aside for the last look would be trained on.
            raise DataError(
                f"{data}: it has a test split, but not both train and val; make them, or draw all three anew with "
                "`fracture-edge data split` and give its file to --splits"
            )
        if {"train", "val"} <= own:
            _say("splits: the folder's own; `fracture-edge data audit` tells whether they leak")
        else:
            table = draw(table, seed=seed).table
            _say("splits: drawn here, grouped and stratified; give --splits to choose them")
    for split in ("train", "val"):
        if missing := {0, 1} - set(table.where(split).labels):
            word = "fractured" if 1 in missing else "not fractured"
            raise DataError(f"{source}: the {split} split lacks the class '{word}'")
    return table


def pool_of(data: Path, splits: Path | None) -> ImageTable:
    """The images to cross-validate over, with groups: without the test images where a split file names some.

    Args:
        data: The data folder.
        splits: A split file; ``None``: all readable images of the folder, whatever its own splits.

    Raises:
        DataError: The folder or the split file is wrong.
    """
    if splits is None:
        table = draw(read_table(data)).table
        return replace(table, items=tuple(item for item in table if item.split))
    table = read_splits(data, splits)
    items = tuple(item for item in table if item.split != "test")
    _say(f"{len(items)} images; the {len(table) - len(items)} test images of {splits} are left alone")
    return replace(table, items=items)


def draw(table: ImageTable, *, fractions: tuple[float, float, float] = (0.7, 0.1, 0.2), seed: int = 0) -> Division:
    """Draw grouped, stratified splits of all readable images, see `train.data.splits.divide`."""
    scans = scan(table)
    links = find_links(table, scans)
    return divide(with_groups(table, links), scans, links, fractions=fractions, seed=seed)


def scan(table: ImageTable) -> list[Scan]:
    """Look at every file, with a bar."""
    from tqdm import tqdm

    with tqdm(total=len(table), desc="reading", unit="img", disable=None) as bar:
        return scan_files([table.file(item) for item in table], progress=bar.update)


def write_split_file(table: ImageTable, path: Path, *, force: bool = True) -> None:
    """Write the splits of `table` in one step."""
    with atomic_path(path, force=force) as temporary, temporary.open("w", newline="", encoding="utf-8") as stream:
        write_splits(table, csv.writer(stream))


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)
