"""Decoding of PNG, JPEG, TIFF, BMP, WebP and HEIC files with Pillow."""

import io
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import numpy.typing as npt
from PIL import Image

from fracture_edge.errors import ImageCorruptError, ImageError, ImageSizeError, Status
from fracture_edge.images.aspect import pixel_aspect
from fracture_edge.images.colour import colour_share
from fracture_edge.images.formats import Opener, opener, sniff
from fracture_edge.images.grey import image_to_grey
from fracture_edge.images.jpeg_header import read_header
from fracture_edge.images.jpeg_scale import reduce_jpeg
from fracture_edge.images.limits import check_memory, check_size
from fracture_edge.images.samples import deep_samples, is_deep, samples_colour_share, samples_to_grey

if TYPE_CHECKING:
    from fracture_edge.images.tiff import TiffFile

Grey = npt.NDArray[np.uint8]

TRUNCATED = "the {format} file is truncated"
BROKEN = "the {format} file is broken ({error})"

_EXIF_ORIENTATION = 0x0112
_TIFF_PHOTOMETRIC = 262
#: Bytes per pixel of Pillow's images; modes with several channels or more than 16 bits take 4.
PILLOW_BYTES = {"1": 1, "L": 1, "P": 1, "I;16": 2, "I;16B": 2, "I;16L": 2}
#: Bytes per pixel of libwebp, which keeps two canvases of four bytes and returns a third.
WEBP_BYTES = 12
#: Bytes per pixel of libheif, which keeps its planes beside the interleaved copy that Pillow takes over.
_HEIC_BYTES = 8

#: Types of the values of a TIFF file that Pillow takes for others, by mode, bits and SampleFormat: signed bytes
#: that it takes for unsigned ones, and unsigned integers of 32 bits the other way round.
_STORED: dict[tuple[str, int, int], type[np.int8 | np.uint32]] = {("L", 8, 2): np.int8, ("I", 32, 1): np.uint32}
#: Transformation of the stored pixels to the upright image, by EXIF orientation.
_UPRIGHT: dict[int, Callable[[Grey], Grey]] = {
    2: lambda grey: grey[:, ::-1],
    3: lambda grey: grey[::-1, ::-1],
    4: lambda grey: grey[::-1],
    5: lambda grey: grey.T,
    6: lambda grey: np.rot90(grey, -1),
    7: lambda grey: grey[::-1, ::-1].T,
    8: lambda grey: np.rot90(grey, 1),
}
#: What Pillow says of valid samples of TIFF that it has no mode for.
_UNKNOWN_SAMPLES = frozenset({"unknown pixel mode", "unknown data organization"})
#: Orientations that exchange rows and columns.
_TURNED = frozenset({5, 6, 7, 8})


class Raster(NamedTuple):
    """First picture of a file.

    Attributes:
        grey: Grey image, uint8 [H, W].
        pictures: Number of pictures (pages, or frames of an animation) that the file states.
        colour: Share of coloured pixels, 0 to 1.
        aspect: Height of a pixel divided by its width.
    """

    grey: Grey
    pictures: int
    colour: float
    aspect: float


def decode(name: str, data: bytes, model_size: tuple[int, int] | None, max_pixels: int) -> Raster:
    """Decode the first picture of a file.

    Args:
        name: Name of the file in messages.
        data: Content of the file.
        model_size: Size of the model input, (height, width) in pixels, at which much larger JPEG files are decoded
            at a reduced scale. Every pixel is decoded if ``None``.
        max_pixels: Maximum number of pixels.

    Returns:
        Grey image, number of pictures and share of colour.

    Raises:
        ImageFormatError: The file has none of these formats, or is of a kind that is not supported, or its reader
            is not installed.
        ImageCorruptError: The content is invalid or truncated.
        ImageSizeError: The image is too large or too small.
    """
    format_name = sniff(name, data)
    open_image = opener(name, format_name)
    try:
        tiff = _read_directories(name, data) if format_name == "TIFF" else None
        found = _read_unusual(name, data, tiff, format_name, max_pixels)
        if found is not None:
            return found
        try:
            return _read(name, data, tiff, open_image, format_name, model_size, max_pixels)
        except SyntaxError as error:
            if tiff is None or str(error) not in _UNKNOWN_SAMPLES:
                raise
            return _read_tiff(name, data, tiff, max_pixels)
    except (ImageError, MemoryError, ImportError):
        # A reader that cannot be imported is a problem of the installation, not of the file.
        raise
    except Exception as error:
        raise _decoding_error(name, format_name, error) from error


def convert(name: str, image: Image.Image, max_pixels: int) -> Raster:
    """Convert a Pillow image, as it is now, to grey.

    Args:
        name: Name of the image in messages.
        image: Image of any mode; it is decoded if it has not been.
        max_pixels: Maximum number of pixels.

    Returns:
        Grey image, one picture, share of colour and aspect ratio.

    Raises:
        ImageCorruptError: The image cannot be decoded.
        ImageSizeError: The image is too large or too small.
    """
    check_size(name, image.width, image.height, max_pixels)
    try:
        image.load()
        grey, colour, orientation = image_to_grey(image), colour_share(image), _orientation(image)
    except (ImageError, MemoryError):
        raise
    except Exception as error:
        raise _decoding_error(name, image.format or image.mode, error) from error
    aspect = _pixel_aspect(image, None) if image.format in ("PNG", "JPEG") else 1.0
    return Raster(_upright(grey, orientation), 1, colour, 1 / aspect if orientation in _TURNED else aspect)


def _read(
    name: str,
    data: bytes,
    tiff: "TiffFile | None",
    open_image: Opener,
    format_name: str,
    model_size: tuple[int, int] | None,
    max_pixels: int,
) -> Raster:
    """Decode a picture with Pillow."""

    def opened() -> Image.Image:
        return open_image(io.BytesIO(data) if tiff is None else tiff.open(data))

    held = len(data) * (1 if tiff is None or tiff.is_first else 2)
    with opened() as image:
        check_size(name, image.width, image.height, max_pixels)
        pictures = int(getattr(image, "n_frames", 1)) if tiff is None else tiff.pages
        coefficients = _coefficients(image, data) if format_name == "JPEG" else 0
        aspect = _pixel_aspect(image, tiff)
        # At a reduced scale the shorter side of other than square pixels might have too few of them.
        if model_size is not None and format_name == "JPEG" and aspect == 1:
            reduce_jpeg(image, model_size)
        deep = is_deep(image)
        check_memory(name, held + coefficients + (1 + deep) * _bytes_to_decode(image, format_name), max_pixels)
        white_is_zero = format_name == "TIFF" and _white_is_zero(image)
        if deep:
            samples = deep_samples(image, opened)
            grey, colour = samples_to_grey(samples), samples_colour_share(samples)
        else:
            image.load()
            grey = image_to_grey(image, None if tiff is None else _STORED.get((image.mode, *tiff.picture.stored)))
            colour = colour_share(image)
        orientation = _orientation(image)
    if orientation in _TURNED:
        aspect = 1 / aspect
    grey = _upright(grey, orientation)
    return Raster(np.invert(grey, out=grey) if white_is_zero else grey, pictures, colour, aspect)


def _upright(grey: Grey, orientation: int) -> Grey:
    return np.ascontiguousarray(_UPRIGHT[orientation](grey)) if orientation in _UPRIGHT else grey


def _read_unusual(
    name: str, data: bytes, tiff: "TiffFile | None", format_name: str, max_pixels: int
) -> Raster | None:
    """Read a picture of a kind that Pillow does not read, or refuse it by name; ``None`` for all others."""
    if tiff is not None:
        from fracture_edge.images.unusual import unusual_tiff

        return None if unusual_tiff(tiff.picture) is None else _read_tiff(name, data, tiff, max_pixels)
    header = read_header(data) if format_name == "JPEG" else None
    # The usual JPEG files need not import more.
    if header is None or (header.is_jpeg and header.precision == 8):
        return None
    from fracture_edge.images.unusual import read_jpeg, unusual_jpeg

    kind = unusual_jpeg(header)
    if kind is None:
        return None
    grey, colour = read_jpeg(name, data, header, kind, max_pixels)
    return Raster(grey, 1, colour, 1.0)


def _read_tiff(name: str, data: bytes, tiff: "TiffFile", max_pixels: int) -> Raster:
    """Read the picture of a TIFF file without Pillow, or refuse it by name."""
    from fracture_edge.images.unusual import Kind, read_tiff, unusual_tiff

    page = tiff.picture
    kind = unusual_tiff(page) or Kind(f"{page.bits}-bit samples of this kind in TIFF")
    grey, colour = read_tiff(name, data, tiff, kind, max_pixels)
    return Raster(_upright(grey, page.orientation), tiff.pages, colour, page.pixel_aspect)


def _decoding_error(name: str, format_name: str, error: Exception) -> ImageError:
    """Make an `ImageError` from any exception that Pillow's readers raise on invalid files.

    These are OSError, SyntaxError, ValueError, struct.error, KeyError, zlib.error, EOFError and more; the type
    does not tell what is wrong.
    """
    if isinstance(error, Image.DecompressionBombError):
        return ImageSizeError(name, f"the {format_name} file states too many pixels")
    if "truncated" in str(error).lower():
        return ImageCorruptError(name, TRUNCATED.format(format=format_name), Status.TRUNCATED)
    return ImageCorruptError(name, BROKEN.format(format=format_name, error=error))


def _read_directories(name: str, data: bytes) -> "TiffFile":
    from fracture_edge.images.tiff import read_directories

    return read_directories(name, data)


def _coefficients(image: Any, data: bytes) -> int:
    """Compute the bytes of coefficients that libjpeg keeps until the last scan; 0 if it decodes row by row."""
    stream = read_header(data)
    if stream is not None and stream.by_rows:
        return 0
    samplings = [(across, down) for _, across, down, _ in image.layer]
    most = max(across for across, _ in samplings) * max(down for _, down in samplings)
    return int(2 * image.width * image.height * sum(across * down for across, down in samplings) / most)


def _bytes_to_decode(image: Image.Image, format_name: str) -> int:
    """Compute the bytes that Pillow, its libraries and the grey result take while decoding."""
    per_pixel = PILLOW_BYTES.get(image.mode, 4)
    held = per_pixel + 1
    if format_name == "TIFF":
        # Compressed strips are unpacked into a buffer, and rotating a page makes a copy of it.
        compressed = image.info.get("compression") != "raw"
        held += per_pixel * (compressed + (_orientation(image) != 1))
    held += {"WEBP": WEBP_BYTES, "HEIC": _HEIC_BYTES}.get(format_name, 0)
    return image.width * image.height * held


def _white_is_zero(image: Image.Image) -> bool:
    """Return whether a TIFF of more than 8 bits stores white as 0; Pillow inverts 8-bit ones itself."""
    tags = getattr(image, "tag_v2", {})
    return image.mode.startswith(("I", "F")) and tags.get(_TIFF_PHOTOMETRIC) == 0


def _pixel_aspect(image: Image.Image, tiff: "TiffFile | None") -> float:
    """Return the height of a pixel divided by its width, which is the inverse ratio of the resolutions.

    They are those of TIFF's XResolution and YResolution, PNG's pHYs chunk and JPEG's JFIF segment.
    """
    if tiff is not None:
        return tiff.picture.pixel_aspect
    if image.format == "PNG":
        across, down = image.info.get("dpi") or image.info.get("aspect") or (1, 1)
    else:
        across, down = image.info.get("jfif_density") or (1, 1)
    return pixel_aspect(across, down)


def _orientation(image: Image.Image) -> int:
    """Return the EXIF orientation; 1, upright, if the EXIF block is invalid, as viewers do."""
    try:
        return int(image.getexif().get(_EXIF_ORIENTATION, 1))
    except Exception:
        return 1
