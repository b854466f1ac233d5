"""One way in for every picture: a path, bytes, an open file or an array becomes one grey 8-bit image.

The content decides the format, not the file's name. Bright is dense (bone is white), as in every image the
models were trained on; DICOM files that store it the other way round are inverted.

Grey values above 8 bits carry no fixed meaning outside DICOM (12-bit data in 16-bit files is common), so
they are stretched linearly from the image's own minimum and maximum to 0 to 255. 8-bit values stay as they
are.
"""

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from fracture_edge.colour import array_colour_share
from fracture_edge.errors import ImageFormatError, ImageSizeError
from fracture_edge.grey import array_to_grey, stretch
from fracture_edge.limits import MAX_PIXELS, check_size, max_bytes
from fracture_edge.quiet import quiet
from fracture_edge.raster import decode
from fracture_edge.sources import ImageSource, access_error, read_bytes, source_name

__all__ = [
    "IMAGE_SUFFIXES",
    "ImageSource",
    "Picture",
    "access_error",
    "load_frames",
    "load_image",
    "load_picture",
    "source_name",
    "stretch",
]

#: Names that a folder is searched for. Reading does not look at the name.
IMAGE_SUFFIXES = frozenset(
    {".png", ".jpg", ".jpeg", ".tif", ".tiff", ".bmp", ".webp", ".heic", ".heif", ".dcm", ".dicom"}
)

_DICOM_MAGIC_AT = 128
#: A DICOM file without preamble begins with an element of group 2, or of group 8, and these bytes, least
#: significant first; big-endian files without preamble are not told from other files.
_BARE_DICOM = (b"\x02\0\0\0", b"\x02\0\x02\0", b"\x08\0\0\0", b"\x08\0\x01\0", b"\x08\0\x05\0", b"\x08\0\x08\0")


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
            `fracture_edge.limits.BYTES_PER_PIXEL` bytes for each.

    Returns:
        uint8, shape [H, W], C-contiguous.

    Raises:
        ImageAccessError: The bytes cannot be had, or the path names a folder, a pipe or a device.
        ImageFormatError: No format that can be read, or what reads it is not installed.
        ImageCorruptError: Broken or cut off.
        ImageSizeError: More than `max_pixels`, more memory than they allow, or a side under
            `fracture_edge.limits.MIN_SIDE`.
    """
    return load_picture(source, model_size=model_size, max_pixels=max_pixels).pixels


def load_picture(
    source: ImageSource, *, model_size: tuple[int, int] | None = None, max_pixels: int = MAX_PIXELS
) -> Picture:
    """Read one image and how many frames or pages its file holds; otherwise as `load_image`."""
    return next(load_frames(source, model_size=model_size, max_pixels=max_pixels, first_only=True))


def load_frames(
    source: ImageSource,
    *,
    model_size: tuple[int, int] | None = None,
    max_pixels: int = MAX_PIXELS,
    first_only: bool = False,
) -> Iterator[Picture]:
    """Read every frame of a DICOM file, one after the other; of any other file its first picture.

    Args:
        source: As `load_image` takes it.
        model_size: As there.
        max_pixels: As there; a limit for each frame.
        first_only: Stop after the first frame, however many there are.

    Raises:
        ImageError: As there, before the frame that cannot be read; and where a DICOM file holds more than
            `fracture_edge.limits.MAX_FRAMES` frames and all are wanted.
    """
    if isinstance(source, np.ndarray):
        yield _from_array(source, max_pixels)
        return
    name, data = read_bytes(source, max_bytes(max_pixels))
    try:
        if data[_DICOM_MAGIC_AT : _DICOM_MAGIC_AT + 4] == b"DICM" or data.startswith(_BARE_DICOM):
            from fracture_edge.dicom import DicomFile

            dicom = DicomFile(name, data, max_pixels)
            for frame in range(1 if first_only else dicom.countable_frames()):
                yield Picture(dicom.grey(frame), frame, dicom.frames)
            return
        with quiet():
            raster = decode(name, data, model_size, max_pixels)
    except MemoryError as error:
        raise ImageSizeError(name, "not enough memory to decode it") from error
    yield Picture(raster.grey, 0, raster.pictures, raster.colour)


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
