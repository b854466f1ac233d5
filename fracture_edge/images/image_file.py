"""One way in for every picture: a path, bytes, an open file or an array becomes one grey 8-bit image.

The content decides the format, not the file's name. Bright is dense (bone is white), as in every image the
models were trained on; DICOM files that store it the other way round are inverted.

Grey values above 8 bits carry no fixed meaning outside DICOM (12-bit data in 16-bit files is common), so
they are stretched linearly from the image's own minimum and maximum to 0 to 255. 8-bit values stay as they
are.
"""

from collections.abc import Iterator
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import numpy.typing as npt

from fracture_edge.errors import ImageCorruptError, ImageFormatError, ImageSizeError
from fracture_edge.images.colour import array_colour_share
from fracture_edge.images.grey import array_to_grey, stretch
from fracture_edge.images.limits import MAX_PIXELS, check_size, max_bytes
from fracture_edge.images.pillow import decode
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
    "load_frames",
    "load_image",
    "load_picture",
    "says_dicom",
    "source_name",
    "stretch",
]

#: Names that a folder is searched for. Reading does not look at the name.
IMAGE_SUFFIXES = frozenset(
    {".png", ".jpg", ".jpeg", ".tif", ".tiff", ".bmp", ".webp", ".heic", ".heif", ".dcm", ".dicom"}
)

_DICOM_MAGIC_AT = 128
#: So many bytes are enough for `says_dicom`.
DICOM_START = _DICOM_MAGIC_AT + 4
#: A DICOM file without preamble begins with an element of group 2, or of group 8, and these bytes, least
#: significant first; big-endian files without preamble are not told from other files.
_BARE_DICOM = (b"\x02\0\0\0", b"\x02\0\x02\0", b"\x08\0\0\0", b"\x08\0\x01\0", b"\x08\0\x05\0", b"\x08\0\x08\0")
_NO_MEMORY = "not enough memory to decode it"


class Picture(NamedTuple):
    """One grey image of a file.

    Attributes:
        pixels: uint8 [H, W], C-contiguous.
        frame: Which of the file's frames or pages this is, from 0.
        frames: How many the file says it holds.
        colour: Share of its pixels that are coloured, 0 to 1; not looked at in DICOM files.
    """

    pixels: npt.NDArray[np.uint8]
    frame: int = 0
    frames: int = 1
    colour: float = 0.0


def load_image(
    source: ImageSource, *, model_size: tuple[int, int] | None = None, max_pixels: int = MAX_PIXELS
) -> npt.NDArray[np.uint8]:
    """Read one image as grey; the first frame or page of a file that holds several.

    Args:
        source: A path, the bytes of a file, an open binary file, or an array: [H, W], [H, W, 1] grey,
            [H, W, 3] RGB or [H, W, 4] RGBA, of any real type (see above for values that are not 8-bit).
        model_size: (height, width) that the model will see. When given, a JPEG that is far larger is
            decoded at reduced scale. Without it every pixel of the file is decoded.
        max_pixels: The most pixels of one frame. File and decoder together may take
            `fracture_edge.images.limits.BYTES_PER_PIXEL` bytes for each.

    Returns:
        uint8, shape [H, W], C-contiguous.

    Raises:
        ImageAccessError: The bytes cannot be had, or the path names a folder, a pipe or a device.
        ImageFormatError: No format that can be read, or what reads it is not installed.
        ImageCorruptError: Broken or cut off.
        ImageSizeError: More than `max_pixels`, more memory than they allow, or a side under
            `fracture_edge.images.limits.MIN_SIDE`.
    """
    return load_picture(source, model_size=model_size, max_pixels=max_pixels).pixels


def load_picture(
    source: ImageSource, *, model_size: tuple[int, int] | None = None, max_pixels: int = MAX_PIXELS
) -> Picture:
    """Read one image and how many frames or pages its file holds; otherwise as `load_image`."""
    return ImageFile(source, model_size=model_size, max_pixels=max_pixels).read()


def load_frames(
    source: ImageSource, *, model_size: tuple[int, int] | None = None, max_pixels: int = MAX_PIXELS
) -> Iterator[Picture]:
    """Read every frame of a DICOM file, one after the other; of any other file its first picture.

    Args:
        source: As `load_image` takes it.
        model_size: As there.
        max_pixels: As there; a limit for each frame.

    Raises:
        ImageError: As there, before the frame that cannot be read; and where a DICOM file holds more than
            `fracture_edge.images.limits.MAX_FRAMES` frames.
    """
    file = ImageFile(source, model_size=model_size, max_pixels=max_pixels)
    for frame in range(file.countable_frames()):
        yield file.read(frame)


class ImageFile:
    """A file or an array that is open for reading its frames, in any order.

    It holds the file's bytes, and no decoded frame.

    Attributes:
        frames: How many can be read: those that a DICOM file says it holds, 1 of any other, whatever it holds.
    """

    def __init__(
        self, source: ImageSource, *, model_size: tuple[int, int] | None = None, max_pixels: int = MAX_PIXELS
    ) -> None:
        """Read the bytes, and the header of a DICOM file.

        Args:
            source: As `load_image` takes it, like the others.
            model_size: See there.
            max_pixels: See there; a limit for each frame.

        Raises:
            ImageError: See there.
        """
        self._model_size, self._max_pixels = model_size, max_pixels
        self._dicom: DicomFile | None = None
        self._content: bytes | npt.NDArray[np.generic]
        if isinstance(source, np.ndarray):
            self._name, self._content = source_name(source), source
        else:
            self._name, self._content = read_bytes(source, max_bytes(max_pixels))
            if _is_dicom(self._content):
                self._dicom = self._open_dicom(self._content)
        self.frames = 1 if self._dicom is None else self._dicom.frames

    def countable_frames(self) -> int:
        """`frames`, if they are not too many to be read one after the other.

        Raises:
            ImageSizeError: More than `fracture_edge.images.limits.MAX_FRAMES`.
        """
        return self.frames if self._dicom is None else self._dicom.countable_frames()

    def read(self, frame: int = 0) -> Picture:
        """Decode one frame.

        Args:
            frame: Which, from 0.

        Raises:
            ImageError: See `load_image`; and where there is no such frame.
        """
        if not 0 <= frame < self.frames:
            raise ImageCorruptError(self._name, f"has no frame {frame + 1}")
        try:
            if self._dicom is not None:
                return Picture(self._dicom.grey(frame), frame, self.frames)
            if isinstance(self._content, np.ndarray):
                return _from_array(self._content, self._max_pixels)
            with quiet():
                raster = decode(self._name, self._content, self._model_size, self._max_pixels)
        except MemoryError as error:
            raise ImageSizeError(self._name, _NO_MEMORY) from error
        return Picture(raster.grey, 0, raster.pictures, raster.colour)

    def _open_dicom(self, data: bytes) -> "DicomFile":
        from fracture_edge.images.dicom import DicomFile

        try:
            return DicomFile(self._name, data, self._max_pixels)
        except MemoryError as error:
            raise ImageSizeError(self._name, _NO_MEMORY) from error


def says_dicom(start: bytes) -> bool:
    """Whether the first `DICOM_START` bytes of a file say that it is DICOM (PS3.10, section 7.1)."""
    return start.startswith(b"DICM", _DICOM_MAGIC_AT)


def _is_dicom(data: bytes) -> bool:
    return says_dicom(data) or data.startswith(_BARE_DICOM)


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
