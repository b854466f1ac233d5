"""Modality and VOI transformations of DICOM values: lookup tables, rescaling and windows.

The steps are those of PS3.3 C.11.1 (modality) and C.11.2 (VOI). Tables are read as writers store them: with 8 to
16 bits for each entry, in bytes or in words.
"""

from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from fracture_edge.images.dicom_header import RESCALE, WINDOW, read_numbers

Numbers = npt.NDArray[np.generic]
Reals = npt.NDArray[np.float64]


class Table(NamedTuple):
    """Lookup table.

    Attributes:
        first: Value that the first entry is for; lower values get the first entry, those beyond the end the last.
        entries: Entries, [N], N at least 1.
    """

    first: int
    entries: Numbers

    def apply(self, values: Numbers) -> Reals:
        """Look values up."""
        index = np.clip(np.floor(values.astype(np.float64)) - self.first, 0, len(self.entries) - 1)
        found: Reals = self.entries[index.astype(np.int64)].astype(np.float64)
        return found


class Window(NamedTuple):
    """Window whose lower end is shown black, 0, and whose upper end white, 1.

    Attributes:
        centre: Centre, in values after the modality transformation.
        width: Width, above 0.
        function: VOI LUT function: ``LINEAR``, ``LINEAR_EXACT`` or ``SIGMOID``.
    """

    centre: float
    width: float
    function: str

    def apply(self, values: Numbers) -> Reals:
        """Scale values to 0 to 1."""
        centre, width = self.centre, self.width
        if self.function == "SIGMOID":
            with np.errstate(over="ignore"):
                return np.asarray(1 / (1 + np.exp(-4 * (values.astype(np.float64) - centre) / width)))
        # A linear window under 1 can only be meant exactly: values are fractions then.
        if self.function == "LINEAR" and width >= 1:
            centre, width = centre - 0.5, width - 1
        distance = values.astype(np.float64) - centre
        if width == 0:
            return np.asarray(distance > 0, np.float64)
        return np.clip(distance / width + 0.5, 0, 1)


@dataclass(frozen=True, slots=True)
class Display:
    """Transformation of stored values to those that a display would show.

    Attributes:
        modality: Modality table, if there is one.
        slope: Rescale slope, for values without a modality table.
        intercept: Rescale intercept.
        voi: VOI table or window, if there is one.
    """

    modality: Table | None
    slope: float
    intercept: float
    voi: Table | Window | None

    @classmethod
    def from_header(cls, header: Any) -> "Display":
        """Read the transformation of a frame.

        Args:
            header: Header of the frame, from `fracture_edge.images.dicom_header.frame_header`.
        """
        signed = header.PixelRepresentation == 1
        little_endian = header.original_encoding[1] is not False
        modality = _read_table(header.get("ModalityLUTSequence"), signed, little_endian)
        slope, intercept = (next(iter(read_numbers(header, keyword)), None) for keyword in RESCALE)
        slope = slope or 1.0
        intercept = intercept or 0.0
        signed = modality is None and (signed or intercept < 0 or slope < 0)
        voi = _read_table(header.get("VOILUTSequence"), signed, little_endian)
        return cls(modality, slope, intercept, voi or _read_window(header))

    def apply(self, values: Numbers) -> Reals:
        """Transform stored values, of any shape."""
        if self.modality is not None:
            shown = self.modality.apply(values)
        else:
            shown = values.astype(np.float64) * self.slope + self.intercept
        return shown if self.voi is None else self.voi.apply(shown)


def _read_window(header: Any) -> Window | None:
    """Read the first window; ``None`` if its width is not above 0, which no viewer could use."""
    centre, width = (next(iter(read_numbers(header, keyword)), None) for keyword in WINDOW)
    if centre is None or width is None or width <= 0:
        return None
    return Window(centre, width, str(header.get("VOILUTFunction", "LINEAR")))


def _read_table(sequence: Any, signed: bool, little_endian: bool) -> Table | None:
    """Read the table of the first item of a sequence; ``None`` if it is absent or incomplete."""
    for item in (sequence or [])[:1]:
        descriptor = [int(value) for value in read_numbers(item, "LUTDescriptor")]
        if len(descriptor) < 3 or "LUTData" not in item:
            return None
        # Numbers that are written as signed, and a first value that is written as unsigned though it is negative.
        size, first, bits = descriptor[0] & 0xFFFF or 1 << 16, descriptor[1] & 0xFFFF, descriptor[2] & 0xFFFF
        if signed and first >= 1 << 15:
            first -= 1 << 16
        entries = _read_entries(item["LUTData"].value, size, bits, little_endian)
        return Table(first, entries) if entries.size else None
    return None


def _read_entries(value: Any, size: int, bits: int, little_endian: bool) -> Numbers:
    """Read the entries of a table, which are words, or two to a word if they have at most 8 bits."""
    if isinstance(value, bytes):
        if bits <= 8 and len(value) <= size + 1:
            return np.frombuffer(value, np.uint8)[:size]
        return np.frombuffer(value[: len(value) // 2 * 2], "<u2" if little_endian else ">u2")[:size]
    words = np.atleast_1d(np.asarray(value, np.int64) & 0xFFFF).astype("<u2")
    if bits <= 8 and len(words) <= (size + 1) // 2 and size > 1:
        return words.view(np.uint8)[:size]
    return words[:size]
