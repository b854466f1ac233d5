"""Reading of images: a path, bytes, an open file or an array becomes a grey 8-bit image.

The format is detected from the content, not from the file's name. Dense material is bright (bone is white), as in
the images that the models were trained on; DICOM files that store it inverted are converted.

Grey values of more than 8 bits have no fixed meaning outside DICOM (12-bit data in 16-bit files is common), so
they are scaled linearly from the range of the image to 0 to 255; see `fracture_edge.images.levels`. 8-bit values
are kept.
"""

from collections.abc import Iterator
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import numpy.typing as npt
from PIL import Image

from fracture_edge.errors import ImageCorruptError, ImageFormatError, ImageSizeError
from fracture_edge.images.colour import array_colour_share
from fracture_edge.images.grey import array_to_grey, stretch
from fracture_edge.images.limits import MAX_PIXELS, check_size, max_bytes
from fracture_edge.images.pillow import convert, decode
from fracture_edge.images.quiet import quiet
from fracture_edge.images.sources import ImageSource, access_error, read_bytes, source_name

if TYPE_CHECKING:
    from fracture_edge.images.dicom import DicomFile

__all__ = [
    "DICOM_START",
    "IMAGE_SUFFIXES",
    "ImageFile",
    "ImageSource",
    "Picture",
    "access_error",
    "has_dicom_prefix",
    "load_frames",
    "load_image",
    "load_picture",
    "source_name",
    "stretch",
]

#: Suffixes of the files that are searched for in a folder. Reading a file does not depend on its name.
IMAGE_SUFFIXES = frozenset(
    {".png", ".jpg", ".jpeg", ".tif", ".tiff", ".bmp", ".webp", ".heic", ".heif", ".dcm", ".dicom"}
)

DICOM_MAGIC_AT = 128
#: Number of bytes that `has_dicom_prefix` needs.
DICOM_START = DICOM_MAGIC_AT + 4
#: First groups of DICOM files without a preamble, in little-endian order; big-endian ones cannot be distinguished
#: from other files. Then follow the number of the element, and its value representation or, in implicit files, the
#: length of its value, which is short for the elements that such files begin with.
BARE_GROUPS = (b"\x02\0", b"\x08\0")
MOST_BARE_ELEMENT, MOST_BARE_LENGTH = 0x0070, 256
BARE_REPRESENTATIONS = frozenset(
    {b"AE", b"CS", b"DA", b"DT", b"LO", b"OB", b"PN", b"SH", b"ST", b"TM", b"UI", b"UL"}
)
NO_MEMORY = "not enough memory to decode it"


class Picture(NamedTuple):
    """One grey image of a file.

    Attributes:
        pixels: Grey image, uint8 [H, W], C-contiguous.
        frame: Index of the frame or page in the file, from 0.
        frames: Number of frames or pages that the file states.
        colour: Share of coloured pixels before the conversion to grey, 0 to 1; 0 for DICOM files, where it is not
            computed.
        aspect: Height of a pixel divided by its width, from the header; 1 if it is square or not stated.
    """

    pixels: npt.NDArray[np.uint8]
    frame: int = 0
    frames: int = 1
    colour: float = 0.0
    aspect: float = 1.0


def load_image(
    source: ImageSource, *, model_size: tuple[int, int] | None = None, max_pixels: int = MAX_PIXELS
) -> npt.NDArray[np.uint8]:
    """Read an image as grey; the first frame or page if the file holds several.

    Args:
        source: Path, bytes of a file, open binary file, Pillow image, or array: [H, W] or [H, W, 1] grey,
            [H, W, 3] RGB or [H, W, 4] RGBA, of any real type. Values that are not 8-bit are scaled linearly from
            the range of the image, without isolated extreme values, to 0 to 255.
        model_size: Size of the model input, (height, width) in pixels, at which much larger JPEG files are decoded
            at a reduced scale. Every pixel is decoded if ``None``.
        max_pixels: Maximum number of pixels of one frame. The file and its decoder together may take
            `fracture_edge.images.limits.BYTES_PER_PIXEL` bytes for each of them.

    Returns:
        Grey image, uint8 [H, W], C-contiguous.

    Raises:
        ImageAccessError: The file cannot be read, is empty, or the path names a folder, a pipe or a device.
        ImageFormatError: The format is not supported, or its decoder is not installed.
        ImageCorruptError: The content is invalid or truncated.
        ImageSizeError: The image has more than `max_pixels` pixels, takes more memory than they allow, or has a
            side under `fracture_edge.images.limits.MIN_SIDE` pixels.
    """
    return load_picture(source, model_size=model_size, max_pixels=max_pixels).pixels


def load_picture(
    source: ImageSource, *, model_size: tuple[int, int] | None = None, max_pixels: int = MAX_PIXELS
) -> Picture:
    """Read an image like `load_image`, with the number of frames or pages in its file and its share of colour."""
    return ImageFile(source, model_size=model_size, max_pixels=max_pixels).read()


def load_frames(
    source: ImageSource, *, model_size: tuple[int, int] | None = None, max_pixels: int = MAX_PIXELS
) -> Iterator[Picture]:
    """Read the frames of a DICOM file one after the other; of other formats, the first picture only.

    Args:
        source: Image source, as for `load_image`.
        model_size: Size of the model input, as for `load_image`.
        max_pixels: Maximum number of pixels of each frame.

    Yields:
        Frames of the file, in order.

    Raises:
        ImageError: A frame cannot be read, for the reasons that `load_image` lists, or a DICOM file has more than
            `fracture_edge.images.limits.MAX_FRAMES` frames.
    """
    file = ImageFile(source, model_size=model_size, max_pixels=max_pixels)
    for frame in range(file.checked_frame_count()):
        yield file.read(frame)


class ImageFile:
    """Image file or array whose frames can be read in any order.

    It keeps the bytes of the file in memory, but no decoded frame.

    Attributes:
        frames: Number of frames that can be read: the number that a DICOM file states, 1 for other formats,
            however many pictures they hold.
    """

    def __init__(
        self, source: ImageSource, *, model_size: tuple[int, int] | None = None, max_pixels: int = MAX_PIXELS
    ) -> None:
        """Read the content of the file, and the header if it is DICOM.

        Args:
            source: Image source, as for `load_image`.
            model_size: Size of the model input, as for `load_image`.
            max_pixels: Maximum number of pixels of each frame.

        Raises:
            ImageError: The file cannot be used, for the reasons that `load_image` lists.
        """
        self._model_size, self._max_pixels = model_size, max_pixels
        self._dicom: DicomFile | None = None
        self._content: bytes | Image.Image | npt.NDArray[np.generic]
        if isinstance(source, (np.ndarray, Image.Image)):
            self._name, self._content = source_name(source), source
        else:
            self._name, self._content = read_bytes(source, max_bytes(max_pixels))
            if _is_dicom(self._content):
                self._dicom = self._open_dicom(self._content)
        self.frames = 1 if self._dicom is None else self._dicom.frames

    def checked_frame_count(self) -> int:
        """Return the number of frames, and check that it is within the limit.

        Raises:
            ImageSizeError: The file has more than `fracture_edge.images.limits.MAX_FRAMES` frames.
        """
        return self.frames if self._dicom is None else self._dicom.checked_frame_count()

    def read(self, frame: int = 0) -> Picture:
        """Decode one frame.

        Args:
            frame: Index of the frame, from 0.

        Raises:
            ImageError: The frame cannot be read, for the reasons that `load_image` lists, or does not exist.
        """
        if not 0 <= frame < self.frames:
            raise ImageCorruptError(self._name, f"has no frame {frame + 1}")
        try:
            if self._dicom is not None:
                return Picture(self._dicom.grey(frame), frame, self.frames, aspect=self._dicom.pixel_aspect(frame))
            if isinstance(self._content, np.ndarray):
                return _from_array(self._content, self._max_pixels)
            with quiet():
                if isinstance(self._content, Image.Image):
                    raster = convert(self._name, self._content, self._max_pixels)
                else:
                    raster = decode(self._name, self._content, self._model_size, self._max_pixels)
        except MemoryError as error:
            raise ImageSizeError(self._name, NO_MEMORY) from error
        return Picture(raster.grey, 0, raster.pictures, raster.colour, raster.aspect)

    def _open_dicom(self, data: bytes) -> "DicomFile":
        from fracture_edge.images.dicom import DicomFile

        try:
            return DicomFile(self._name, data, self._max_pixels)
        except MemoryError as error:
            raise ImageSizeError(self._name, NO_MEMORY) from error


def has_dicom_prefix(start: bytes) -> bool:
    """Return whether the first `DICOM_START` bytes of a file contain the DICOM prefix (PS3.10, section 7.1)."""
    return start.startswith(b"DICM", DICOM_MAGIC_AT)


def _is_dicom(data: bytes) -> bool:
    return has_dicom_prefix(data) or _is_bare_dicom(data)


def _is_bare_dicom(data: bytes) -> bool:
    if data[:2] not in BARE_GROUPS or len(data) < DICOM_START:
        return False
    element, length = int.from_bytes(data[2:4], "little"), int.from_bytes(data[4:8], "little")
    short = length <= MOST_BARE_LENGTH and length % 2 == 0
    return element <= MOST_BARE_ELEMENT and (data[4:6] in BARE_REPRESENTATIONS or short)


def _from_array(values: npt.NDArray[np.generic], max_pixels: int) -> Picture:
    name = "<array>"
    if values.ndim == 3 and values.shape[2] == 1:
        values = values[..., 0]
    if not (values.ndim == 2 or (values.ndim == 3 and values.shape[2] in (3, 4))):
        raise ImageFormatError(name, f"shape {values.shape} is neither [H, W] nor [H, W, 1, 3 or 4]")
    if values.dtype.kind not in "buif":
        raise ImageFormatError(name, f"type {values.dtype} is not a real number")
    check_size(name, values.shape[1], values.shape[0], max_pixels)
    return Picture(array_to_grey(values), colour=array_colour_share(values))
