"""Small valid files of every kind that the fuzzing starts from."""

import io
import struct
import zlib
from collections.abc import Callable
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


def _deep_png() -> bytes:
    rows = [b"\0" + row.astype(">u2").tobytes() for row in np.dstack([_DEEP, _DEEP[::-1], _DEEP])]
    header = struct.pack(">IIBBBBB", _GREY.shape[1], _GREY.shape[0], 16, 2, 0, 0, 0)
    chunks = ((b"IHDR", header), (b"IDAT", zlib.compress(b"".join(rows))), (b"IEND", b""))
    parts = [
        struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))
        for kind, body in chunks
    ]
    return b"\x89PNG\r\n\x1a\n" + b"".join(parts)


def _deep_tiff() -> bytes:
    """Write grey of three times the width, and describe it as colours."""
    data = _encode(np.repeat(_DEEP, 3, axis=1), "TIFF", tiffinfo={277: 1})
    for tag, value in ((256, _GREY.shape[1]), (262, 2), (277, 3)):
        at = data.index(struct.pack("<H", tag), int.from_bytes(data[4:8], "little")) + 8
        data = data[:at] + struct.pack("<I", value) + data[at + 4 :]
    return data


def _preview() -> bytes:
    """Write a reduced copy in front of the picture."""
    small, whole = (Image.fromarray(pixels) for pixels in (_GREY[:32, :32], _DEEP))
    buffer = io.BytesIO()
    small.save(buffer, "TIFF", save_all=True, append_images=[whole], tiffinfo={254: 1})
    data = buffer.getvalue()
    # The second page took over the tag.
    at = data.rindex(struct.pack("<HHI", 254, 4, 1)) + 8
    return data[:at] + bytes(4) + data[at + 4 :]


def _table_dicom() -> bytes:
    from pydicom.dataset import Dataset

    table = Dataset()
    table.add_new("LUTDescriptor", "US", [4096, 0, 8])
    table.add_new("LUTData", "OW", bytes(entry // 16 for entry in range(4096)))
    dataset: dict[str, Any] = {"BitsStored": 12, "HighBit": 15, "PixelSpacing": [0.3, 0.2], "PixelPaddingValue": 7}
    return _dicom(_DEEP, VOILUTSequence=[table], **dataset)


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
    "dicom-table": _table_dicom,
    "png-rgb-16": _deep_png,
    "tiff-rgb-16": _deep_tiff,
    "tiff-preview": _preview,
}
