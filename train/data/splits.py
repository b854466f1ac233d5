"""Grouped, stratified splits: no group is divided between splits, and classes are spread evenly."""

import csv
import math
from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from sklearn.model_selection import StratifiedGroupKFold

from fracture_edge.console import say
from fracture_edge.files import atomic_path
from train.data.dataset import SPLITS, DataError, ImageTable, Item, read_splits, read_table, write_splits
from train.data.grouping import Links, find_links, join, with_groups
from train.data.scan import Scan, scan_files

#: Largest number of folds tried to express the fractions as whole numbers of folds.
_MOST_FOLDS = 100


@dataclass(frozen=True, slots=True)
class SplitResult:
    """Splits, and the images that were left out.

    Attributes:
        table: All images; those left out have no split.
        unreadable: Paths of images that cannot be decoded, with the reason.
        conflicting: Paths of images whose copies have a different label.
    """

    table: ImageTable
    unreadable: tuple[tuple[str, str], ...]
    conflicting: tuple[str, ...]


def assign_splits(
    table: ImageTable,
    scans: Sequence[Scan],
    links: Links,
    *,
    fractions: Sequence[float] = (0.7, 0.1, 0.2),
    seed: int = 0,
) -> SplitResult:
    """Assign images to train, validation and test.

    Unreadable images and images whose copies have different labels are left out. The splits are stratified by
    class and body part and grouped by `Item.group`, with scikit-learn's `StratifiedGroupKFold`.

    Args:
        table: Images with groups.
        scans: Scans of the images, one per row.
        links: Related images, see `train.data.grouping.find_links`.
        fractions: Shares of train, validation and test; they add up to 1.
        seed: Random seed of the shuffling.

    Raises:
        DataError: The fractions are invalid, or there are too few groups.
    """
    fold_counts = _fold_counts(fractions)
    conflicting = conflicting_rows(table, links)
    unreadable = tuple((item.path, scan.detail) for item, scan in zip(table, scans, strict=True) if not scan.ok)
    usable = [k for k, scan in enumerate(scans) if scan.ok and k not in conflicting]
    split_of_row = _draw(table, usable, fold_counts, seed)
    items = tuple(replace(item, split=split_of_row.get(k, "")) for k, item in enumerate(table))
    return SplitResult(
        replace(table, items=items), unreadable, tuple(table.items[k].path for k in sorted(conflicting))
    )


def conflicting_rows(table: ImageTable, links: Links) -> set[int]:
    """Find the rows of images whose copies have different labels, copies included."""
    components = join(len(table), links.copies).tolist()
    labels: dict[int, set[int]] = defaultdict(set)
    for component, item in zip(components, table, strict=True):
        labels[component].add(item.label)
    return {row for row, component in enumerate(components) if len(labels[component]) > 1}


def _fold_counts(fractions: Sequence[float]) -> list[int]:
    if len(fractions) != len(SPLITS) or min(fractions) < 0 or not math.isclose(sum(fractions), 1, abs_tol=1e-6):
        raise DataError(f"fractions {list(fractions)}: must be three numbers of at least 0 that add up to 1")
    for folds in range(2, _MOST_FOLDS + 1):
        counts = [fraction * folds for fraction in fractions]
        if all(abs(count - round(count)) < 1e-6 for count in counts):
            return [round(count) for count in counts]
    raise DataError(f"fractions {list(fractions)}: must be multiples of 0.01")


def _draw(table: ImageTable, usable: list[int], fold_counts: list[int], seed: int) -> dict[int, str]:
    part = replace(table, items=tuple(table.items[k] for k in usable))
    folds = fold_numbers(part, sum(fold_counts), seed=seed)
    split_of_fold = [split for split, count in zip(SPLITS, fold_counts, strict=True) for _ in range(count)]
    result = {row: split_of_fold[fold] for row, fold in zip(usable, folds, strict=True)}
    _require_both_classes(table, result, fold_counts)
    return result


def fold_numbers(table: ImageTable, folds: int, *, seed: int = 0) -> list[int]:
    """Assign images to folds, grouped, and stratified by class and body part.

    Args:
        table: Images with groups.
        folds: Number of folds.
        seed: Random seed of the shuffling.

    Returns:
        Fold of each image, counted from 0.

    Raises:
        DataError: There are too few groups, or too few images of a class, for so many folds.
    """
    groups = [item.group or item.path for item in table]
    if len(set(groups)) < folds:
        raise DataError(f"{table.root}: {len(set(groups))} groups are too few for {folds} folds")
    rarest = min(table.labels.count(label) for label in (0, 1))
    if rarest < folds:
        raise DataError(f"{table.root}: {rarest} images of a class are too few for {folds} folds")
    strata = _strata(table.items, folds)
    number = {stratum: code for code, stratum in enumerate(sorted(set(strata)))}
    splitter = StratifiedGroupKFold(folds, shuffle=True, random_state=seed)
    result = [0] * len(table)
    codes = [number[stratum] for stratum in strata]
    for fold, (_, members) in enumerate(splitter.split(np.zeros(len(table)), codes, groups)):
        for member in members.tolist():
            result[member] = fold
    return result


def folds_apart(fold: int, folds: int, *, chooses_epochs: bool) -> frozenset[int]:
    """Return the folds that a round of cross-validation is not trained on, counted from 0.

    These are its test fold and, where validation images choose the epoch, the fold after it.

    Args:
        fold: Test fold of the round, counted from 0.
        folds: Number of folds.
        chooses_epochs: Whether validation images choose the epoch, see `train.recipes.recipe.Recipe`.
    """
    return frozenset({fold, (fold + 1) % folds} if chooses_epochs else {fold})


def _strata(items: Sequence[Item], folds: int) -> list[tuple[int, str]]:
    """Return class and body part of each image.

    A body part with fewer images than folds is merged with the commonest one of its class.
    """
    counts = Counter((item.label, item.body_part) for item in items)
    commonest = {label: part for (label, part), _ in reversed(counts.most_common())}
    return [
        (item.label, item.body_part if counts[item.label, item.body_part] >= folds else commonest[item.label])
        for item in items
    ]


def _require_both_classes(table: ImageTable, split_of_row: dict[int, str], fold_counts: list[int]) -> None:
    for split, count in zip(SPLITS, fold_counts, strict=True):
        labels = {table.items[row].label for row, name in split_of_row.items() if name == split}
        if count and labels != {0, 1}:
            raise DataError(f"{table.root}: too few groups, the {split} split would lack a class")


def read_table_with_splits(data: Path, splits: Path | None, *, seed: int = 0) -> ImageTable:
    """Read a data folder with its splits.

    Args:
        data: Data folder.
        splits: Split file. ``None``: the folder's own splits if it has a train and a validation split; otherwise,
            unless it has a test split, grouped splits are made as by `fracture-edge data split`.
        seed: Random seed of the splits.

    Raises:
        DataError: The folder or the split file is malformed, training or validation lack a class, or the folder
            has a test split, but not both train and validation.
    """
    if splits is not None:
        table = read_splits(data, splits)
        say_left_out(table)
        source = str(splits)
    else:
        table = read_table(data)
        say_left_out(table)
        source = str(data)
        own = {item.split for item in table}
        if "test" in own and not {"train", "val"} <= own:
            # New splits would put held-out test images into training.
            raise DataError(
                f"{data}: has a test split, but not both train and val; add them, or make all three with "
                "`fracture-edge data split` and give its file to --splits"
            )
        if {"train", "val"} <= own:
            say("splits: the folder's own; `fracture-edge data audit` checks them for leaks")
        else:
            table = _made(table, seed=seed)
            say("splits: made now, grouped and stratified; give --splits to choose them")
    for split in ("train", "val"):
        if missing := {0, 1} - set(table.where(split).labels):
            word = "fractured" if 1 in missing else "not fractured"
            raise DataError(f"{source}: the {split} split lacks the class '{word}'")
    return table


def cross_validation_table(data: Path, splits: Path | None) -> ImageTable:
    """Read the images for cross-validation, with groups.

    Args:
        data: Data folder.
        splits: Split file, whose test images are left out; ``None``: all readable images of the folder, whatever
            its own splits.

    Raises:
        DataError: The folder or the split file is malformed.
    """
    if splits is None:
        table = read_table(data)
        say_left_out(table)
        table = _made(table)
        return replace(table, items=tuple(item for item in table if item.split))
    table = read_splits(data, splits)
    say_left_out(table)
    items = tuple(item for item in table if item.split != "test")
    say(f"{len(items)} images; the {len(table) - len(items)} test images of {splits} are not used")
    return replace(table, items=items)


def say_left_out(table: ImageTable) -> None:
    """Say on stderr what the data folder holds beside the images of `table`, one line for each kind."""
    for line in table.left_out:
        say(f"left out: {line}")


def _made(table: ImageTable, *, seed: int = 0) -> ImageTable:
    """Make splits, and say on stderr how many images are in none."""
    result = make_splits(table, seed=seed)
    if result.unreadable:
        path, detail = result.unreadable[0]
        say(f"left out: {len(result.unreadable)} images that cannot be read, first: {path} ({detail})")
    if result.conflicting:
        count, path = len(result.conflicting), result.conflicting[0]
        say(f"left out: {count} images whose copies have another label, first: {path}")
    return result.table


def make_splits(
    table: ImageTable, *, fractions: tuple[float, float, float] = (0.7, 0.1, 0.2), seed: int = 0
) -> SplitResult:
    """Make grouped, stratified splits of all readable images, see `assign_splits`."""
    scans = scan(table)
    links = find_links(table, scans)
    return assign_splits(with_groups(table, links), scans, links, fractions=fractions, seed=seed)


def scan(table: ImageTable) -> list[Scan]:
    """Scan every image file, with a progress bar; see `train.data.scan.scan_files`."""
    from tqdm import tqdm

    with tqdm(total=len(table), desc="reading", unit="img", disable=None) as bar:
        return scan_files([table.file(item) for item in table], progress=bar.update)


def write_split_file(table: ImageTable, path: Path, *, force: bool = True) -> None:
    """Write the splits of `table` to a CSV file, atomically. File names that are not UTF-8 keep their bytes."""
    with (
        atomic_path(path, force=force) as temporary,
        temporary.open("w", newline="", encoding="utf-8", errors="surrogateescape") as stream,
    ):
        write_splits(table, csv.writer(stream))
