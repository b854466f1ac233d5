"""Detection, from the content of an image file, that it is complete.

A copy over a network may reserve the size first, stall for seconds, write pieces out of order and set the time
at the end, so that size and time say nothing. Formats with checksums or an end mark tell whether the end is there;
the others tell only where their pixels lie in the file. Data that has not arrived reads as zeros.
"""

import hashlib
import io
import re
import struct
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from fracture_edge.images.formats import sniff
from fracture_edge.images.image_file import DICOM_START, has_dicom_prefix
from fracture_edge.images.quiet import quiet

#: Length of a run of zeros that may be data that has not arrived: systems write files in pages of this size.
_PAGE = 4096
#: Number of bytes at the end of a file that are not all zero if its end has arrived; some formats end in 4 zeros.
_TAIL = 8
#: First byte after 0xff of a JPEG marker; 0x00 is a stuffed byte, 0xd0 to 0xd7 are restart markers.
_JPEG_MARKER = re.compile(rb"\xff+([^\x00\xd0-\xd7\xff])")
_END_OF_IMAGE, _TEMPORARY = 0xD9, 0x01
#: Maximum number of directories in a TIFF file that are looked at.
_MOST_DIRECTORIES = 1000
#: Formats of the values of TIFF offsets and sizes, by type: SHORT, LONG, LONG8.
_TIFF_NUMBERS = {3: "H", 4: "I", 16: "Q"}
#: Tags of the offsets of strips and of tiles, and the tags of their sizes.
_TIFF_PIECES = {273: 279, 324: 325}
_PIXEL_DATA = (0x7FE00010, 0x7FE00008, 0x7FE00009)
_REPRESENTATIONS = (b"OB", b"OW", b"OF", b"OD", b"UN")
_ITEM, _END_OF_SEQUENCE = 0xFFFEE000, 0xFFFEE0DD
_UNDEFINED_LENGTH = 0xFFFFFFFF


class Content(NamedTuple):
    """Content of a file at one moment.

    Attributes:
        digest: Digest of the content, hexadecimal.
        complete: Whether the content shows that the file is complete. It may be complete if it is false.
    """

    digest: str
    complete: bool


def inspect(path: str, limit: int) -> Content:
    """Read a file, and find out whether it is complete.

    Args:
        path: Path of the file.
        limit: Maximum number of bytes to read. A larger file, which is refused anyway, counts as incomplete.

    Raises:
        OSError: The file cannot be read.
    """
    with Path(path).open("rb") as stream:
        data = stream.read(limit)
        cut = bool(stream.read(1))
    return Content(hashlib.blake2b(data, digest_size=16).hexdigest(), not cut and is_complete(data))


def is_complete(data: bytes) -> bool:
    """Return whether the content of an image file shows that the file is complete."""
    try:
        if has_dicom_prefix(data[:DICOM_START]):
            return _dicom(data) and not _has_gap(data)
        kind = sniff("", data)
        if kind == "PNG":
            # Every byte is under a checksum, zeros too.
            return _png(data)
        return _COMPLETE[kind](data) and not _has_gap(data)
    except Exception:
        # Whatever is wrong with the file, reading it will report it.
        return False


def _has_gap(data: bytes) -> bool:
    """Return whether a part may not have arrived yet; a black border of uncompressed pixels looks the same."""
    return bytes(_PAGE) in data or not any(data[-_TAIL:])


def _png(data: bytes) -> bool:
    """Check the checksum of every chunk up to IEND (PNG specification, section 5)."""
    at = 8
    while at + 12 <= len(data):
        length, kind = struct.unpack_from(">I4s", data, at)
        end = at + 8 + length
        if end + 4 > len(data) or zlib.crc32(data[at + 4 : end]) != struct.unpack_from(">I", data, end)[0]:
            return False
        if kind == b"IEND":
            return True
        at = end + 4
    return False


def _jpeg(data: bytes) -> bool:
    """Follow the markers to EOI; a thumbnail with an EOI of its own lies within a segment."""
    at = 2
    while found := _JPEG_MARKER.search(data, at):
        marker, at = found[1][0], found.end()
        if marker == _END_OF_IMAGE:
            return True
        # All other markers here have a length.
        at += 0 if marker == _TEMPORARY else struct.unpack_from(">H", data, at)[0]
    return False


def _bmp(data: bytes) -> bool:
    return bool(len(data) >= struct.unpack_from("<I", data, 2)[0] > 14)


def _webp(data: bytes) -> bool:
    return bool(len(data) >= struct.unpack_from("<I", data, 4)[0] + 8 > 8)


def _heic(data: bytes) -> bool:
    """Follow the boxes to the end of the file (ISO/IEC 14496-12, section 4.2)."""
    at, kinds = 0, set()
    while at + 8 <= len(data):
        length, kind = struct.unpack_from(">I4s", data, at)
        if length == 1:
            (length,) = struct.unpack_from(">Q", data, at + 8)
        if length < 8:
            return False
        kinds.add(kind)
        at += length
    return at == len(data) and {b"meta", b"mdat"} <= kinds


def _tiff(data: bytes) -> bool:
    """Check that all strips and tiles of all directories lie in the file (TIFF 6.0, section 2; BigTIFF)."""
    order = "<" if data[:2] == b"II" else ">"
    big = 43 in data[2:4]
    (at,) = struct.unpack_from(order + ("Q" if big else "I"), data, 8 if big else 4)
    directories = 0
    while at and directories < _MOST_DIRECTORIES:
        (entries,) = struct.unpack_from(order + ("Q" if big else "H"), data, at)
        at += 8 if big else 2
        size = 20 if big else 12
        numbers: dict[int, tuple[int, ...]] = {}
        for entry in range(at, at + entries * size, size):
            tag, kind = struct.unpack_from(f"{order}HH", data, entry)
            if tag in _TIFF_PIECES or tag in _TIFF_PIECES.values():
                numbers[tag] = _tiff_numbers(data, entry + 4, order + _TIFF_NUMBERS[kind], order, big=big)
        for offsets, sizes in _TIFF_PIECES.items():
            pairs = zip(numbers.get(offsets, ()), numbers.get(sizes, ()), strict=True)
            if any(start + length > len(data) for start, length in pairs):
                return False
        if not numbers:
            return False
        (at,) = struct.unpack_from(order + ("Q" if big else "I"), data, at + entries * size)
        directories += 1
    return directories > 0


def _tiff_numbers(data: bytes, at: int, kind: str, order: str, *, big: bool) -> tuple[int, ...]:
    """Read the values of a directory entry, which lie in the entry itself if there is room."""
    (count,) = struct.unpack_from(order + ("Q" if big else "I"), data, at)
    at += 8 if big else 4
    if count * struct.calcsize(kind) > (8 if big else 4):
        (at,) = struct.unpack_from(order + ("Q" if big else "I"), data, at)
    if at + count * struct.calcsize(kind) > len(data):
        raise ValueError("the values lie outside the file")
    return struct.unpack_from(f"{kind[0]}{count}{kind[1]}", data, at)


def _dicom(data: bytes) -> bool:
    """Check that the pixel data has its length, or its end mark (PS3.5, sections 7.1 and A.4)."""
    import pydicom

    stream = io.BytesIO(data)
    with quiet():
        header = pydicom.dcmread(stream, force=True, stop_before_pixels=True, specific_tags=["Rows"])
    order = "<" if header.original_encoding[1] else ">"
    at = stream.tell()
    group, number = struct.unpack_from(f"{order}HH", data, at)
    if group << 16 | number not in _PIXEL_DATA:
        return False
    # In an implicit element the length follows the tag at once.
    at += 8 if data[at + 4 : at + 6] in _REPRESENTATIONS else 4
    (length,) = struct.unpack_from(f"{order}I", data, at)
    if length != _UNDEFINED_LENGTH:
        return bool(length and at + 4 + length <= len(data))
    return any(tag == _END_OF_SEQUENCE for tag in _items(data, at + 4))


def _items(data: bytes, at: int) -> Iterator[int]:
    """Yield the tags of the items of encapsulated pixel data."""
    while at + 8 <= len(data):
        group, number, length = struct.unpack_from("<HHI", data, at)
        tag = group << 16 | number
        yield tag
        if tag != _ITEM:
            return
        at += 8 + length


_COMPLETE = {"JPEG": _jpeg, "BMP": _bmp, "WEBP": _webp, "HEIC": _heic, "TIFF": _tiff}
