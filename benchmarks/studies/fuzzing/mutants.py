"""Generate broken image files by number: small valid files (seeds) and random mutations of them.

The same number gives the same bytes with the same versions of Pillow and pydicom.
"""

import io
from collections.abc import Callable
from functools import cache
from random import Random
from typing import Any

import numpy as np
from PIL import Image

#: Patient name in the header of every DICOM seed; no message may contain it.
PATIENT = "MARKER^PATIENT"

_ROWS, _COLUMNS = np.mgrid[0:40, 0:48]
_GREY = ((_ROWS * 5 + _COLUMNS * 3) % 256).astype(np.uint8)
_DEEP = (_GREY.astype(np.uint16) * 16 + 7).astype(np.uint16)
_COLOURS = np.dstack([_GREY, _GREY[::-1], _GREY[:, ::-1]])


def _encode(pixels: Any, style: str, **options: Any) -> bytes:
    image = pixels if isinstance(pixels, Image.Image) else Image.fromarray(pixels)
    buffer = io.BytesIO()
    image.save(buffer, style, **options)
    return buffer.getvalue()


def _several(style: str, **options: Any) -> bytes:
    others = [Image.fromarray(255 - _COLOURS)] * 2
    return _encode(_COLOURS, style, save_all=True, append_images=others, **options)


def _turned(style: str) -> bytes:
    exif = Image.Exif()
    exif[0x0112] = 6
    return _encode(_GREY, style, exif=exif)


def _dataset(pixels: Any, interpretation: str, **elements: Any) -> Any:
    from pydicom.dataset import Dataset

    dataset = Dataset()
    dataset.SOPClassUID = "1.2.840.10008.5.1.4.1.1.1.1"
    dataset.SOPInstanceUID = "1.2.3"
    dataset.PatientName = PATIENT
    dataset.PatientID = PATIENT
    dataset.Rows, dataset.Columns = _GREY.shape
    dataset.SamplesPerPixel = 3 if pixels.ndim == 3 and pixels.shape[-1] == 3 else 1
    if dataset.SamplesPerPixel == 3:
        dataset.PlanarConfiguration = 0
    dataset.PhotometricInterpretation = interpretation
    dataset.BitsAllocated = dataset.BitsStored = pixels.dtype.itemsize * 8
    dataset.HighBit = dataset.BitsStored - 1
    dataset.PixelRepresentation = int(pixels.dtype.kind == "i")
    dataset.PixelData = pixels.tobytes()
    dataset["PixelData"].VR = "OW"
    for name, value in elements.items():
        setattr(dataset, name, value)
    return dataset


def _dicom(
    pixels: Any, interpretation: str = "MONOCHROME2", syntax: str = "1.2.840.10008.1.2.1", **elements: Any
) -> bytes:
    from pydicom.dataset import FileMetaDataset

    dataset = _dataset(pixels, interpretation, **elements)
    dataset.file_meta = FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = syntax
    buffer = io.BytesIO()
    dataset.save_as(buffer, enforce_file_format=True)
    return buffer.getvalue()


def _encapsulated(syntax: str, style: str, pixels: Any, interpretation: str, **options: Any) -> bytes:
    from pydicom.encaps import encapsulate

    return _dicom(pixels, interpretation, syntax, PixelData=encapsulate([_encode(pixels, style, **options)]))


def _run_length() -> bytes:
    from pydicom.uid import RLELossless

    dataset = _dataset(_DEEP, "MONOCHROME2")
    dataset.compress(RLELossless, _DEEP, generate_instance_uid=False)
    buffer = io.BytesIO()
    dataset.save_as(buffer, enforce_file_format=True)
    return buffer.getvalue()


def _palette_dicom() -> bytes:
    table = np.arange(256, dtype="<u2") * 257
    elements: dict[str, Any] = {}
    for colour in ("Red", "Green", "Blue"):
        elements[f"{colour}PaletteColorLookupTableDescriptor"] = [256, 0, 16]
        elements[f"{colour}PaletteColorLookupTableData"] = table.tobytes()
    return _dicom(_GREY, "PALETTE COLOR", **elements)


_WINDOW: dict[str, Any] = {
    "WindowCenter": [2000, 900],
    "WindowWidth": [1500, 300],
    "RescaleSlope": 1,
    "RescaleIntercept": -7,
}

SEEDS: dict[str, Callable[[], bytes]] = {
    "png-8": lambda: _encode(_GREY, "PNG"),
    "png-16": lambda: _encode(_DEEP, "PNG"),
    "png-rgba": lambda: _encode(np.dstack([_COLOURS, _GREY]), "PNG"),
    "png-palette": lambda: _encode(Image.fromarray(_GREY).convert("P"), "PNG", transparency=3),
    "png-turned": lambda: _turned("PNG"),
    "png-animated": lambda: _several("PNG"),
    "jpeg-grey": lambda: _encode(_GREY, "JPEG"),
    "jpeg-colour": lambda: _encode(_COLOURS, "JPEG"),
    "jpeg-progressive": lambda: _encode(_COLOURS, "JPEG", progressive=True),
    "jpeg-cmyk": lambda: _encode(Image.fromarray(_COLOURS).convert("CMYK"), "JPEG"),
    "jpeg-turned": lambda: _turned("JPEG"),
    "tiff-8": lambda: _encode(_GREY, "TIFF"),
    "tiff-16-lzw": lambda: _encode(_DEEP, "TIFF", compression="tiff_lzw"),
    "tiff-float": lambda: _encode((_GREY / 255).astype(np.float32), "TIFF"),
    "tiff-deflate": lambda: _encode(_COLOURS, "TIFF", compression="tiff_adobe_deflate"),
    "tiff-jpeg": lambda: _encode(_COLOURS, "TIFF", compression="jpeg"),
    "tiff-fax": lambda: _encode(_GREY > 99, "TIFF", compression="group4"),
    "tiff-big": lambda: _encode(_GREY, "TIFF", big_tiff=True),
    "tiff-pages": lambda: _several("TIFF", compression="packbits"),
    "bmp": lambda: _encode(_COLOURS, "BMP"),
    "webp": lambda: _encode(_COLOURS, "WEBP"),
    "webp-lossless": lambda: _encode(_COLOURS, "WEBP", lossless=True),
    "webp-animated": lambda: _several("WEBP"),
    "dicom-8": lambda: _dicom(_GREY, "MONOCHROME1"),
    "dicom-16": lambda: _dicom(_DEEP, **_WINDOW),
    "dicom-signed": lambda: _dicom(_DEEP.astype(np.int16), VOILUTFunction="SIGMOID", **_WINDOW),
    "dicom-implicit": lambda: _dicom(_DEEP, syntax="1.2.840.10008.1.2", **_WINDOW),
    "dicom-deflated": lambda: _dicom(_DEEP, syntax="1.2.840.10008.1.2.1.99", **_WINDOW),
    "dicom-rgb": lambda: _dicom(_COLOURS, "RGB"),
    "dicom-palette": _palette_dicom,
    "dicom-frames": lambda: _dicom(np.stack([_DEEP] * 3), NumberOfFrames=3),
    "dicom-jpeg": lambda: _encapsulated("1.2.840.10008.1.2.4.50", "JPEG", _GREY, "MONOCHROME2"),
    "dicom-jpeg-2000": lambda: _encapsulated(
        "1.2.840.10008.1.2.4.90", "JPEG2000", _DEEP, "MONOCHROME2", no_jp2=True
    ),
    "dicom-run-length": _run_length,
}


def _flip_bits(data: bytearray, random: Random) -> None:
    for _ in range(random.choice((1, 1, 2, 8, 64))):
        data[random.randrange(len(data))] ^= 1 << random.randrange(8)


def _flip_header_bits(data: bytearray, random: Random) -> None:
    for _ in range(random.choice((1, 2, 4))):
        data[random.randrange(min(len(data), 600))] ^= 1 << random.randrange(8)


def _cut(data: bytearray, random: Random) -> None:
    del data[random.randrange(1, len(data) + 1) :]


def _span(data: bytearray, random: Random) -> slice:
    start = random.randrange(len(data))
    return slice(start, start + random.choice((1, 4, 12, 64, 512)))


def _repeat(data: bytearray, random: Random) -> None:
    span = _span(data, random)
    data[span.start : span.start] = data[span] * random.choice((1, 1, 2, 20))


def _remove(data: bytearray, random: Random) -> None:
    if len(data) > 1:
        del data[_span(data, random)]


def _overwrite_length(data: bytearray, random: Random) -> None:
    """Overwrite some bytes with a number that is critical as a length, size or offset."""
    width = random.choice((1, 2, 4, 8))
    top = 1 << (8 * width)
    number = random.choice((0, 1, top - 1, top // 2, top // 2 - 1, len(data) % top, random.randrange(top)))
    at = random.randrange(len(data))
    data[at : at + width] = number.to_bytes(width, random.choice(("big", "little")))


def _shuffle(data: bytearray, random: Random) -> None:
    one, other = _span(data, random), _span(data, random)
    data[one], data[other] = data[other], data[one]


def _append_seed(data: bytearray, random: Random) -> None:
    data += _seed(random.choice(tuple(SEEDS)))


def _splice_seed(data: bytearray, random: Random) -> None:
    other = _seed(random.choice(tuple(SEEDS)))
    at = random.randrange(len(data))
    data[at:] = other[min(at, len(other) - 1) :]


MUTATIONS: tuple[Callable[[bytearray, Random], None], ...] = (
    _flip_bits,
    _flip_header_bits,
    _cut,
    _repeat,
    _remove,
    _overwrite_length,
    _overwrite_length,
    _shuffle,
    _append_seed,
    _splice_seed,
)


@cache
def _seed(name: str) -> bytes:
    return SEEDS[name]()


def mutant(number: int) -> tuple[str, bytes]:
    """Generate the broken file with a number.

    Returns:
        Name of the seed, and contents of the file, at least one byte.
    """
    # Not used for security: the same number must give the same file.
    random = Random(number)  # noqa: S311
    name = tuple(SEEDS)[number % len(SEEDS)]
    data = bytearray(_seed(name))
    for mutate in random.choices(MUTATIONS, k=random.choice((1, 1, 1, 2, 3, 5))):
        mutate(data, random)
        if not data:
            data = bytearray(b"\0")
    return name, bytes(data)


def outcome(data: bytes) -> str:
    """Read a file as `classify` does.

    Returns:
        ``ok``, or the status of the `fracture_edge.errors.ImageError`.

    Raises:
        AssertionError: The result violates the contract of `fracture_edge.images.image_file.load_image`, or the
            error message contains the patient's name.
        Exception: Any other exception; none should occur.
    """
    from fracture_edge.errors import ImageError
    from fracture_edge.images.image_file import load_frames

    try:
        for picture in load_frames(data, model_size=(16, 16)):
            grey = picture.pixels
            if grey.dtype != np.uint8 or grey.ndim != 2 or not grey.flags.c_contiguous:
                raise AssertionError(f"{grey.dtype} {grey.shape}")
    except ImageError as error:
        if any(word in str(error) for word in PATIENT.split("^")):
            raise AssertionError("the message contains the patient's name") from error
        return str(error.status)
    return "ok"
