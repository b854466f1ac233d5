"""Headers of JPEG, JPEG-LS and JPEG 2000 codestreams, read before any decoder relies on them."""

import struct
from typing import NamedTuple

_START_OF_IMAGE, _END_OF_IMAGE, _START_OF_SCAN, _JPEG_LS_FRAME = 0xD8, 0xD9, 0xDA, 0xF7
#: SOF0 to SOF15 without the three codes in between that have another meaning (ITU-T T.81, table B.1).
_FRAMES = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC} | {_JPEG_LS_FRAME}
_PROGRESSIVE = frozenset({0xC2, 0xC6, 0xCA, 0xCE})
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
    """

    width: int
    height: int
    components: int
    by_rows: bool


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
    if start < 0 or len(data) < start + 42:
        return None
    # ITU-T T.800, A.5.1: size of the reference grid, offset of the image in it, tiles, number of components.
    right, bottom, left, top = struct.unpack_from(">4I", data, start + 8)
    (components,) = struct.unpack_from(">H", data, start + 40)
    return Codestream(right - left, bottom - top, components, False)


def _jpeg(data: bytes) -> Codestream | None:
    frame: Codestream | None = None
    position = 2
    while (position := data.find(b"\xff", position)) >= 0 and position + 4 <= len(data):
        code = data[position + 1]
        if code in (0x00, 0xFF) or code in _ALONE:
            position += 1 if code == 0xFF else 2
            continue
        body = position + 4
        if code in _FRAMES and body + 6 <= len(data):
            height, width, components = struct.unpack_from(">xHHB", data, body)
            frame = Codestream(width, height, components, code not in _PROGRESSIVE)
        if code in (_START_OF_SCAN, _END_OF_IMAGE):
            if frame and body < len(data) and data[body] < frame.components:
                # Each component has a scan of its own.
                frame = frame._replace(by_rows=False)
            return frame
        position += 2 + int.from_bytes(data[position + 2 : position + 4], "big")
    return frame
