"""Conversion of stored DICOM values to display grey: modality LUT, VOI LUT or window, MONOCHROME1 inversion.

The steps are those of DICOM PS3.3 C.11.1 (modality), C.11.2 (VOI) and C.7.6.3.1.2 (photometric interpretation).
"""

from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt

from fracture_edge.errors import ImageFormatError
from fracture_edge.images.dicom_frames import StoredFrame
from fracture_edge.images.grey import array_to_grey, stretch, stretch_rows

Grey = npt.NDArray[np.uint8]
Numbers = npt.NDArray[np.generic]

_GREY = ("MONOCHROME1", "MONOCHROME2")
_WINDOW = ("WindowCenter", "WindowWidth", "VOILUTFunction")
#: Sequences in which an enhanced multi-frame object keeps elements that other objects have at the top level.
_MOVED = (
    ("PixelValueTransformationSequence", ("RescaleSlope", "RescaleIntercept")),
    ("FrameVOILUTSequence", _WINDOW),
)


def fill_defaults(header: Any) -> None:
    """Add missing header elements that have only one likely value, in place."""
    samples = int(header.setdefault("SamplesPerPixel", 1).value or 1)
    header.setdefault("PhotometricInterpretation", "MONOCHROME2" if samples == 1 else "RGB")
    header.setdefault("PixelRepresentation", 0)
    if samples > 1:
        header.setdefault("PlanarConfiguration", 0)
    if "BitsAllocated" in header:
        header.setdefault("BitsStored", header.BitsAllocated)
        header.setdefault("HighBit", header.BitsStored - 1)


def to_grey(name: str, header: Any, stored: StoredFrame, frame: int) -> Grey:
    """Convert the stored values of one frame to grey levels for display, with dense material bright.

    Args:
        name: Name of the file in messages.
        header: Dataset that describes the pixels.
        stored: Stored values of the frame, of 8 to 64 bit.
        frame: Index of the frame in the file, from 0.

    Returns:
        Grey image, uint8 [H, W].

    Raises:
        ImageFormatError: The photometric interpretation is not supported.
    """
    from pydicom import pixels

    values, interpretation, unused = stored
    if interpretation == "PALETTE COLOR":
        look_up = _tabulated(values, lambda part: pixels.apply_color_lut(_drop_unused(part, unused), header))
        return array_to_grey(stretch_rows(lambda top, bottom: look_up(values[top:bottom]), (*values.shape[:2], 3)))
    if interpretation == "RGB" and values.ndim == 3:
        return array_to_grey(values)
    if interpretation.startswith("YBR_FULL") and values.ndim == 3:
        # The first component is the luma that RGB would be converted to (PS3.3 C.7.6.3.1.2).
        return array_to_grey(values[..., 0])
    if interpretation not in _GREY or values.ndim != 2:
        raise ImageFormatError(name, "this DICOM photometric interpretation is not supported")
    shown = _frame_header(header, frame)

    def show(part: Numbers) -> Numbers:
        modality = pixels.apply_modality_lut(_drop_unused(part, unused), shown)
        seen: Numbers = pixels.apply_voi_lut(modality, shown, index=0)
        return seen

    # The window clips values outside of it; the remaining range is the one that a display would show.
    grey = stretch(values, _tabulated(values, show))
    inverted = (interpretation == "MONOCHROME1") != _window_is_inverted(shown)
    return np.invert(grey, out=grey) if inverted else grey


def _drop_unused(part: Numbers, unused: int) -> Numbers:
    """Drop the `unused` highest bits of values; the sign is that of the highest remaining bit."""
    return part << unused >> unused if unused > 0 else part  # type: ignore[operator]


def _tabulated(values: Numbers, show: Callable[[Numbers], Numbers]) -> Callable[[Numbers], Numbers]:
    """Replace `show` by a lookup table for `values` of at most 16 bits; return it unchanged for others.

    `show` reads its tables at each call and computes in double precision; with the table it runs once for each of
    the at most 65,536 different values.
    """
    if values.dtype.kind not in "iu" or values.dtype.itemsize > 2:
        return show
    low = int(values.min())
    table = show(np.arange(low, int(values.max()) + 1).astype(values.dtype))
    return lambda part: table[part.astype(np.int32) - low]


def _frame_header(header: Any, frame: int) -> Any:
    """Return the header with the elements of one frame, which override those shared by all frames."""
    shown = header.copy()
    per_frame = header.get("PerFrameFunctionalGroupsSequence") or []
    for group in [*(header.get("SharedFunctionalGroupsSequence") or [])[:1], *per_frame[frame : frame + 1]]:
        for sequence, keywords in _MOVED:
            for item in (group.get(sequence) or [])[:1]:
                for keyword in keywords:
                    if keyword in item:
                        setattr(shown, keyword, item[keyword].value)
    if not _window_is_usable(shown):
        for keyword in _WINDOW:
            shown.pop(keyword, None)
    return shown


def _window_is_usable(shown: Any) -> bool:
    """Return whether the first window has a width that its function allows; viewers ignore any other."""
    first = [np.atleast_1d(shown.get(keyword)).tolist()[:1] for keyword in _WINDOW[:2]]
    if not all(first) or None in (first[0][0], first[1][0]):
        return False
    least = 1 if shown.get("VOILUTFunction", "LINEAR") == "LINEAR" else np.finfo(float).tiny
    return float(first[1][0]) >= least and bool(np.isfinite(float(first[0][0])))


def _window_is_inverted(shown: Any) -> bool:
    """Return whether pydicom's window inverts the values, as it does if the rescale slope is negative."""
    windowed = "WindowCenter" in shown and not shown.get("VOILUTSequence")
    return windowed and float(shown.get("RescaleSlope", 1)) < 0
