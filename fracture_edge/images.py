"""One way in for every picture: a path, bytes, an open file or an array becomes one grey 8-bit image.

The content decides the format, not the file's name. Bright is dense (bone is white), as in every image the
models were trained on; DICOM files that store it the other way round are inverted.

Grey values above 8 bits carry no fixed meaning outside DICOM (12-bit data in 16-bit files is common), so
they are stretched linearly from the image's own minimum and maximum to 0 to 255. 8-bit values stay as they
are.
"""

import io
import os
from collections.abc import Callable
from pathlib import Path
from typing import BinaryIO, TypeAlias

import numpy as np
import numpy.typing as npt
from PIL import Image

from fracture_edge.errors import (
    ImageAccessError,
    ImageCorruptError,
    ImageError,
    ImageFormatError,
    ImageSizeError,
    Status,
)

ImageSource: TypeAlias = str | os.PathLike[str] | bytes | BinaryIO | npt.NDArray[np.generic]

#: Names that a folder is searched for. Reading does not look at the name.
IMAGE_SUFFIXES = frozenset({".png", ".jpg", ".jpeg", ".tif", ".tiff", ".bmp", ".webp", ".dcm", ".dicom"})

#: The largest film scanners and flat panels stay under 45 megapixels; four bytes each are 200 MB.
MAX_PIXELS = 50_000_000
#: Below this no bone can be made out, whatever the network says.
MIN_SIDE = 32
#: A JPEG is decoded at 1/2, 1/4 or 1/8 as long as this many times the model's pixels remain on each side.
DRAFT_OVERSAMPLING = 2

_DICOM_MAGIC_AT = 128
_EXIF_ORIENTATION = 0x0112
_TIFF_PHOTOMETRIC = 262


def load_image(source: ImageSource, *, model_size: tuple[int, int] | None = None) -> npt.NDArray[np.uint8]:
    """Read one image as grey.

    Args:
        source: A path, the bytes of a file, an open binary file, or an array: [H, W], [H, W, 1] grey,
            [H, W, 3] RGB or [H, W, 4] RGBA, of any real type (see above for values that are not 8-bit).
        model_size: (height, width) that the model will see. When given, a JPEG that is far larger is
            decoded at reduced scale. Without it every pixel of the file is decoded.

    Returns:
        uint8, shape [H, W], C-contiguous.

    Raises:
        ImageAccessError: The bytes cannot be had.
        ImageFormatError: No format that can be read, or DICOM without the `[dicom]` extra.
        ImageCorruptError: Broken or cut off.
        ImageSizeError: More than `MAX_PIXELS`, or a side under `MIN_SIDE`.
    """
    if isinstance(source, np.ndarray):
        return _from_array(source)
    name, data = _read_bytes(source)
    if not data:
        raise ImageAccessError(name, "the file is empty", Status.EMPTY)
    try:
        if data[_DICOM_MAGIC_AT : _DICOM_MAGIC_AT + 4] == b"DICM":
            from fracture_edge.dicom import read_dicom

            return read_dicom(name, data)
        return _decode(name, data, model_size)
    except MemoryError as error:
        raise ImageSizeError(name, "not enough memory to decode it") from error


def source_name(source: ImageSource) -> str:
    """What a message or a record calls `source`: its path, or what stands for it."""
    if isinstance(source, np.ndarray):
        return "<array>"
    if isinstance(source, bytes):
        return "<bytes>"
    if isinstance(source, (str, os.PathLike)):
        return os.fspath(source)
    name = getattr(source, "name", None)
    return name if isinstance(name, str) else "<file>"


def _read_bytes(source: str | os.PathLike[str] | bytes | BinaryIO) -> tuple[str, bytes]:
    name = source_name(source)
    if isinstance(source, bytes):
        return name, source
    try:
        if isinstance(source, (str, os.PathLike)):
            return name, Path(source).read_bytes()
        data = source.read()
    except OSError as error:
        raise access_error(name, error) from error
    except ValueError as error:
        # A path with a NUL character, which no file system has; or an open file that is closed already.
        raise ImageAccessError(name, str(error)) from error
    if not isinstance(data, bytes):
        raise ImageAccessError(name, "the file is not open in binary mode")
    return name, data


def access_error(name: str, error: OSError) -> ImageAccessError:
    """The operating system's refusal as one of our statuses."""
    if isinstance(error, FileNotFoundError):
        return ImageAccessError(name, "no such file", Status.NOT_FOUND)
    if isinstance(error, PermissionError):
        return ImageAccessError(name, "no permission to read it", Status.PERMISSION_DENIED)
    if isinstance(error, IsADirectoryError):
        return ImageAccessError(name, "is a folder, not an image", Status.IS_DIRECTORY)
    return ImageAccessError(name, error.strerror or type(error).__name__, Status.UNREADABLE)


def _sniff(data: bytes) -> str | None:
    """Pillow's name of the format that the first bytes announce."""
    for magic, name in ((b"\x89PNG\r\n\x1a\n", "PNG"), (b"\xff\xd8\xff", "JPEG"), (b"BM", "BMP")):
        if data.startswith(magic):
            return name
    if data[:4] in (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+"):
        return "TIFF"
    if data[:4] == b"RIFF" and data[8:12] == b"WEBP":
        return "WEBP"
    return None


def _opener(format_name: str) -> Callable[[BinaryIO], Image.Image]:
    """The one Pillow reader that is needed: `Image.open` would import five to find it."""
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
    from PIL import WebPImagePlugin

    return WebPImagePlugin.WebPImageFile


def _decode(name: str, data: bytes, model_size: tuple[int, int] | None) -> npt.NDArray[np.uint8]:
    format_name = _sniff(data)
    if format_name is None:
        raise ImageFormatError(name, "no PNG, JPEG, TIFF, BMP, WebP or DICOM image")
    try:
        with _opener(format_name)(io.BytesIO(data)) as image:
            check_size(name, image.width, image.height)
            if model_size is not None and format_name == "JPEG":
                _reduce_jpeg(image, model_size)
            white_is_zero = format_name == "TIFF" and _white_is_zero(image)
            image.load()
            grey = _to_grey(_upright(image))
            return np.invert(grey) if white_is_zero else grey
    except (ImageError, MemoryError, ImportError):
        # A reader that cannot be imported is a broken installation, not a broken file.
        raise
    except Exception as error:
        # Pillow's readers raise OSError, SyntaxError, ValueError, struct.error, KeyError and more on
        # broken files; each means the same here.
        if "truncated" in str(error).lower():
            raise ImageCorruptError(name, f"the {format_name} file is cut off", Status.TRUNCATED) from error
        raise ImageCorruptError(name, f"the {format_name} file is broken ({error})") from error


def check_size(name: str, width: int, height: int) -> None:
    """Refuse a picture by the size its header states, before anything is decoded.

    Raises:
        ImageSizeError: More than `MAX_PIXELS`, or a side under `MIN_SIDE`.
    """
    if width * height > MAX_PIXELS:
        raise ImageSizeError(name, f"{width}x{height} pixels, over the limit of {MAX_PIXELS:,}")
    if min(width, height) < MIN_SIDE:
        raise ImageSizeError(name, f"{width}x{height} pixels, under {MIN_SIDE} on a side", Status.TOO_SMALL)


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
        image.draft("L" if image.mode in ("L", "RGB") else None, wanted)


def _white_is_zero(image: Image.Image) -> bool:
    """Whether a deep TIFF stores white as 0; Pillow turns the 8-bit ones round by itself."""
    tags = getattr(image, "tag_v2", {})
    return image.mode.startswith(("I", "F")) and tags.get(_TIFF_PHOTOMETRIC) == 0


def _upright(image: Image.Image) -> Image.Image:
    """Turn the picture as its EXIF orientation says, 1 being upright already."""
    if image.getexif().get(_EXIF_ORIENTATION, 1) == 1:
        return image
    from PIL import ImageOps

    return ImageOps.exif_transpose(image)


def _to_grey(image: Image.Image) -> npt.NDArray[np.uint8]:
    if image.mode == "P":
        image = image.convert("RGBA" if "transparency" in image.info else "RGB")
    if image.mode in ("RGBA", "LA", "PA", "La", "RGBa"):
        # What is transparent was never exposed: black, like the film's border.
        layer = image.convert("RGBA")
        opaque = Image.new("RGBA", layer.size, (0, 0, 0, 255))
        opaque.alpha_composite(layer)
        image = opaque.convert("RGB")
    if image.mode.startswith(("I", "F")):
        return stretch(np.asarray(image))
    return np.ascontiguousarray(np.asarray(image.convert("L")))


def stretch(values: npt.NDArray[np.generic]) -> npt.NDArray[np.uint8]:
    """Map the values' own range linearly to 0..255; a constant image becomes black.

    Args:
        values: Real numbers of any type and shape. Non-finite ones count as the minimum.

    Returns:
        uint8 of the same shape.
    """
    numbers = np.asarray(values, np.float32)
    finite = np.isfinite(numbers)
    if not finite.any():
        return np.zeros(numbers.shape, np.uint8)
    low, high = float(numbers[finite].min()), float(numbers[finite].max())
    if not finite.all():
        numbers = np.where(finite, numbers, low)
    if high <= low:
        return np.zeros(numbers.shape, np.uint8)
    # In double precision: the difference of two large float32 values may not fit one.
    scaled: npt.NDArray[np.float64] = np.rint((numbers.astype(np.float64) - low) * (255.0 / (high - low)))
    return scaled.astype(np.uint8)


def _from_array(values: npt.NDArray[np.generic]) -> npt.NDArray[np.uint8]:
    name = "<array>"
    if values.ndim == 3 and values.shape[2] == 1:
        values = values[..., 0]
    if not (values.ndim == 2 or (values.ndim == 3 and values.shape[2] in (3, 4))):
        raise ImageFormatError(name, f"shape {values.shape} is neither [H, W] nor [H, W, 1, 3 or 4]")
    if values.dtype.kind not in "buif":
        raise ImageFormatError(name, f"type {values.dtype} is not a real number")
    check_size(name, values.shape[1], values.shape[0])
    if values.dtype == np.bool_:
        pixels = values.astype(np.uint8) * np.uint8(255)
    elif values.dtype == np.uint8:
        pixels = values.astype(np.uint8)
    else:
        pixels = stretch(values)
    return np.ascontiguousarray(pixels) if pixels.ndim == 2 else _to_grey(Image.fromarray(pixels))
