"""Conversion of stored DICOM values to display grey: modality, VOI, padding, MONOCHROME1 inversion.

The photometric interpretations are those of DICOM PS3.3 C.7.6.3.1.2.
"""

from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt

from fracture_edge.errors import ImageFormatError
from fracture_edge.images.aspect import pixel_aspect
from fracture_edge.images.dicom_frames import StoredFrame
from fracture_edge.images.dicom_header import PADDING, SPACINGS, frame_header, read_numbers
from fracture_edge.images.dicom_luts import Display
from fracture_edge.images.grey import (
    array_to_grey,
    has_few_values,
    stretch_counted,
    stretch_rows,
    strips,
    table_of,
)

Grey = npt.NDArray[np.uint8]
Numbers = npt.NDArray[np.generic]
Mask = npt.NDArray[np.bool_]

_GREY = ("MONOCHROME1", "MONOCHROME2")
NOT_SUPPORTED = "this DICOM photometric interpretation is not supported"


def is_supported(interpretation: str) -> bool:
    """Return whether pixels of a photometric interpretation may be converted; decoders do not know the others."""
    return interpretation in (*_GREY, "PALETTE COLOR", "RGB") or interpretation.startswith("YBR_")


def to_grey(name: str, header: Any, stored: StoredFrame, frame: int) -> Grey:
    """Convert the stored values of one frame to grey levels for display, with dense material bright.

    Args:
        name: Name of the file in messages.
        header: Dataset that describes the pixels.
        stored: Stored values of the frame, of 8 to 64 bit.
        frame: Index of the frame in the file, from 0.

    Returns:
        Grey image, uint8 [H, W]; padding is black.

    Raises:
        ImageFormatError: The photometric interpretation is not supported.
    """
    from pydicom import pixels

    values, interpretation = stored.values, stored.interpretation
    if interpretation == "PALETTE COLOR":
        look_up = _tabulated(values, lambda part: pixels.apply_color_lut(stored.used_bits(part), header))
        shape = (*values.shape[:2], 3)
        return array_to_grey(stretch_rows(lambda top, bottom: look_up(values[top:bottom]), shape, robust=False))
    if interpretation == "RGB" and values.ndim == 3:
        return array_to_grey(values)
    if interpretation.startswith("YBR_FULL") and values.ndim == 3:
        # The first component is the luma that RGB would be converted to (PS3.3 C.7.6.3.1.2).
        return array_to_grey(values[..., 0])
    if interpretation not in _GREY or values.ndim != 2:
        raise ImageFormatError(name, NOT_SUPPORTED)
    return _monochrome(frame_header(header, frame), stored, inverted=interpretation == "MONOCHROME1")


def dicom_aspect(header: Any, frame: int) -> float:
    """Return the height of a pixel divided by its width, from the first spacing that the header states.

    Args:
        header: Dataset that describes the pixels.
        frame: Index of the frame in the file, from 0.

    Returns:
        Aspect ratio; 1.0 if none is stated.
    """
    shown = frame_header(header, frame)
    for keyword in SPACINGS:
        found = read_numbers(shown, keyword)
        if len(found) >= 2 and min(found[:2]) > 0:
            return pixel_aspect(*found[:2])
    return 1.0


def _monochrome(shown: Any, stored: StoredFrame, *, inverted: bool) -> Grey:
    """Convert grey values; their range is robust unless a window or a VOI table has set it."""
    display = Display.from_header(shown)
    robust = display.voi is None
    values, is_padding = stored.values, _padding(shown, stored)

    def table(levels: npt.NDArray[np.int32], counts: npt.NDArray[np.int64]) -> Grey:
        part = levels.astype(values.dtype)
        padded = is_padding(part)
        grey = table_of(display.apply(stored.used_bits(part)), np.where(padded, 0, counts), robust=robust)
        return _finish(grey, padded, inverted)

    def rows(top: int, bottom: int) -> Numbers:
        return values[top:bottom]

    if has_few_values(values):
        return stretch_counted(rows, values.shape, table)

    def shown_rows(top: int, bottom: int) -> Numbers:
        part = values[top:bottom]
        # NaN is no part of the range.
        return np.where(is_padding(part), np.nan, display.apply(stored.used_bits(part)))

    grey = stretch_rows(shown_rows, values.shape, robust=robust)
    for top, bottom in strips(values.shape):
        _finish(grey[top:bottom], is_padding(values[top:bottom]), inverted)
    return grey


def _finish(grey: Grey, padded: Mask, inverted: bool) -> Grey:
    if inverted:
        np.invert(grey, out=grey)
    grey[padded] = 0
    return grey


def _padding(shown: Any, stored: StoredFrame) -> Callable[[Numbers], Mask]:
    """Return a function that tells which stored values are padding, and not part of the picture."""
    found = [number for keyword in PADDING for number in read_numbers(shown, keyword)[:1]]
    kind = stored.values.dtype
    if not found or kind.kind not in "iu" or not read_numbers(shown, PADDING[0]):
        return lambda part: np.zeros(part.shape, np.bool_)
    # The value may be written as unsigned for signed pixels, or the other way round.
    size = 8 * kind.itemsize
    ends = [int(number) & ((1 << size) - 1) for number in found]
    if kind.kind == "i":
        ends = [end - (1 << size) if end >> (size - 1) else end for end in ends]
    low, high = min(ends), max(ends)

    def is_padding(part: Numbers) -> Mask:
        # With or without the bits that the pixels do not use.
        found = np.zeros(part.shape, np.bool_)
        for values in (part.astype(np.int64), stored.used_bits(part).astype(np.int64)):
            found |= (values >= low) & (values <= high)
        return found

    return is_padding


def _tabulated(values: Numbers, show: Callable[[Numbers], Numbers]) -> Callable[[Numbers], Numbers]:
    """Replace `show` by a lookup table for `values` of at most 16 bits; return it unchanged for others.

    `show` reads its tables at each call; with the table it runs once for each of the at most 65,536 different
    values.
    """
    if not has_few_values(values):
        return show
    low = int(values.min())
    table = show(np.arange(low, int(values.max()) + 1).astype(values.dtype))
    return lambda part: table[part.astype(np.int32) - low]
