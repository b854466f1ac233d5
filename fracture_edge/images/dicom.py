"""DICOM files: read the header, and decode frames one at a time to grey.

Needs pydicom (`pip install 'fracture-edge[dicom]'`). Only the header elements that describe the pixels and the
body part are read (`_WANTED`), none is stored, and messages never contain text from pydicom, whose errors quote
header values.
"""

import io
import struct
import zlib

import numpy as np
import numpy.typing as npt

from fracture_edge.errors import ImageCorruptError, ImageError, ImageFormatError, ImageSizeError, Status
from fracture_edge.images.dicom_frames import FrameReader, PixelData
from fracture_edge.images.dicom_header import PADDING, SPACINGS, clean, read_code
from fracture_edge.images.dicom_pixels import NOT_SUPPORTED, dicom_aspect, is_supported, to_grey
from fracture_edge.images.limits import MAX_FRAMES, TOO_MANY_FRAMES, check_size, max_bytes
from fracture_edge.images.pillow import BROKEN
from fracture_edge.images.quiet import quiet

NO_PIXELS = "the DICOM file contains no pixel data"
NOT_DESCRIBED = "the DICOM file does not say how its pixels are stored"
#: Maximum number of bytes before the pixels; overlays and per-frame descriptions are the largest elements there.
_MAX_HEADER = 16_000_000
_WANTED = (
    "BodyPartExamined",
    "SamplesPerPixel",
    "PhotometricInterpretation",
    "PlanarConfiguration",
    "NumberOfFrames",
    "Rows",
    "Columns",
    "BitsAllocated",
    "BitsStored",
    "HighBit",
    "PixelRepresentation",
    "WindowCenter",
    "WindowWidth",
    "VOILUTFunction",
    "VOILUTSequence",
    "RescaleIntercept",
    "RescaleSlope",
    "ModalityLUTSequence",
    *SPACINGS,
    *PADDING,
    *(
        f"{prefix}{colour}PaletteColorLookupTable{part}"
        for colour in ("Red", "Green", "Blue")
        for prefix, part in (("", "Descriptor"), ("", "Data"), ("Segmented", "Data"))
    ),
    "SharedFunctionalGroupsSequence",
    "PerFrameFunctionalGroupsSequence",
    "ExtendedOffsetTable",
    "ExtendedOffsetTableLengths",
)
_NEEDED = ("Rows", "Columns", "BitsAllocated")
#: Pixel Data, Float Pixel Data, Double Float Pixel Data.
_PIXEL_DATA = (0x7FE00010, 0x7FE00008, 0x7FE00009)
_REPRESENTATIONS = (b"OB", b"OW", b"OF", b"OD", b"UN")
_UNDEFINED_LENGTH = 0xFFFFFFFF
DEFLATED, _NOT_DEFLATED = b"1.2.840.10008.1.2.1.99", b"1.2.840.10008.1.2.1\0\0\0"


class DicomFile:
    """DICOM file whose header has been read.

    Attributes:
        frames: Number of frames that the header states.
        body_part: Body part that the header states, in upper case; empty if it states none.
    """

    def __init__(self, name: str, data: bytes, max_pixels: int) -> None:
        """Read the header.

        Args:
            name: Name of the file in messages.
            data: Content of the file.
            max_pixels: Maximum number of pixels of one frame.

        Raises:
            ImageFormatError: pydicom is not installed, or the file contains no pixel data.
            ImageCorruptError: The header is invalid.
            ImageSizeError: A frame has too many or too few pixels.
        """
        try:
            import pydicom
        except ImportError as error:
            raise ImageFormatError(
                name, "DICOM needs pydicom: pip install 'fracture-edge[dicom]'", Status.DICOM_NOT_INSTALLED
            ) from error
        self._name = name
        try:
            with quiet():
                data = inflated(name, data, max_bytes(max_pixels))
                stream = io.BytesIO(data[:_MAX_HEADER])
                self._header = pydicom.dcmread(
                    stream, force=True, stop_before_pixels=True, specific_tags=list(_WANTED)
                )
                element = self._find_pixels(stream)
                clean(self._header)
                self._check_description(max_pixels)
                self.frames = max(1, int(self._header.get("NumberOfFrames") or 1))
                self.body_part = read_code(self._header, "BodyPartExamined")
                self._reader = FrameReader(name, self._header, data, element, self.frames, max_pixels)
        except (ImageError, MemoryError):
            raise
        except Exception as error:
            raise self._broken(error) from None

    def checked_frame_count(self) -> int:
        """Return the number of frames, and check that it is within the limit.

        Raises:
            ImageSizeError: The file has more than `MAX_FRAMES` frames.
        """
        if self.frames > MAX_FRAMES:
            raise ImageSizeError(self._name, TOO_MANY_FRAMES.format(frames=self.frames, limit=MAX_FRAMES))
        return self.frames

    def grey(self, frame: int) -> npt.NDArray[np.uint8]:
        """Decode one frame to grey, with dense material bright.

        Args:
            frame: Index of the frame, from 0.

        Returns:
            Grey image, uint8 [H, W].

        Raises:
            ImageFormatError: The compression needs a decoder that is not installed, or the photometric
                interpretation is not supported.
            ImageCorruptError: The pixel data does not agree with the header.
            ImageSizeError: Decoding takes too much memory.
        """
        try:
            with quiet():
                return to_grey(self._name, self._header, self._reader.read(frame), frame)
        except (ImageError, MemoryError):
            raise
        except Exception as error:
            raise self._broken(error) from None

    def pixel_aspect(self, frame: int) -> float:
        """Return the height of a pixel of a frame divided by its width; 1 if the header states none."""
        try:
            with quiet():
                return dicom_aspect(self._header, frame)
        except Exception:
            return 1.0

    def _broken(self, error: Exception) -> ImageCorruptError:
        # Not the message of the error, which may quote the header.
        return ImageCorruptError(self._name, BROKEN.format(format="DICOM", error=type(error).__name__))

    def _check_description(self, max_pixels: int) -> None:
        if any(self._header.get(keyword) is None for keyword in _NEEDED):
            raise ImageCorruptError(self._name, NOT_DESCRIBED)
        if not is_supported(str(self._header.PhotometricInterpretation)):
            raise ImageFormatError(self._name, NOT_SUPPORTED)
        check_size(self._name, int(self._header.Columns), int(self._header.Rows), max_pixels)

    def _find_pixels(self, stream: io.BytesIO) -> PixelData:
        """Read the start of the element at which the header ended."""
        order = "<" if self._header.original_encoding[1] else ">"
        start = stream.read(12)
        group, number = struct.unpack_from(f"{order}HH", start) if len(start) == 12 else (0, 0)
        tag = group << 16 | number
        if tag not in _PIXEL_DATA:
            raise ImageFormatError(self._name, NO_PIXELS)
        # Decided by the bytes and not by the transfer syntax: some compressed files are implicit, against the
        # standard.
        if start[4:6] not in _REPRESENTATIONS:
            (length,) = struct.unpack_from(f"{order}I", start, 4)
            return PixelData(tag, "OB" if length == _UNDEFINED_LENGTH else "OW", stream.tell() - 4, length)
        (length,) = struct.unpack_from(f"{order}I", start, 8)
        return PixelData(tag, start[4:6].decode("ascii"), stream.tell(), length)


def inflated(name: str, data: bytes, limit: int) -> bytes:
    """Inflate a file with a deflated transfer syntax; return any other file unchanged.

    Raises:
        ImageSizeError: The file and its inflated content take more than `limit` bytes; no more is inflated.
        zlib.error: The content is not deflated.
    """
    if data[132:138] != b"\x02\0\0\0UL":
        return data
    end = 144 + struct.unpack_from("<I", data, 140)[0]
    if DEFLATED not in data[144:end]:
        return data
    unpacker = zlib.decompressobj(-zlib.MAX_WBITS)
    # The content is in memory twice while it is joined to the header.
    body = unpacker.decompress(data[end:], limit // 2)
    if unpacker.unconsumed_tail or len(data) + 2 * len(body) > limit:
        raise ImageSizeError(name, f"the DICOM file unpacks to over {limit / 2e6:,.0f} MB")
    return data[:end].replace(DEFLATED, _NOT_DEFLATED) + body
