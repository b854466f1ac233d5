"""Detection of the image format from the content of a file, not from its name, and the reader of Pillow for it."""

from collections.abc import Callable
from typing import BinaryIO, TypeAlias

from PIL import Image

from fracture_edge.errors import ImageFormatError, Status

Opener: TypeAlias = Callable[[BinaryIO], Image.Image]

STARTS = (
    (b"\x89PNG\r\n\x1a\n", "PNG"),
    (b"\xff\xd8\xff", "JPEG"),
    (b"BM", "BMP"),
    # The last two are BigTIFF.
    (b"II*\0", "TIFF"),
    (b"MM\0*", "TIFF"),
    (b"II+\0", "TIFF"),
    (b"MM\0+", "TIFF"),
)
#: Other formats of pictures and documents, which are named where a file is refused.
OTHERS = (
    (0, b"GIF8", "GIF"),
    (4, b"jP  \r\n\x87\n", "JPEG 2000"),
    (0, b"\xff\x4f\xff\x51", "JPEG 2000"),
    (4, b"JXL \r\n\x87\n", "JPEG XL"),
    (0, b"\xff\x0a", "JPEG XL"),
    (4, b"ftypavif", "AVIF"),
    (0, b"8BPS", "Photoshop"),
    (0, b"%PDF", "PDF"),
    (0, b"PK\x03\x04", "a ZIP archive"),
    (344, b"n+1\0", "NIfTI"),
)
NO_IMAGE = "{kind}not a PNG, JPEG, TIFF, BMP, WebP, HEIC or DICOM image"
HEIC_BRANDS = (b"heic", b"heix", b"heim", b"heis", b"mif1")


def sniff(name: str, data: bytes) -> str:
    """Detect the format of a file from its first bytes.

    Args:
        name: Name of the file in messages.
        data: Content of the file.

    Returns:
        Format: ``PNG``, ``JPEG``, ``TIFF``, ``BMP``, ``WEBP`` or ``HEIC``.

    Raises:
        ImageFormatError: The file has none of these formats.
    """
    for start, format_name in STARTS:
        if data.startswith(start):
            return format_name
    if data[:4] == b"RIFF" and data[8:12] == b"WEBP":
        return "WEBP"
    if data[4:8] == b"ftyp" and data[8:12] in HEIC_BRANDS:
        return "HEIC"
    kind = next((f"{word}, " for at, start, word in OTHERS if data.startswith(start, at)), "")
    raise ImageFormatError(name, NO_IMAGE.format(kind=kind))


def opener(name: str, format_name: str) -> Opener:
    """Return the reader of a format; `Image.open` would import five readers to find it.

    Args:
        name: Name of the file in messages.
        format_name: Format, from `sniff`.

    Raises:
        ImageFormatError: The format is HEIC, whose reader is not installed.
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
        # Not pillow-heif, which also contains the encoder x265, licensed under the GPL.
        from pi_heif import HeifImageFile
    except ImportError as error:
        raise ImageFormatError(
            name, "HEIC needs pi-heif: pip install 'fracture-edge[heic]'", Status.DECODER_NOT_INSTALLED
        ) from error
    reader: Opener = HeifImageFile
    return reader
