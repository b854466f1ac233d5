"""Checks of the directories of a TIFF file before Pillow opens it."""

import struct

from fracture_edge.errors import ImageCorruptError, ImageSizeError
from fracture_edge.images.limits import MAX_FRAMES

#: Maximum number of strips or tiles of one page; Pillow keeps a Python object of some 300 bytes for each.
MAX_PARTS = 100_000
_STRIP_OFFSETS, _TILE_OFFSETS = 273, 324


def count_pages(name: str, data: bytes) -> int:
    """Count the pages of a TIFF file by following the chain of directories.

    Args:
        name: Name of the file in messages.
        data: Content of the file, which begins with a TIFF header.

    Returns:
        Number of pages, counted up to `MAX_FRAMES` + 1. An invalid link ends the chain.

    Raises:
        ImageCorruptError: There is no first directory.
        ImageSizeError: The first page has more than `MAX_PARTS` strips or tiles.
    """
    order = "<" if data[:1] == b"I" else ">"
    big = 43 in data[2:4]
    # Parts of a directory: number of entries, one entry (tag, type, count, value), offset of the next directory.
    count, entry, link = (f"{order}{part}" for part in (("Q", "HHQ8x", "Q") if big else ("H", "HHI4x", "I")))
    seen: set[int] = set()
    try:
        (at,) = struct.unpack_from(link, data, 8 if big else 4)
        while at and at not in seen and len(seen) <= MAX_FRAMES:
            (entries,) = struct.unpack_from(count, data, at)
            first = at + struct.calcsize(count)
            if not seen:
                _refuse_many_parts(name, data[first : first + entries * struct.calcsize(entry)], entry)
            seen.add(at)
            (at,) = struct.unpack_from(link, data, first + entries * struct.calcsize(entry))
    except (struct.error, OverflowError):
        if not seen:
            raise ImageCorruptError(name, "the TIFF file has no directory") from None
    return max(1, len(seen))


def _refuse_many_parts(name: str, entries: bytes, layout: str) -> None:
    size = struct.calcsize(layout)
    for tag, _, parts in struct.iter_unpack(layout, entries[: len(entries) // size * size]):
        if tag in (_STRIP_OFFSETS, _TILE_OFFSETS) and parts > MAX_PARTS:
            raise ImageSizeError(name, f"{parts:,} strips or tiles, over the limit of {MAX_PARTS:,}")
