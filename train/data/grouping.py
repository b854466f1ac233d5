"""Grouping of related images, so that no split separates them.

Images are joined when one of these holds, and the joins are transitive:

* pixel-identical, whatever the file's encoding;
* near-identical: perceptual hashes at most `HASH_DISTANCE` bits apart and thumbnails that correlate above
  `CORRELATION`;
* derived from one image according to the file name: same class and stem, where names have suffixes of augmentation
  or copying (``7-rotated1-rotated2 - Copy.jpg`` is derived from ``7``);
* FracAtlas: neighbouring numbers (at most `NEIGHBOUR_GAP` apart) of the same body part, which are views of one
  patient more often than not: the data set has no patient id.
"""

import re
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from pathlib import PurePosixPath

import numpy as np
import numpy.typing as npt
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from train.data.dataset import ImageTable, Item
from train.data.scan import Scan

#: Correlation of 32x32 thumbnails above which two images count as copies (as measured on FracAtlas, where it finds
#: re-exported copies and never two patients).
CORRELATION = 0.985
#: Largest Hamming distance of 64-bit hashes. Every pair above `CORRELATION` in FracAtlas is within 12; the hash
#: only preselects candidates.
HASH_DISTANCE = 12
#: Largest difference of neighbouring FracAtlas numbers.
NEIGHBOUR_GAP = 2

_DERIVED = re.compile(
    r"(?:[\s_-]*(?:rotated|rotate|rot|flipped|flip|mirrored|augmented|aug|copy)[\s_-]*\d*|\s*\(\d+\))$",
    re.IGNORECASE,
)
_BLOCK_ROWS = 2048


@dataclass(frozen=True, slots=True)
class Links:
    """Pairs of row numbers of related images, by reason.

    Attributes:
        identical: Pairs of pixel-identical images.
        near: Pairs of near-identical images, without the identical ones.
        derived: Pairs of the same class and stem, with suffixes of augmentation in their names.
        neighbours: Pairs of neighbouring FracAtlas numbers of one body part.
    """

    identical: tuple[tuple[int, int], ...]
    near: tuple[tuple[int, int], ...]
    derived: tuple[tuple[int, int], ...]
    neighbours: tuple[tuple[int, int], ...]

    @property
    def all(self) -> Iterator[tuple[int, int]]:
        """All pairs, whatever the reason."""
        yield from self.identical
        yield from self.near
        yield from self.derived
        yield from self.neighbours

    @property
    def copies(self) -> Iterator[tuple[int, int]]:
        """Pairs of copies of one image, which must have the same label."""
        yield from self.identical
        yield from self.near


def find_links(table: ImageTable, scans: Sequence[Scan]) -> Links:
    """Find the related images of `table`; `scans` has one entry per row."""
    identical = tuple(_chain(_by_key((k, scan.pixels) for k, scan in enumerate(scans) if scan.ok)))
    near = tuple(_near_identical(scans))
    derived = tuple(_chain(_derived_groups(table.items)))
    neighbours = tuple(_neighbours(table.items)) if table.layout == "fracatlas" else ()
    return Links(identical, near, derived, neighbours)


def join(count: int, pairs: Iterable[tuple[int, int]]) -> npt.NDArray[np.int32]:
    """Number the connected components of `count` rows under `pairs`: int32 [count]."""
    ends = np.array(list(pairs), np.int64).reshape(-1, 2)
    graph = coo_array((np.ones(len(ends), np.int8), (ends[:, 0], ends[:, 1])), shape=(count, count))
    return np.asarray(connected_components(graph, directed=False)[1], np.int32)


def with_groups(table: ImageTable, links: Links) -> ImageTable:
    """Return `table` with the group of every item set, named after the group's first file."""
    components = join(len(table), links.all)
    first: dict[int, str] = {}
    for component, item in zip(components.tolist(), table, strict=True):
        first.setdefault(component, PurePosixPath(item.path).with_suffix("").as_posix())
    items = tuple(
        replace(item, group=first[component]) for component, item in zip(components.tolist(), table, strict=True)
    )
    return replace(table, items=items)


def original_stem(path: str) -> str:
    """Return the file's stem without suffixes of copying and augmentation."""
    stem = PurePosixPath(path).stem
    while (shorter := _DERIVED.sub("", stem)) and shorter != stem:
        stem = shorter
    return stem


def _by_key(keyed: Iterable[tuple[int, object]]) -> list[list[int]]:
    groups: dict[object, list[int]] = defaultdict(list)
    for row, key in keyed:
        groups[key].append(row)
    return [rows for rows in groups.values() if len(rows) > 1]


def _chain(groups: Iterable[list[int]]) -> Iterator[tuple[int, int]]:
    for rows in groups:
        yield from pairwise(rows)


def _derived_groups(items: Sequence[Item]) -> list[list[int]]:
    groups = _by_key((row, (item.label, original_stem(item.path))) for row, item in enumerate(items))
    # Equal names without a suffix in two folders ("1.jpg" in both) are no evidence; a name with a suffix is.
    return [
        rows
        for rows in groups
        if any(original_stem(items[row].path) != PurePosixPath(items[row].path).stem for row in rows)
    ]


def _neighbours(items: Sequence[Item]) -> Iterator[tuple[int, int]]:
    numbered: dict[str, list[tuple[int, int]]] = defaultdict(list)
    for row, item in enumerate(items):
        digits = re.search(r"(\d+)$", PurePosixPath(item.path).stem)
        if digits:
            numbered[item.body_part].append((int(digits[1]), row))
    for rows in numbered.values():
        for (number, row), (next_number, next_row) in pairwise(sorted(rows)):
            if next_number - number <= NEIGHBOUR_GAP:
                yield row, next_row


def _near_identical(scans: Sequence[Scan]) -> Iterator[tuple[int, int]]:
    rows = [k for k, scan in enumerate(scans) if scan.ok]
    if not rows:
        return
    bits = np.stack([np.asarray(scans[k].hash) for k in rows]).astype(np.float32) * 2 - 1
    thumbnails = np.stack([np.asarray(scans[k].thumbnail) for k in rows])
    for start in range(0, len(rows), _BLOCK_ROWS):
        block = slice(start, start + _BLOCK_ROWS)
        distance = (bits.shape[1] - bits[block] @ bits.T) / 2
        alike = (distance <= HASH_DISTANCE) & (thumbnails[block] @ thumbnails.T > CORRELATION)
        for i, j in np.argwhere(np.triu(alike, k=start + 1)).tolist():
            a, b = rows[start + i], rows[j]
            if scans[a].pixels != scans[b].pixels:
                yield a, b
