"""Header elements of a DICOM file that describe the pixels, read in spite of what writers get wrong.

Elements may be empty, codes in lower case or padded, decimals written with a comma, and single values repeated.
What cannot be read counts as absent, as it does for other readers (dcmtk, GDCM), and gets the default of the
standard.
"""

import math
from typing import Any

import numpy as np

#: Distances between pixels, or their ratio: vertical, then horizontal, in all of them (PS3.3 10.7.1.3,
#: C.7.6.3.1.7). The first that is stated counts; at the patient, at the detector, of a scanned film.
SPACINGS = ("PixelSpacing", "ImagerPixelSpacing", "NominalScannedPixelSpacing", "PixelAspectRatio")
#: Value that pads the image to a rectangle, and the other end of its range (PS3.3 C.7.5.1.1.2).
PADDING = ("PixelPaddingValue", "PixelPaddingRangeLimit")
RESCALE = ("RescaleSlope", "RescaleIntercept")
WINDOW = ("WindowCenter", "WindowWidth")
_VOI_FUNCTION = "VOILUTFunction"
_VOI_FUNCTIONS = frozenset({"LINEAR", "LINEAR_EXACT", "SIGMOID"})
_INTEGERS = (
    "SamplesPerPixel",
    "PlanarConfiguration",
    "Rows",
    "Columns",
    "BitsAllocated",
    "BitsStored",
    "HighBit",
    "PixelRepresentation",
)
_DECIMALS = (*RESCALE, *WINDOW, *SPACINGS, *PADDING)
#: Sequences in which an enhanced multi-frame object keeps elements that other objects have at the top level.
_MOVED = (
    ("PixelValueTransformationSequence", RESCALE),
    ("FrameVOILUTSequence", (*WINDOW, _VOI_FUNCTION)),
    ("PixelMeasuresSequence", ("PixelSpacing",)),
)
#: Value representations that hold numbers as text; unknown ones are those of the dictionary, which are text here.
_TEXT = frozenset({"DS", "IS", "LO", "SH", "CS", "UN", None})


def read_numbers(dataset: Any, keyword: str) -> list[float]:
    """Read the values of an element as numbers.

    Args:
        dataset: Dataset or item of a sequence.
        keyword: Keyword of the element.

    Returns:
        Finite values, in order; none if the element is absent, empty, or contains no number.
    """
    from pydicom.datadict import dictionary_VR, tag_for_keyword

    tag = tag_for_keyword(keyword)
    if tag is None or tag not in dataset:
        return []
    element = dataset.get_item(tag)
    value = element.value
    known = dictionary_VR(tag)
    if isinstance(value, bytes) and element.VR in _TEXT and known in _TEXT:
        return _parse(value.decode("latin-1"))
    try:
        value = dataset[tag].value
    except Exception:
        # pydicom raises errors of many types here, and the value is none in any case.
        return []
    if isinstance(value, bytes):
        value = np.frombuffer(value[: len(value) // 2 * 2], "<u2").tolist()
    values = value if isinstance(value, (list, tuple)) or hasattr(value, "append") else [value]
    return [number for one in values for number in _parse(str(one))]


def _parse(text: str) -> list[float]:
    found = []
    for part in text.split("\\"):
        try:
            number = float(part.strip(" \0").replace(",", "."))
        except ValueError:
            continue
        if math.isfinite(number):
            found.append(number)
    return found


def clean(header: Any) -> None:
    """Replace the elements that describe the pixels by what can be read of them, in place, and add defaults.

    Args:
        header: Dataset whose elements have not been converted.
    """
    for keyword in _INTEGERS:
        _replace(header, keyword, "US", [int(value) for value in read_numbers(header, keyword)[:1] if value >= 0])
    frames = [int(value) for value in read_numbers(header, "NumberOfFrames")[:1]]
    _replace(header, "NumberOfFrames", "IS", frames)
    _clean_values(header, header)
    interpretation = read_code(header, "PhotometricInterpretation")
    _replace(header, "PhotometricInterpretation", "CS", [interpretation] if interpretation else [])
    _fill_defaults(header)


def _clean_values(source: Any, target: Any, keywords: tuple[str, ...] = (*_DECIMALS, _VOI_FUNCTION)) -> None:
    for keyword in keywords:
        if keyword == _VOI_FUNCTION:
            code = read_code(source, keyword)
            _replace(target, keyword, "CS", [code] if code in _VOI_FUNCTIONS else [])
        else:
            # As floating-point numbers: decimal strings have a limited length.
            _replace(target, keyword, "FD", read_numbers(source, keyword))


def _replace(dataset: Any, keyword: str, representation: str, values: list[Any]) -> None:
    from pydicom.datadict import tag_for_keyword

    tag = tag_for_keyword(keyword)
    if tag in dataset:
        del dataset[tag]
    if values:
        dataset.add_new(tag, representation, values if len(values) > 1 else values[0])


def read_code(dataset: Any, keyword: str) -> str:
    """Read the first value of an element as a code in upper case; empty if it is absent or cannot be read."""
    try:
        value = dataset.get(keyword)
    except Exception:
        return ""
    first = value if isinstance(value, str) else next(iter(value or ()), "")
    return str(first).strip(" \0").upper()


def _fill_defaults(header: Any) -> None:
    """Add missing elements that have only one likely value."""
    samples = int(header.setdefault("SamplesPerPixel", 1).value or 1)
    header.SamplesPerPixel = samples
    header.setdefault("PhotometricInterpretation", "MONOCHROME2" if samples == 1 else "RGB")
    if header.get("PixelRepresentation") not in (0, 1):
        header.PixelRepresentation = 0
    if samples > 1 and header.get("PlanarConfiguration") not in (0, 1):
        header.PlanarConfiguration = 0
    if "BitsAllocated" in header:
        allocated = int(header.BitsAllocated)
        high = int(header.get("HighBit", allocated - 1))
        if not header.get("BitsStored"):
            header.BitsStored = high + 1 if high < allocated else allocated
        if not int(header.BitsStored) - 1 <= high < allocated:
            high = int(header.BitsStored) - 1
        header.HighBit = max(0, high)


def frame_header(header: Any, frame: int) -> Any:
    """Return a copy of a header with the elements of one frame, which override those shared by all frames.

    Args:
        header: Header after `clean`.
        frame: Index of the frame in the file, from 0.
    """
    shown = header.copy()
    per_frame = header.get("PerFrameFunctionalGroupsSequence") or []
    for group in [*(header.get("SharedFunctionalGroupsSequence") or [])[:1], *per_frame[frame : frame + 1]]:
        for sequence, keywords in _MOVED:
            for item in (group.get(sequence) or [])[:1]:
                _clean_values(item, shown, tuple(keyword for keyword in keywords if keyword in item))
    return shown
