"""Headers of JPEG, JPEG-LS and JPEG 2000 codestreams, read before any decoder relies on them."""

import struct
from collections.abc import Iterator
from typing import NamedTuple

_START_OF_IMAGE, _END_OF_IMAGE, _START_OF_SCAN, _JPEG_LS_FRAME = 0xD8, 0xD9, 0xDA, 0xF7
#: SOF0 to SOF15 without the three codes in between that have another meaning (ITU-T T.81, table B.1).
FRAMES = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC} | {_JPEG_LS_FRAME}
PROGRESSIVE = frozenset({0xC2, 0xC6, 0xCA, 0xCE})
#: Sequential frames, and all that are coded by a discrete cosine transformation with Huffman codes.
_SEQUENTIAL, TRANSFORMED = frozenset({0xC0, 0xC1}), frozenset({0xC0, 0xC1, 0xC2})
LOSSLESS = frozenset({0xC3, 0xC7, 0xCB, 0xCF})
_JFIF = 0xE0
#: Markers without a length: restart markers, TEM and SOI.
_ALONE = frozenset({0x01, _START_OF_IMAGE, *range(0xD0, 0xD8)})
_JPEG_2000 = b"\xff\x4f\xff\x51"


class Codestream(NamedTuple):
    """Header of a codestream.

    Attributes:
        width: Width in pixels.
        height: Height in pixels.
        components: Number of components.
        by_rows: Whether rows can be decoded as they come, without keeping coefficients for later scans.
        precision: Bits of a sample.
        is_jpeg: Whether it is JPEG with a discrete cosine transformation.
        has_luma: Whether the first of three components is luma: by the JFIF segment, or because the others have
            fewer samples or another quantisation.
        other: Name of the coding if it is lossless; empty for all others.
    """

    width: int
    height: int
    components: int
    by_rows: bool
    precision: int = 8
    is_jpeg: bool = False
    has_luma: bool = False
    other: str = ""


def read_header(data: bytes) -> Codestream | None:
    """Read the header of a codestream.

    Args:
        data: JPEG, JPEG-LS or JPEG 2000 codestream; JPEG 2000 with or without its file format.

    Returns:
        Header, or ``None`` if there is none.
    """
    if data[:2] == b"\xff\xd8":
        return _jpeg(data)
    start = data.find(_JPEG_2000, 0, 4096)
    if start < 0 or len(data) < start + 43:
        return None
    # ITU-T T.800, A.5.1: size of the reference grid, offset of the image in it, tiles, number of components.
    right, bottom, left, top = struct.unpack_from(">4I", data, start + 8)
    components, precision = struct.unpack_from(">HB", data, start + 40)
    return Codestream(right - left, bottom - top, components, False, (precision & 0x7F) + 1)


def complete_scan(data: bytes) -> bytes:
    """Mend the header of the scan of a sequential JPEG image that leaves out the spectral selection.

    Old encoders wrote an end of 0, where ITU-T T.81, table B.3, asks for 63; a strict decoder refuses it.

    Args:
        data: Codestream of any kind.

    Returns:
        Codestream with 63 in place of 0; the same object if there is nothing to mend.
    """
    sequential = False
    for code, body, _ in _segments(data) if data[:2] == b"\xff\xd8" else ():
        if code in FRAMES:
            sequential = code in _SEQUENTIAL
        if code == _START_OF_SCAN and sequential and body < len(data):
            end = body + 2 + 2 * data[body]
            if data[end - 1 : end + 1] == b"\0\0":
                return data[:end] + b"\x3f" + data[end + 1 :]
    return data


def _segments(data: bytes) -> Iterator[tuple[int, int, int]]:
    """Yield code, begin and end of the content of each segment of a JPEG header; the first scan is the last."""
    position = 2
    while (position := data.find(b"\xff", position)) >= 0 and position + 4 <= len(data):
        code = data[position + 1]
        if code in (0x00, 0xFF) or code in _ALONE:
            position += 1 if code == 0xFF else 2
            continue
        end = position + 2 + int.from_bytes(data[position + 2 : position + 4], "big")
        yield code, position + 4, end
        if code in (_START_OF_SCAN, _END_OF_IMAGE):
            return
        position = end


def _jpeg(data: bytes) -> Codestream | None:
    frame: Codestream | None = None
    is_jfif = False
    for code, body, _ in _segments(data):
        if code == _JFIF:
            is_jfif |= data[body : body + 5] == b"JFIF\0"
        if code in FRAMES and body + 6 <= len(data):
            precision, height, width, components = struct.unpack_from(">BHHB", data, body)
            # Identifier, sampling factors and quantisation table of each component.
            described = [data[at + 1 : at + 3] for at in range(body + 6, body + 6 + 3 * components, 3)]
            frame = Codestream(
                width,
                height,
                components,
                code not in PROGRESSIVE,
                precision,
                code in TRANSFORMED,
                components == 3 and (is_jfif or len(set(described)) > 1),
                "JPEG-LS" if code == _JPEG_LS_FRAME else "lossless JPEG" if code in LOSSLESS else "",
            )
        if code == _START_OF_SCAN and frame and body < len(data) and data[body] < frame.components:
            # Each component has a scan of its own.
            frame = frame._replace(by_rows=False)
    return frame
