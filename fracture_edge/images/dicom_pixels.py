"""Stored DICOM values as radiology shows them: modality LUT, VOI LUT or window, then MONOCHROME1 inversion.

PS3.3 C.11.1 (modality), C.11.2 (VOI), C.7.6.3.1.2 (photometric interpretation).
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
#: Where an enhanced multi-frame object keeps what a plain one has at its top.
_MOVED = (
    ("PixelValueTransformationSequence", ("RescaleSlope", "RescaleIntercept")),
    ("FrameVOILUTSequence", _WINDOW),
)


def complete(header: Any) -> None:
    """Fill in what a header leaves out and only one value is likely for."""
    samples = int(header.setdefault("SamplesPerPixel", 1).value or 1)
    header.setdefault("PhotometricInterpretation", "MONOCHROME2" if samples == 1 else "RGB")
    header.setdefault("PixelRepresentation", 0)
    if samples > 1:
        header.setdefault("PlanarConfiguration", 0)
    if "BitsAllocated" in header:
        header.setdefault("BitsStored", header.BitsAllocated)
        header.setdefault("HighBit", header.BitsStored - 1)


def display(name: str, header: Any, stored: StoredFrame, frame: int) -> Grey:
    """Show one frame on a grey display, bright is dense.

    Args:
        name: What messages call the file.
        header: The dataset that describes the pixels.
        stored: The frame's values, of 8 to 64 bit.
        frame: Which of the file's frames it is, from 0.

    Returns:
        uint8 [H, W].

    Raises:
        ImageFormatError: The photometric interpretation is none that is known here.
    """
    from pydicom import pixels

    values, interpretation, unused = stored
    if interpretation == "PALETTE COLOR":
        look_up = _tabulated(values, lambda part: pixels.apply_color_lut(_used(part, unused), header))
        return array_to_grey(stretch_rows(lambda top, bottom: look_up(values[top:bottom]), (*values.shape[:2], 3)))
    if interpretation == "RGB" and values.ndim == 3:
        return array_to_grey(values)
    if interpretation.startswith("YBR_FULL") and values.ndim == 3:
        # Its first component is the luma that RGB would be turned into (PS3.3 C.7.6.3.1.2).
        return array_to_grey(values[..., 0])
    if interpretation not in _GREY or values.ndim != 2:
        raise ImageFormatError(name, "a DICOM file with a photometric interpretation that is not supported")
    shown = _of_frame(header, frame)

    def show(part: Numbers) -> Numbers:
        modality = pixels.apply_modality_lut(_used(part, unused), shown)
        seen: Numbers = pixels.apply_voi_lut(modality, shown, index=0)
        return seen

    # The window saturates what lies outside of it; what is left is the range a display would show.
    grey = stretch(values, _tabulated(values, show))
    inverted = (interpretation == "MONOCHROME1") != _window_turned_round(shown)
    return np.invert(grey, out=grey) if inverted else grey


def _used(part: Numbers, unused: int) -> Numbers:
    """The values without their highest bits, the sign taken from the highest of those that are left."""
    return part << unused >> unused if unused > 0 else part  # type: ignore[operator]


def _tabulated(values: Numbers, show: Callable[[Numbers], Numbers]) -> Callable[[Numbers], Numbers]:
    """The same as `show` for parts of `values`, which reads its tables anew and counts in double precision.

    Where there are at most 65,536 different values it need do that once for each of them.
    """
    if values.dtype.kind not in "iu" or values.dtype.itemsize > 2:
        return show
    low = int(values.min())
    table = show(np.arange(low, int(values.max()) + 1).astype(values.dtype))
    return lambda part: table[part.astype(np.int32) - low]


def _of_frame(header: Any, frame: int) -> Any:
    """What is to be done with the values of one frame: its own description before the one shared by all."""
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
    """Whether there is a first window of a width that its function allows; viewers ignore any other."""
    first = [np.atleast_1d(shown.get(keyword)).tolist()[:1] for keyword in _WINDOW[:2]]
    if not all(first) or None in (first[0][0], first[1][0]):
        return False
    least = 1 if shown.get("VOILUTFunction", "LINEAR") == "LINEAR" else np.finfo(float).tiny
    return float(first[1][0]) >= least and bool(np.isfinite(float(first[0][0])))


def _window_turned_round(shown: Any) -> bool:
    """Whether pydicom's window came out inverted, as it does where the rescale slope is negative."""
    windowed = "WindowCenter" in shown and not shown.get("VOILUTSequence")
    return windowed and float(shown.get("RescaleSlope", 1)) < 0
