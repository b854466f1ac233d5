"""PNG, JPEG, TIFF, BMP, WebP and HEIC through Pillow."""

import io
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
from PIL import Image

from fracture_edge.errors import ImageCorruptError, ImageError, ImageSizeError, Status
from fracture_edge.images.colour import colour_share
from fracture_edge.images.formats import opener, sniff
from fracture_edge.images.grey import image_to_grey
from fracture_edge.images.limits import check_memory, check_size

Grey = npt.NDArray[np.uint8]

#: A JPEG is decoded at 1/2, 1/4 or 1/8 as long as this many times the model's pixels remain on each side.
DRAFT_OVERSAMPLING = 2

_EXIF_ORIENTATION = 0x0112
_TIFF_PHOTOMETRIC = 262
#: Bytes per pixel of Pillow's images; whatever has several channels or more than 16 bits takes 4.
_PILLOW_BYTES = {"1": 1, "L": 1, "P": 1, "I;16": 2, "I;16B": 2, "I;16L": 2}
#: libwebp keeps two canvases of four bytes and hands over a third.
_WEBP_BYTES = 12
#: libheif keeps its planes beside the interleaved copy that Pillow takes over.
_HEIC_BYTES = 8

#: What is done with the stored pixels to see the picture upright, by EXIF orientation.
_UPRIGHT: dict[int, Callable[[Grey], Grey]] = {
    2: lambda grey: grey[:, ::-1],
    3: lambda grey: grey[::-1, ::-1],
    4: lambda grey: grey[::-1],
    5: lambda grey: grey.T,
    6: lambda grey: np.rot90(grey, -1),
    7: lambda grey: grey[::-1, ::-1].T,
    8: lambda grey: np.rot90(grey, 1),
}


class Raster(NamedTuple):
    """The first picture of a file.

    Attributes:
        grey: uint8 [H, W].
        pictures: How many (pages, frames of an animation) the file says it holds.
        colour: Share of its pixels that are coloured, 0 to 1.
    """

    grey: Grey
    pictures: int
    colour: float


def decode(name: str, data: bytes, model_size: tuple[int, int] | None, max_pixels: int) -> Raster:
    """Decode the first picture of a file.

    Args:
        name: What messages call the file.
        data: Its bytes.
        model_size: (height, width) that the model will see: a JPEG that is far larger is decoded at reduced
            scale. Every pixel is decoded if ``None``.
        max_pixels: The most there may be.

    Returns:
        Its pixels and what else is known of it.

    Raises:
        ImageFormatError: None of these formats, or HEIC without a reader installed.
        ImageCorruptError: Broken or cut off.
        ImageSizeError: Too large or too small.
    """
    format_name = sniff(name, data)
    open_image = opener(name, format_name)
    try:
        pages = _count_pages(name, data) if format_name == "TIFF" else None
        with open_image(io.BytesIO(data)) as image:
            check_size(name, image.width, image.height, max_pixels)
            pictures = pages or int(getattr(image, "n_frames", 1))
            coefficients = _coefficients(image, data) if format_name == "JPEG" else 0
            if model_size is not None and format_name == "JPEG":
                _reduce_jpeg(image, model_size)
            check_memory(name, len(data) + coefficients + _bytes_to_decode(image, format_name), max_pixels)
            white_is_zero = format_name == "TIFF" and _white_is_zero(image)
            image.load()
            orientation = _orientation(image)
            grey = image_to_grey(image)
            colour = colour_share(image)
    except (ImageError, MemoryError, ImportError):
        # A reader that cannot be imported is a broken installation, not a broken file.
        raise
    except Exception as error:
        raise _decoding_error(name, format_name, error) from error
    if orientation in _UPRIGHT:
        grey = np.ascontiguousarray(_UPRIGHT[orientation](grey))
    return Raster(np.invert(grey, out=grey) if white_is_zero else grey, pictures, colour)


def _decoding_error(name: str, format_name: str, error: Exception) -> ImageError:
    """One answer to all that Pillow's readers raise on broken files.

    That is OSError, SyntaxError, ValueError, struct.error, KeyError, zlib.error, EOFError and more; the type says
    little.
    """
    if isinstance(error, Image.DecompressionBombError):
        return ImageSizeError(name, f"the {format_name} file announces too many pixels")
    if "truncated" in str(error).lower():
        return ImageCorruptError(name, f"the {format_name} file is cut off", Status.TRUNCATED)
    return ImageCorruptError(name, f"the {format_name} file is broken ({error})")


def _count_pages(name: str, data: bytes) -> int:
    from fracture_edge.images.tiff import count_pages

    return count_pages(name, data)


def _coefficients(image: Any, data: bytes) -> int:
    """Bytes that libjpeg keeps until the last scan has come; none where it can decode row by row."""
    from fracture_edge.images.jpeg_header import describe

    stream = describe(data)
    if stream is not None and stream.by_rows:
        return 0
    samplings = [(across, down) for _, across, down, _ in image.layer]
    most = max(across for across, _ in samplings) * max(down for _, down in samplings)
    return int(2 * image.width * image.height * sum(across * down for across, down in samplings) / most)


def _bytes_to_decode(image: Image.Image, format_name: str) -> int:
    """What Pillow and its libraries hold of a picture, and the grey result."""
    per_pixel = _PILLOW_BYTES.get(image.mode, 4)
    held = per_pixel + 1
    if format_name == "TIFF":
        # Compressed strips are unpacked into a buffer, and turning a page makes a copy of it.
        compressed = image.info.get("compression") != "raw"
        held += per_pixel * (compressed + (_orientation(image) != 1))
    held += {"WEBP": _WEBP_BYTES, "HEIC": _HEIC_BYTES}.get(format_name, 0)
    return image.width * image.height * held


def _reduce_jpeg(image: Image.Image, model_size: tuple[int, int]) -> None:
    """Let libjpeg decode at 1/2, 1/4 or 1/8: several times faster, and the model never sees the rest."""
    height, width = model_size
    # EXIF may still turn the picture and a stretched frame uses both sides: the larger scale decides.
    longest, shortest = max(image.size), min(image.size)
    scale = min(1.0, max(height, width) / longest, min(height, width) / shortest)
    wanted = (
        max(1, int(image.width * scale * DRAFT_OVERSAMPLING)),
        max(1, int(image.height * scale * DRAFT_OVERSAMPLING)),
    )
    if image.width >= 2 * wanted[0] and image.height >= 2 * wanted[1]:
        # The luma of "YCbCr" is what "L" would give, and shows besides whether there are colours.
        image.draft("YCbCr" if image.mode == "RGB" else None, wanted)


def _white_is_zero(image: Image.Image) -> bool:
    """Whether a deep TIFF stores white as 0; Pillow turns the 8-bit ones round by itself."""
    tags = getattr(image, "tag_v2", {})
    return image.mode.startswith(("I", "F")) and tags.get(_TIFF_PHOTOMETRIC) == 0


def _orientation(image: Image.Image) -> int:
    """How the picture is to be turned; 1, upright, where the EXIF block is broken, as viewers hold it."""
    try:
        return int(image.getexif().get(_EXIF_ORIENTATION, 1))
    except Exception:
        return 1
