"""Stored values of DICOM frames, decoded only by decoders that withstand invalid files."""

import io
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from fracture_edge.errors import ImageCorruptError, ImageFormatError, Status
from fracture_edge.images.dicom_jpeg import describe_jpeg, grey_of_jpeg, is_colour_jpeg
from fracture_edge.images.jpeg_header import complete_scan, read_header
from fracture_edge.images.limits import check_memory
from fracture_edge.images.pillow import TRUNCATED

TOO_FEW_STORED = "the DICOM file has fewer pixels than its header states"
UNKNOWN_SYNTAX = "this DICOM transfer syntax is not supported"

#: Decoding plugins of pydicom that are used, in the order in which they are tried. Invalid files made GDCM abort
#: the process, pyjpegls run forever and pylibjpeg-rle panic, but did no harm to these and to pydicom's own
#: run-length decoder.
_PLUGINS = ("pillow", "pylibjpeg")
#: Bytes of memory per sample: integers of four bytes in the decoder, and two copies of its result.
_DECODER_BYTES = 8


class PixelData(NamedTuple):
    """Element that holds the pixels.

    Attributes:
        tag: Tag of the element.
        representation: Value representation, for example ``OW``.
        start: Offset of the value in the file, in bytes.
        length: Length of the value in bytes, or the undefined length 0xFFFFFFFF.
    """

    tag: int
    representation: str
    start: int
    length: int


class StoredFrame(NamedTuple):
    """Stored values of one frame.

    Attributes:
        values: Values [H, W] or [H, W, samples], of the type that they are stored as.
        interpretation: Photometric interpretation of `values`, which the decoder may have converted.
        above: Number of the highest bits of each value that have to be ignored.
        unused: Number of bits of each value that have to be ignored, above and below the used ones.
    """

    values: npt.NDArray[np.generic]
    interpretation: str
    above: int = 0
    unused: int = 0

    def used_bits(self, part: npt.NDArray[np.generic]) -> npt.NDArray[np.generic]:
        """Return the used bits of some values; the sign is that of the highest used bit."""
        return part << self.above >> self.unused if self.unused > 0 else part  # type: ignore[operator]


class FrameReader:
    """Reader of the frames of one file."""

    def __init__(
        self, name: str, header: Any, data: bytes, element: PixelData, frames: int, max_pixels: int
    ) -> None:
        """Prepare to read frames.

        Args:
            name: Name of the file in messages.
            header: Dataset that describes the pixels.
            data: Content of the file.
            element: Element of the file that holds the pixels.
            frames: Number of frames in the file.
            max_pixels: Maximum number of pixels of a frame, which sets the limit of memory.
        """
        self._name, self._header, self._data = name, header, data
        self._element, self._frames, self._max_pixels = element, frames, max_pixels

    def read(self, frame: int) -> StoredFrame:
        """Decode one frame.

        Args:
            frame: Index of the frame, from 0.

        Raises:
            ImageFormatError: The transfer syntax is not supported, or its decoder is not installed.
            ImageCorruptError: The pixel data does not agree with the header.
            ImageSizeError: Decoding takes too much memory.
            Exception: Errors of pydicom and of the decoders, of any type.
        """
        from pydicom import uid
        from pydicom.dataset import Dataset, FileMetaDataset
        from pydicom.encaps import encapsulate
        from pydicom.pixels import get_decoder

        syntax = self._syntax()
        plugins = self._plugins(syntax) if syntax.is_compressed else ("",)
        picture = Dataset()
        picture.update({item.tag: item for item in self._header if item.tag.group == 0x0028})
        if syntax.is_compressed:
            data, index = self._compressed(frame), 0
            if self._header.SamplesPerPixel == 1 and is_colour_jpeg(data):
                # A grey picture that was stored as colours.
                return StoredFrame(grey_of_jpeg(data), self._header.PhotometricInterpretation)
            describe_jpeg(picture, data)
            value = encapsulate([data], has_bot=False)
        else:
            value, index = self._native(frame)
        picture.file_meta = FileMetaDataset()
        picture.file_meta.TransferSyntaxUID = syntax
        picture.add_new(self._element.tag, self._element.representation, value)
        picture.NumberOfFrames = index + 1
        # pydicom would copy a complete frame to clear its unused bits, and does not heed the high bit.
        clear_here = (not syntax.is_compressed or syntax == uid.RLELossless) and self._header.SamplesPerPixel == 1
        for plugin in plugins:
            try:
                values, properties = get_decoder(syntax).as_array(
                    picture,
                    index=index,
                    raw=True,
                    view_only=True,
                    correct_unused_bits=not clear_here,
                    decoding_plugin=plugin,
                )
            except Exception:
                if plugin == plugins[-1]:
                    raise
            else:
                break
        interpretation = str(properties["photometric_interpretation"])
        if not clear_here or self._header.BitsAllocated == 1 or values.dtype.kind == "f":
            return StoredFrame(values, interpretation)
        bits = 8 * values.dtype.itemsize
        return StoredFrame(
            values, interpretation, bits - int(self._header.HighBit) - 1, bits - int(self._header.BitsStored)
        )

    def _syntax(self) -> Any:
        """Return the transfer syntax; if the file does not state it, the one that its header was read with."""
        from pydicom import uid
        from pydicom.pixels import get_decoder

        stated = self._header.file_meta.get("TransferSyntaxUID")
        if stated:
            try:
                return get_decoder(stated).UID
            except NotImplementedError:
                raise ImageFormatError(self._name, UNKNOWN_SYNTAX) from None
        implicit, little_endian = self._header.original_encoding
        if implicit:
            return uid.ImplicitVRLittleEndian
        return uid.ExplicitVRLittleEndian if little_endian else uid.ExplicitVRBigEndian

    def _plugins(self, syntax: Any) -> Sequence[str]:
        """Return the names of the decoding plugins to try, in order."""
        from pydicom import uid
        from pydicom.pixels import get_decoder

        if syntax == uid.RLELossless:
            return ("pydicom",)
        installed = get_decoder(syntax).available_plugins
        usable = [plugin for plugin in _PLUGINS if plugin in installed]
        if syntax == uid.JPEGExtended12Bit and int(self._header.BitsStored) > 8:
            usable = [plugin for plugin in usable if plugin != "pillow"]
        if not usable:
            extra = "dicom" if syntax in uid.JPEG2000TransferSyntaxes else "dicom-gpl"
            raise ImageFormatError(
                self._name,
                f"this DICOM compression ({syntax.name}) needs a decoder: pip install 'fracture-edge[{extra}]'",
                Status.DECODER_NOT_INSTALLED,
            )
        return usable

    def _native(self, frame: int) -> tuple[bytes, int]:
        """Return the bytes that hold an uncompressed frame, and the index of the frame within them."""
        header, element = self._header, self._element
        pixels = int(header.Rows) * int(header.Columns)
        bits = pixels * int(header.SamplesPerPixel) * int(header.BitsAllocated)
        if header.PhotometricInterpretation == "YBR_FULL_422":
            bits = bits * 2 // 3
        first = frame if bits % 16 == 0 else 0
        begin, end = first * bits // 8, -(-(frame + 1) * bits // 8)
        check_memory(self._name, len(self._data) + end - begin + pixels, self._max_pixels)
        if element.start + end > len(self._data) < element.start + element.length:
            raise ImageCorruptError(self._name, TRUNCATED.format(format="DICOM"), Status.TRUNCATED)
        if end > element.length:
            raise ImageCorruptError(self._name, TOO_FEW_STORED)
        return self._data[element.start + begin : element.start + end], frame - first

    def _compressed(self, frame: int) -> bytes:
        """Return the codestream of a compressed frame.

        The size in the codestream must be that of the DICOM header, for which the limits were checked.
        """
        from pydicom.encaps import get_frame

        header = self._header
        offsets = None
        if "ExtendedOffsetTable" in header and "ExtendedOffsetTableLengths" in header:
            offsets = (header.ExtendedOffsetTable, header.ExtendedOffsetTableLengths)
        stream = io.BytesIO(self._data)
        stream.seek(self._element.start)
        data = get_frame(stream, frame, extended_offsets=offsets, number_of_frames=self._frames)
        found = read_header(data)
        if found and (found.width, found.height) != (int(header.Columns), int(header.Rows)):
            raise ImageCorruptError(
                self._name,
                f"the DICOM file holds {found.width}x{found.height} pixels, not the "
                f"{header.Columns}x{header.Rows} that its header states",
            )
        samples = int(header.Rows) * int(header.Columns) * int(header.SamplesPerPixel)
        check_memory(self._name, len(self._data) + 2 * len(data) + _DECODER_BYTES * samples, self._max_pixels)
        return complete_scan(data)
