"""The stored values of one DICOM frame, decoded by the decoders that broken files cannot bring down."""

import io
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from fracture_edge.errors import ImageCorruptError, ImageFormatError, Status
from fracture_edge.images.jpeg_header import describe
from fracture_edge.images.limits import check_memory

#: pydicom's decoders that are trusted, in the order in which they are tried. Broken files made GDCM abort the
#: process, pyjpegls run for ever and pylibjpeg-rle panic; these, and pydicom's own run-length decoder, they did
#: not.
_PLUGINS = ("pillow", "pylibjpeg")
#: Integers of four bytes in the decoder, for each sample, and two copies of what comes out of them.
_DECODER_BYTES = 8


class PixelData(NamedTuple):
    """The element that holds the pixels: its tag, value representation, where its value is and how long."""

    tag: int
    representation: str
    start: int
    length: int


class StoredFrame(NamedTuple):
    """One frame as it is stored.

    Attributes:
        values: [H, W] or [H, W, samples], of the type that they are stored as.
        interpretation: Photometric interpretation of `values`; decoders turn some into others.
        unused_bits: How many of the highest bits of each value are to be ignored.
    """

    values: npt.NDArray[np.generic]
    interpretation: str
    unused_bits: int


class FrameReader:
    """Frames of one file, by number."""

    def __init__(
        self, name: str, header: Any, data: bytes, element: PixelData, frames: int, max_pixels: int
    ) -> None:
        """Take what `fracture_edge.images.dicom` has found.

        Args:
            name: What messages call the file.
            header: The dataset that describes the pixels.
            data: The file's bytes.
            element: Where they hold the pixels.
            frames: How many there are.
            max_pixels: What the limit of memory follows from.
        """
        self._name, self._header, self._data = name, header, data
        self._element, self._frames, self._max_pixels = element, frames, max_pixels

    def read(self, frame: int) -> StoredFrame:
        """Decode one frame.

        Raises:
            ImageFormatError: The transfer syntax is not supported, or its decoder not installed.
            ImageCorruptError: The pixels do not fit their description.
            ImageSizeError: Decoding takes too much memory.
            Exception: What pydicom and the decoders raise.
        """
        from pydicom.dataset import Dataset, FileMetaDataset
        from pydicom.pixels import get_decoder

        syntax = self._syntax()
        plugins = self._plugins(syntax) if syntax.is_compressed else ("",)
        value, index = self._compressed(frame) if syntax.is_compressed else self._native(frame)
        picture = Dataset()
        picture.update({item.tag: item for item in self._header if item.tag.group == 0x0028})
        picture.file_meta = FileMetaDataset()
        picture.file_meta.TransferSyntaxUID = syntax
        picture.add_new(self._element.tag, self._element.representation, value)
        picture.NumberOfFrames = index + 1
        # pydicom would copy a whole native frame to clear its unused bits.
        clear_here = not syntax.is_compressed and self._header.SamplesPerPixel == 1
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
        unused = values.dtype.itemsize * 8 - int(self._header.BitsStored) if clear_here else 0
        return StoredFrame(
            values, str(properties["photometric_interpretation"]), unused if self._header.BitsAllocated > 1 else 0
        )

    def _syntax(self) -> Any:
        """The transfer syntax; where the file does not say, the one that its header was read by."""
        from pydicom import uid
        from pydicom.pixels import get_decoder

        stated = self._header.file_meta.get("TransferSyntaxUID")
        if stated:
            try:
                return get_decoder(stated).UID
            except NotImplementedError:
                raise ImageFormatError(self._name, "a DICOM transfer syntax that is not supported") from None
        implicit, little_endian = self._header.original_encoding
        if implicit:
            return uid.ImplicitVRLittleEndian
        return uid.ExplicitVRLittleEndian if little_endian else uid.ExplicitVRBigEndian

    def _plugins(self, syntax: Any) -> Sequence[str]:
        """Names of pydicom's decoders that may be tried, in order."""
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
        """The bytes that hold a frame, and which of the frames in them it is."""
        header, element = self._header, self._element
        pixels = int(header.Rows) * int(header.Columns)
        bits = pixels * int(header.SamplesPerPixel) * int(header.BitsAllocated)
        if header.PhotometricInterpretation == "YBR_FULL_422":
            bits = bits * 2 // 3
        first = frame if bits % 16 == 0 else 0
        begin, end = first * bits // 8, -(-(frame + 1) * bits // 8)
        check_memory(self._name, len(self._data) + end - begin + pixels, self._max_pixels)
        if element.start + end > len(self._data) < element.start + element.length:
            raise ImageCorruptError(self._name, "the DICOM file is cut off", Status.TRUNCATED)
        if end > element.length:
            raise ImageCorruptError(self._name, "the DICOM file has fewer pixels than its header says")
        return self._data[element.start + begin : element.start + end], frame - first

    def _compressed(self, frame: int) -> tuple[bytes, int]:
        """The same for a compressed frame, whose own size must be the one that the header was checked for."""
        from pydicom.encaps import encapsulate, get_frame

        header = self._header
        offsets = None
        if "ExtendedOffsetTable" in header and "ExtendedOffsetTableLengths" in header:
            offsets = (header.ExtendedOffsetTable, header.ExtendedOffsetTableLengths)
        stream = io.BytesIO(self._data)
        stream.seek(self._element.start)
        data = get_frame(stream, frame, extended_offsets=offsets, number_of_frames=self._frames)
        found = describe(data)
        if found and (found.width, found.height) != (int(header.Columns), int(header.Rows)):
            raise ImageCorruptError(
                self._name,
                f"the DICOM file holds {found.width}x{found.height} pixels, not the "
                f"{header.Columns}x{header.Rows} that its header says",
            )
        samples = int(header.Rows) * int(header.Columns) * int(header.SamplesPerPixel)
        check_memory(self._name, len(self._data) + 2 * len(data) + _DECODER_BYTES * samples, self._max_pixels)
        return encapsulate([data], has_bot=False), 0
