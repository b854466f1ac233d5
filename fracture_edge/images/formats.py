"""Which of Pillow's readers a file needs; the content decides, not the file's name."""

from collections.abc import Callable
from typing import BinaryIO, TypeAlias

from PIL import Image

from fracture_edge.errors import ImageFormatError, Status

Opener: TypeAlias = Callable[[BinaryIO], Image.Image]

_STARTS = (
    (b"\x89PNG\r\n\x1a\n", "PNG"),
    (b"\xff\xd8\xff", "JPEG"),
    (b"BM", "BMP"),
    # The last two are BigTIFF.
    (b"II*\0", "TIFF"),
    (b"MM\0*", "TIFF"),
    (b"II+\0", "TIFF"),
    (b"MM\0+", "TIFF"),
)
_HEIC_BRANDS = (b"heic", b"heix", b"heim", b"heis", b"mif1")


def sniff(name: str, data: bytes) -> str:
    """Name the format that the first bytes announce: PNG, JPEG, TIFF, BMP, WEBP or HEIC.

    Raises:
        ImageFormatError: None of these.
    """
    for start, format_name in _STARTS:
        if data.startswith(start):
            return format_name
    if data[:4] == b"RIFF" and data[8:12] == b"WEBP":
        return "WEBP"
    if data[4:8] == b"ftyp" and data[8:12] in _HEIC_BRANDS:
        return "HEIC"
    raise ImageFormatError(name, "no PNG, JPEG, TIFF, BMP, WebP, HEIC or DICOM image")


def opener(name: str, format_name: str) -> Opener:
    """The one reader that is needed: `Image.open` would import five to find it.

    Raises:
        ImageFormatError: It is HEIC's, and not installed.
    """
    if format_name == "PNG":
        from PIL import PngImagePlugin

        return PngImagePlugin.PngImageFile
    if format_name == "JPEG":
        from PIL import JpegImagePlugin

        return JpegImagePlugin.JpegImageFile
    if format_name == "BMP":
        from PIL import BmpImagePlugin

        return BmpImagePlugin.BmpImageFile
    if format_name == "TIFF":
        from PIL import TiffImagePlugin

        return TiffImagePlugin.TiffImageFile
    if format_name == "HEIC":
        return _heic_opener(name)
    from PIL import WebPImagePlugin

    return WebPImagePlugin.WebPImageFile


def _heic_opener(name: str) -> Opener:
    try:
        # The reader without the encoder: pillow-heif carries x265, which is GPL.
        from pi_heif import HeifImageFile
    except ImportError as error:
        raise ImageFormatError(
            name, "HEIC needs pi-heif: pip install 'fracture-edge[heic]'", Status.DECODER_NOT_INSTALLED
        ) from error
    reader: Opener = HeifImageFile
    return reader
