"""What a JPEG, JPEG-LS or JPEG 2000 codestream says of itself, read before a decoder believes it."""

import struct
from typing import NamedTuple

_START_OF_IMAGE, _END_OF_IMAGE, _START_OF_SCAN, _JPEG_LS_FRAME = 0xD8, 0xD9, 0xDA, 0xF7
#: SOF0 to SOF15 without the three codes in between that mean something else (ITU-T T.81, table B.1).
_FRAMES = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC} | {_JPEG_LS_FRAME}
_PROGRESSIVE = frozenset({0xC2, 0xC6, 0xCA, 0xCE})
#: Restart markers, TEM and SOI stand alone, without a length.
_ALONE = frozenset({0x01, _START_OF_IMAGE, *range(0xD0, 0xD8)})
_JPEG_2000 = b"\xff\x4f\xff\x51"


class Codestream(NamedTuple):
    """A codestream's size in pixels, its components, and whether each row can be decoded as it comes."""

    width: int
    height: int
    components: int
    by_rows: bool


def describe(data: bytes) -> Codestream | None:
    """Read the header of a codestream.

    Args:
        data: JPEG, JPEG-LS or JPEG 2000, the last with or without its file format around it.

    Returns:
        What it says, or ``None`` where there is no such header.
    """
    if data[:2] == b"\xff\xd8":
        return _jpeg(data)
    start = data.find(_JPEG_2000, 0, 4096)
    if start < 0 or len(data) < start + 42:
        return None
    # ITU-T T.800, A.5.1: reference grid, offset of the image in it, and after the tiles the components.
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
                # Each component comes in a scan of its own.
                frame = frame._replace(by_rows=False)
            return frame
        position += 2 + int.from_bytes(data[position + 2 : position + 4], "big")
    return frame
