"""Kinds of TIFF and JPEG that are valid, but not read by Pillow: named, and read by tifffile and imagecodecs.

They are in the extra ``[tiff]``. Without it, and for kinds that it does not read either, a file is refused in
words.
"""

from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from fracture_edge.errors import ImageCorruptError, ImageFormatError, ImageSizeError, Status
from fracture_edge.images.grey import array_to_grey
from fracture_edge.images.jpeg_header import Codestream
from fracture_edge.images.limits import check_memory, check_size
from fracture_edge.images.quiet import quiet
from fracture_edge.images.samples import Samples, samples_colour_share, samples_to_grey
from fracture_edge.images.tiff import Directory, TiffFile

Grey = npt.NDArray[np.uint8]
Numbers = npt.NDArray[np.generic]

_WHITE_IS_ZERO, _RGB = 0, 2
_GREY = frozenset({0, 1})
_LAB = frozenset({8, 9, 10})
_SENSOR = frozenset({32803, 34892})
_FLOAT, _COMPLEX = 3, frozenset({5, 6})
_JPEG = frozenset({6, 7})
#: Compressions of TIFF that Pillow reads.
_READ = frozenset({1, 2, 3, 4, 5, 6, 7, 8, 32771, 32773, 32809, 32946, 34676, 34677, 34925, 50000, 50001})
#: Others, by name.
_COMPRESSIONS = {
    33003: "JPEG 2000",
    33004: "JPEG 2000",
    33005: "JPEG 2000",
    34712: "JPEG 2000",
    34887: "LERC",
    34892: "lossy JPEG",
    50002: "JPEG XL",
    52546: "JPEG XL",
}
#: Those that are not read: the decoder of JPEG XR is not looked after any more, and prints what it does not know.
_REFUSED = {34934: "JPEG XR", 22610: "JPEG XR", 34933: "PNG"}
#: A tile may be larger than the image, but not by much.
_MOST_OF_A_TILE = 4


class Kind(NamedTuple):
    """Kind of file that Pillow does not read.

    Attributes:
        words: Name of the kind.
        is_readable: Whether the packages of the extra read it.
    """

    words: str
    is_readable: bool = True


def unusual_tiff(page: Directory) -> Kind | None:
    """Name the kind of a TIFF page that Pillow does not read; ``None`` for the usual kinds."""
    compression = _COMPRESSIONS.get(page.compression)
    numbers = "floating-point numbers" if page.sample_format == _FLOAT else "integers"
    is_deep = page.samples > 1 and page.bits > 8
    for applies, words, is_readable in (
        (page.interpretation in _SENSOR, "raw sensor data", False),
        (compression is not None, compression, True),
        (page.compression not in _READ, _REFUSED.get(page.compression, f"compression {page.compression}"), False),
        (page.interpretation in _LAB, "CIELab", True),
        (page.sample_format in _COMPLEX, "complex numbers", False),
        (page.bits > 8 and page.compression in _JPEG, f"{page.bits}-bit JPEG", True),
        (page.bits > 32 or (page.sample_format == _FLOAT and page.bits != 32), f"{page.bits}-bit {numbers}", True),
        (is_deep and page.interpretation in _GREY, f"{page.bits}-bit grey with alpha", True),
        (is_deep and page.is_planar, f"{page.bits}-bit planes", True),
        (is_deep and page.bits != 16, f"{page.bits}-bit colours", True),
    ):
        if applies:
            return Kind(f"{words} in TIFF", is_readable)
    return None


def read_tiff(name: str, data: bytes, tiff: TiffFile, kind: Kind, max_pixels: int) -> tuple[Grey, float]:
    """Read the picture of a TIFF file of an unusual kind.

    Args:
        name: Name of the file in messages.
        data: Content of the file.
        tiff: Picture of the file.
        kind: Kind of the picture, from `unusual_tiff`.
        max_pixels: Maximum number of pixels.

    Returns:
        Grey image as stored, uint8 [H, W], and share of coloured pixels.

    Raises:
        ImageFormatError: The kind is not supported, or its packages are not installed.
        ImageCorruptError: The content is invalid.
        ImageSizeError: The image is too large or too small.
    """
    _require(name, kind)
    import tifffile

    page = tiff.picture
    height, width, samples = page.height, page.width, page.samples
    check_size(name, width, height, max_pixels)
    size = height * width * samples * (1 << max(0, (page.bits - 1).bit_length() - 3))
    check_memory(name, len(data) * (1 if tiff.is_first else 2) + 2 * size + height * width, max_pixels)
    if page.tile_pixels * size > _MOST_OF_A_TILE * size * height * width + (1 << 24):
        raise ImageSizeError(name, "the TIFF file has tiles that are larger than its picture")
    # Inside, because its log is switched off only once it has been imported.
    with quiet(), tifffile.TiffFile(tiff.open(data)) as file:
        first = file.pages.first
        values, axes = first.asarray(maxworkers=1), first.axes
    if axes == "SYX":
        values = np.moveaxis(values, 0, -1)
    if values.shape[:2] != (height, width) or values.ndim > 3 or values.dtype.kind not in "uif":
        raise ImageCorruptError(name, "the TIFF file is broken (another shape than its directory states)")
    if values.ndim == 2:
        values = values[..., np.newaxis]
    grey, colour = _to_grey(values, page)
    return (np.invert(grey, out=grey) if page.interpretation == _WHITE_IS_ZERO else grey), colour


def _to_grey(values: Numbers, page: Directory) -> tuple[Grey, float]:
    if page.interpretation == _RGB and values.shape[2] >= 3:
        used = values[..., :4] if page.has_alpha and values.shape[2] == 4 else values[..., :3]
    else:
        # Of CIELab the lightness; of grey with alpha both.
        used = values[..., :2] if page.has_alpha and page.interpretation not in _LAB else values[..., :1]
    if used.shape[2] == 1:
        return array_to_grey(used[..., 0]), 0.0
    return _of_samples(used, has_alpha=used.shape[2] in (2, 4))


def _of_samples(values: Numbers, *, has_alpha: bool) -> tuple[Grey, float]:
    shape = (values.shape[0], values.shape[1], values.shape[2])
    samples = Samples(lambda top, bottom: values[top:bottom], shape, has_alpha)
    return samples_to_grey(samples), samples_colour_share(samples)


def unusual_jpeg(header: Codestream | None) -> Kind | None:
    """Name the kind of a JPEG file that Pillow does not read; ``None`` for the usual kinds."""
    if header is None or header.components not in (1, 3, 4):
        return None
    if header.other:
        return Kind(f"{header.precision}-bit {header.other}", is_readable=header.other != "JPEG-LS")
    if not header.is_jpeg:
        return None
    return Kind(f"{header.precision}-bit JPEG") if header.precision != 8 else None


def read_jpeg(name: str, data: bytes, header: Codestream, kind: Kind, max_pixels: int) -> tuple[Grey, float]:
    """Read a JPEG file of an unusual kind.

    Args:
        name: Name of the file in messages.
        data: Content of the file.
        header: Header of the file.
        kind: Kind of the file, from `unusual_jpeg`.
        max_pixels: Maximum number of pixels.

    Returns:
        Grey image, uint8 [H, W], and share of coloured pixels.

    Raises:
        ImageFormatError: The kind is not supported, or its packages are not installed.
        ImageCorruptError: The content is invalid.
        ImageSizeError: The image is too large or too small.
    """
    check_size(name, header.width, header.height, max_pixels)
    _require(name, kind)
    import imagecodecs

    pixels = header.height * header.width
    check_memory(name, len(data) + (4 * header.components + 1) * pixels, max_pixels)
    values = np.asarray(imagecodecs.jpeg_decode(data))
    if values.shape[:2] != (header.height, header.width) or values.dtype.kind != "u":
        raise ImageCorruptError(name, "the JPEG file is broken (another shape than its header states)")
    if values.ndim == 2:
        return array_to_grey(values), 0.0
    return _of_samples(values[..., :3], has_alpha=False)


def _require(name: str, kind: Kind) -> None:
    """Check that a kind can be read.

    Raises:
        ImageFormatError: The kind is not supported, or its packages are not installed.
    """
    if not kind.is_readable:
        raise ImageFormatError(name, f"{kind.words} is not supported")
    try:
        import imagecodecs
        import tifffile
    except ImportError as error:
        raise ImageFormatError(
            name,
            f"{kind.words} needs tifffile and imagecodecs: pip install 'fracture-edge[tiff]'",
            Status.DECODER_NOT_INSTALLED,
        ) from error
    del imagecodecs, tifffile
