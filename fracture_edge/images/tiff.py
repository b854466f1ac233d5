"""Directories of a TIFF file, read before Pillow opens it: which page is the picture, and how many there are."""

import io
import struct
from collections.abc import Iterator, Mapping
from typing import NamedTuple

from fracture_edge.errors import ImageCorruptError, ImageSizeError
from fracture_edge.images.aspect import pixel_aspect
from fracture_edge.images.limits import MAX_FRAMES

#: Maximum number of strips or tiles of one page; Pillow keeps a Python object of some 300 bytes for each.
MAX_PARTS = 100_000
#: Maximum number of entries of a directory that are read, and of values of an entry. Directories have some dozens;
#: files could state many directories of very many entries that share their bytes.
_MAX_ENTRIES, _MAX_VALUES = 512, 32

_NEW_SUBFILE_TYPE, _SUBFILE_TYPE, _WIDTH, _HEIGHT = 254, 255, 256, 257
_STRIP_OFFSETS, _TILE_OFFSETS, _SUB_DIRECTORIES = 273, 324, 330
_BITS, _COMPRESSION, _INTERPRETATION, _SAMPLES, _PLANAR, _EXTRA, _FORMAT = 258, 259, 262, 277, 284, 338, 339
_ORIENTATION, _X_RESOLUTION, _Y_RESOLUTION, _TILE_WIDTH, _TILE_HEIGHT = 274, 282, 283, 322, 323
_WANTED = frozenset(
    {
        _NEW_SUBFILE_TYPE,
        _SUBFILE_TYPE,
        _WIDTH,
        _HEIGHT,
        _ORIENTATION,
        _X_RESOLUTION,
        _Y_RESOLUTION,
        _TILE_WIDTH,
        _TILE_HEIGHT,
        _SUB_DIRECTORIES,
        _BITS,
        _COMPRESSION,
        _INTERPRETATION,
        _SAMPLES,
        _PLANAR,
        _EXTRA,
        _FORMAT,
    }
)
#: PlanarConfiguration with a plane for each sample.
_PLANES = 2
#: Orientations that exchange rows and columns.
_TURNED = frozenset({5, 6, 7, 8})
#: Bits of NewSubfileType: a reduced copy of another image of the file, and a mask of its transparent parts.
_REDUCED, _MASK = 1, 4
#: SubfileType, which NewSubfileType replaced, of a reduced copy.
_OLD_REDUCED = 2
#: Layout of the values of an entry, by type of entry; rationals are two values.
_TYPES = {1: "B", 3: "H", 4: "I", 5: "II", 6: "b", 8: "h", 9: "i", 11: "f", 12: "d", 13: "I", 16: "Q", 18: "Q"}
_RATIONAL = 5


class Directory(NamedTuple):
    """Directory of one page.

    Attributes:
        offset: Offset of the directory in the file, in bytes.
        values: Values of the tags that are read, by tag; at most `_MAX_VALUES` of each.
    """

    offset: int
    values: Mapping[int, tuple[float, ...]]

    def value(self, tag: int, default: float = 0) -> float:
        """Return the first value of a tag, or the default if the directory does not have it."""
        return next(iter(self.values.get(tag, ())), default)

    @property
    def width(self) -> int:
        """Width of the page in pixels."""
        return int(self.value(_WIDTH))

    @property
    def height(self) -> int:
        """Height of the page in pixels, as stored."""
        return int(self.value(_HEIGHT))

    @property
    def pixels(self) -> int:
        """Number of pixels of the page."""
        return self.width * self.height

    @property
    def tile_pixels(self) -> int:
        """Number of pixels of a tile; 0 if the page has strips."""
        return int(self.value(_TILE_WIDTH) * self.value(_TILE_HEIGHT))

    @property
    def bits(self) -> int:
        """Largest number of bits of a sample."""
        return int(max(self.values.get(_BITS) or (1,)))

    @property
    def samples(self) -> int:
        """Number of samples of a pixel."""
        return int(self.value(_SAMPLES, 1))

    @property
    def sample_format(self) -> int:
        """SampleFormat: 1 unsigned, 2 signed, 3 floating-point."""
        return int(self.value(_FORMAT, 1))

    @property
    def stored(self) -> tuple[int, int]:
        """Number of bits and format of a sample."""
        return self.bits, self.sample_format

    @property
    def compression(self) -> int:
        """Compression."""
        return int(self.value(_COMPRESSION, 1))

    @property
    def interpretation(self) -> int:
        """PhotometricInterpretation; -1 if it is absent."""
        return int(self.value(_INTERPRETATION, -1))

    @property
    def is_planar(self) -> bool:
        """Whether each sample has a plane of its own."""
        return self.value(_PLANAR, 1) == _PLANES

    @property
    def has_alpha(self) -> bool:
        """Whether a sample of each pixel states its opacity."""
        return any(kind in (1, 2) for kind in self.values.get(_EXTRA, ()))

    @property
    def orientation(self) -> int:
        """Orientation, as in EXIF."""
        return int(self.value(_ORIENTATION, 1))

    @property
    def pixel_aspect(self) -> float:
        """Height of a pixel of the upright picture divided by its width, from the resolutions."""
        aspect = pixel_aspect(self.value(_X_RESOLUTION), self.value(_Y_RESOLUTION))
        return 1 / aspect if self.orientation in _TURNED else aspect

    @property
    def is_picture(self) -> bool:
        """Whether the page is neither a reduced copy nor the mask of another one."""
        kind = int(self.value(_NEW_SUBFILE_TYPE))
        return not kind & (_REDUCED | _MASK) and self.value(_SUBFILE_TYPE) != _OLD_REDUCED


class TiffFile(NamedTuple):
    """Picture of a TIFF file.

    Attributes:
        picture: Directory of the picture that is read.
        pages: Number of pages, without reduced copies and masks, counted up to `MAX_FRAMES` + 1.
        is_first: Whether the picture is the first page.
    """

    picture: Directory
    pages: int
    is_first: bool

    def open(self, data: bytes) -> io.BytesIO:
        """Open the content of the file so that the picture is its first page.

        Args:
            data: Content of the file.

        Returns:
            Content as a stream; a copy of `data` if the picture is not the first page.
        """
        stream = io.BytesIO(data)
        if not self.is_first:
            layout = _Layout(data)
            stream.seek(layout.start)
            stream.write(struct.pack(layout.link, self.picture.offset))
            stream.seek(0)
        return stream


def read_directories(name: str, data: bytes) -> TiffFile:
    """Find the picture of a TIFF file: the first page, or the page in full resolution if that is a reduced copy.

    Args:
        name: Name of the file in messages.
        data: Content of the file, which begins with a TIFF header.

    Returns:
        Directory of the picture and number of pages. An invalid link ends the chain of directories.

    Raises:
        ImageCorruptError: There is no first directory.
        ImageSizeError: The picture has more than `MAX_PARTS` strips or tiles.
    """
    layout = _Layout(data)
    chain = list(layout.chain())
    if not chain:
        raise ImageCorruptError(name, "the TIFF file has no directory")
    picture = first = chain[0]
    if not first.is_picture:
        # Scanners put a preview in front, raw photographs have the picture in a directory below the preview's.
        below = [layout.directory(int(at)) for at in first.values.get(_SUB_DIRECTORIES, ())]
        larger = (page for page in (*chain[1:], *below) if page and page.is_picture and page.pixels > first.pixels)
        picture = next(larger, first)
    parts = layout.most_parts(picture.offset)
    if parts > MAX_PARTS:
        raise ImageSizeError(name, f"{parts:,} strips or tiles, over the limit of {MAX_PARTS:,}")
    return TiffFile(picture, max(1, sum(page.is_picture for page in chain)), picture is first)


class _Layout:
    """Reader of directories in the byte order of a file, of classic TIFF or BigTIFF."""

    def __init__(self, data: bytes) -> None:
        self._data = data
        self._order = "<" if data[:1] == b"I" else ">"
        big = 43 in data[2:4]
        # Parts of a directory: number of entries, one entry (tag, type, count, value), offset of the next one.
        parts = ("Q", "HHQ8s", "Q") if big else ("H", "HHI4s", "I")
        self._count, self._entry, self.link = (self._order + part for part in parts)
        self.start = 8 if big else 4

    def first(self) -> int:
        """Return the offset of the first directory; 0 if the file is too short."""
        return self._unpack(self.link, self.start)

    def chain(self) -> Iterator[Directory]:
        """Follow the chain of directories, up to `MAX_FRAMES` + 1 of them."""
        seen: set[int] = set()
        at = self.first()
        while at and at not in seen and len(seen) <= MAX_FRAMES:
            found = self.directory(at)
            if found is None:
                return
            yield found
            seen.add(at)
            begin, entries = self._extent(at)
            at = self._unpack(self.link, begin + entries * struct.calcsize(self._entry))

    def directory(self, at: int) -> Directory | None:
        """Read a directory; ``None`` if there is none at this offset."""
        begin, entries = self._extent(at)
        if not begin:
            return None
        values: dict[int, tuple[float, ...]] = {}
        for tag, kind, number, value in self._entries(begin, min(entries, _MAX_ENTRIES)):
            if tag in _WANTED and kind in _TYPES:
                values[tag] = self._values(kind, number, value)
        return Directory(at, values)

    def most_parts(self, at: int) -> int:
        """Return the largest number of strips or tiles that the entries of a directory state."""
        found = self._entries(*self._extent(at))
        return max((number for tag, _, number, _ in found if tag in (_STRIP_OFFSETS, _TILE_OFFSETS)), default=0)

    def _extent(self, at: int) -> tuple[int, int]:
        """Return the offset of the first entry and the number of entries; 0 and 0 beyond the end of the file."""
        begin = at + struct.calcsize(self._count)
        return (begin, self._unpack(self._count, at)) if begin <= len(self._data) else (0, 0)

    def _entries(self, begin: int, entries: int) -> Iterator[tuple[int, int, int, bytes]]:
        size = struct.calcsize(self._entry)
        table = self._data[begin : begin + entries * size]
        yield from struct.iter_unpack(self._entry, table[: len(table) // size * size])

    def _values(self, kind: int, number: int, value: bytes) -> tuple[float, ...]:
        """Read the first values of an entry, which lie in the entry itself if they fit there."""
        layout = self._order + _TYPES[kind] * min(number, _MAX_VALUES)
        if struct.calcsize(self._order + _TYPES[kind]) * number > len(value):
            begin = int.from_bytes(value, "little" if self._order == "<" else "big")
            value = self._data[begin : begin + struct.calcsize(layout)]
        if len(value) < struct.calcsize(layout):
            return ()
        found = struct.unpack_from(layout, value)
        if kind == _RATIONAL:
            return tuple(above / below for above, below in zip(found[::2], found[1::2], strict=True) if below)
        return found

    def _unpack(self, layout: str, at: int) -> int:
        if at + struct.calcsize(layout) > len(self._data):
            return 0
        return int(struct.unpack_from(layout, self._data, at)[0])
