"""Drawn pictures in the formats that the page reads, and files that it has to refuse."""

import io
import struct
import zlib
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
from PIL import Image, PngImagePlugin

Grey = npt.NDArray[np.uint8]
Draw = Callable[[np.random.Generator, int], bytes]

_ORIENTATION = 0x0112
#: Left, top, and distances across and down of the passes of Adam7 (PNG specification, section 8).
_PASSES = ((0, 0, 8, 8), (4, 0, 8, 8), (0, 4, 4, 8), (2, 0, 4, 4), (0, 2, 2, 4), (1, 0, 2, 2), (0, 1, 1, 2))
#: Length of a JPEG picture that the program decodes at a reduced scale, as a multiple of that of the others.
_LARGE = 5
#: Values of Body Part Examined, some of them not as the standard wants them.
_STATED = ("HAND", "KNEE", "PELVIS", "SHOULDER", "femur", "UP_EXM, ARM", "FOOT\\HAND", " Elbow", "CHEST", "0")


class Drawn(NamedTuple):
    """Drawn picture.

    Attributes:
        name: Name of its file.
        data: Content of the file.
    """

    name: str
    data: bytes


def bone(rng: np.random.Generator, size: int) -> Grey:
    """Draw a long bone in soft tissue, sometimes with a gap.

    Args:
        rng: Random numbers.
        size: Length of the longer side in pixels, about.

    Returns:
        Grey image, uint8 [H, W].
    """
    height, width = size, int(size * rng.uniform(0.55, 0.95))
    rows, columns = np.mgrid[0:height, 0:width].astype(np.float32)
    middle = width * rng.uniform(0.4, 0.6) + rng.uniform(-0.2, 0.2) * (rows - height / 2)
    distance = np.abs(columns - middle)
    outer = width * rng.uniform(0.1, 0.18) * (1 + rng.uniform(0.1, 0.6) * (2 * rows / height - 1) ** 4)
    tissue = np.sqrt(np.maximum(0, 1 - (distance / (width * rng.uniform(0.3, 0.46))) ** 2))
    wall = np.sqrt(np.maximum(0, outer**2 - distance**2)) - np.sqrt(
        np.maximum(0, (0.6 * outer) ** 2 - distance**2)
    )
    cortex = wall / (0.8 * outer)
    if rng.random() < 0.5:
        line = height * rng.uniform(0.35, 0.65) + rng.uniform(-0.8, 0.8) * (columns - width / 2)
        cortex = np.where(np.abs(rows - line) < 0.008 * height, 0, cortex)
    picture = 10 + rng.uniform(40, 90) * tissue + rng.uniform(90, 150) * cortex + rng.normal(0, 1, (height, width))
    if rng.random() < 0.5:
        # A second bone beside it.
        picture = np.maximum(0.9 * picture, 0.7 * np.roll(picture, int(0.18 * width), axis=1))
    upright: Grey = np.clip(np.rint(picture), 0, 255).astype(np.uint8)
    return np.ascontiguousarray(np.rot90(upright)) if rng.random() < 0.3 else upright


def _saved(image: Image.Image, kind: str, **options: object) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def _grey(rng: np.random.Generator, size: int) -> Image.Image:
    return Image.fromarray(bone(rng, size))


def _tinted(rng: np.random.Generator, size: int) -> Image.Image:
    """Draw a bone in colour: hardly any, or so much that the picture is doubted."""
    grey = bone(rng, size)
    strength = rng.choice((0.01, 0.5))
    tint = 1 - strength * rng.random(3)
    return Image.fromarray(np.clip(grey[..., None] * tint, 0, 255).astype(np.uint8))


def _with_alpha(rng: np.random.Generator, size: int) -> Image.Image:
    image = _tinted(rng, size).convert("RGBA")
    alpha = np.full((image.height, image.width), 255, np.uint8)
    alpha[: image.height // 8] = rng.integers(0, 256)
    alpha[:, : image.width // 10] = rng.integers(0, 256)
    image.putalpha(Image.fromarray(alpha))
    return image


def _deep(rng: np.random.Generator, size: int) -> npt.NDArray[np.uint16]:
    values = bone(rng, size).astype(np.uint16) * 16 + rng.integers(0, 16, dtype=np.uint16)
    if rng.random() < 0.5:
        # A marker far beyond everything else.
        values[4:8, 4:10] = 65535
    return values


def _png_16_colours(rng: np.random.Generator, size: int) -> bytes:
    """Write RGB of 16 bits, which Pillow reads but does not write."""
    values = np.stack([_deep(rng, size)] * 3, axis=-1).astype(">u2")
    values[..., 2] //= rng.integers(1, 3, dtype=np.uint16)
    return _png(values.shape[1], values.shape[0], 16, b"".join(b"\0" + row.tobytes() for row in values))


def _png_interlaced(rng: np.random.Generator, size: int) -> bytes:
    """Write a picture in the seven passes of Adam7, which Pillow reads but does not write."""
    grey = bone(rng, size)
    rows = b""
    for left, top, across, down in _PASSES:
        rows += b"".join(b"\0" + row.tobytes() for row in grey[top::down, left::across] if row.size)
    return _png(grey.shape[1], grey.shape[0], 8, rows, interlaced=True)


def _png(width: int, height: int, depth: int, rows: bytes, *, interlaced: bool = False) -> bytes:
    """Write a PNG file of rows with their filter bytes: RGB of 16 bits, grey of others."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", width, height, depth, 2 if depth == 16 else 0, 0, 0, interlaced)
    return (
        b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")
    )


def _png_narrow(rng: np.random.Generator, size: int) -> bytes:
    """Write a picture with pixels higher than wide."""
    info = PngImagePlugin.PngInfo()
    across, down = (3000, int(3000 / rng.uniform(1.1, 2.0)))
    info.add(b"pHYs", across.to_bytes(4, "big") + down.to_bytes(4, "big") + b"\1")
    return _saved(_grey(rng, size), "PNG", pnginfo=info)


def _jpeg(**options: object) -> Draw:
    return lambda rng, size: _saved(_tinted(rng, size), "JPEG", quality=int(rng.integers(60, 98)), **options)


def _jpeg_turned(rng: np.random.Generator, size: int) -> bytes:
    exif = Image.Exif()
    exif[_ORIENTATION] = int(rng.integers(1, 9))
    return _saved(_grey(rng, size), "JPEG", quality=90, exif=exif)


def _jpeg_large(rng: np.random.Generator, size: int) -> bytes:
    image = _tinted(rng, int(size * _LARGE * rng.uniform(1, 1.4)))
    subsampling, progressive = int(rng.integers(0, 3)), bool(rng.integers(2))
    quality = int(rng.integers(20, 60))
    return _saved(image, "JPEG", quality=quality, subsampling=subsampling, progressive=progressive)


def _jpeg_large_rgb(rng: np.random.Generator, size: int) -> bytes:
    return _saved(_tinted(rng, int(size * _LARGE)), "JPEG", quality=int(rng.integers(20, 60)), keep_rgb=True)


def _webp_with_alpha(rng: np.random.Generator, size: int) -> bytes:
    return _saved(_with_alpha(rng, size), "WEBP", quality=int(rng.integers(50, 100)))


def dicom(rng: np.random.Generator, size: int, *, frames: int = 1, body_part: str = "") -> bytes:
    """Write an uncompressed DICOM file: 8 to 16 bits, signed or not, inverted or not, with or without a window.

    Args:
        rng: Random numbers.
        size: Length of the longer side in pixels, about.
        frames: Number of frames, all with the same picture.
        body_part: Value of Body Part Examined; the element is left out if it is empty.
    """
    from pydicom.config import IGNORE
    from pydicom.dataelem import DataElement
    from pydicom.dataset import FileDataset, FileMetaDataset
    from pydicom.uid import (
        ExplicitVRLittleEndian,
        ImplicitVRLittleEndian,
        SecondaryCaptureImageStorage,
        generate_uid,
    )

    bits = int(rng.choice((8, 10, 12, 16)))
    signed = bits > 8 and bool(rng.integers(2))
    grey = np.stack([bone(rng, size)] * frames).astype(np.int64)
    values = grey * ((1 << bits) - 1) // 255
    if rng.random() < 0.5:
        values = (1 << bits) - 1 - values
        interpretation = "MONOCHROME1"
    else:
        interpretation = "MONOCHROME2"
    values -= (1 << (bits - 1)) * signed
    meta = FileMetaDataset()
    meta.TransferSyntaxUID = ExplicitVRLittleEndian if rng.random() < 0.5 else ImplicitVRLittleEndian
    meta.MediaStorageSOPClassUID = SecondaryCaptureImageStorage
    meta.MediaStorageSOPInstanceUID = generate_uid()
    data = FileDataset("", {}, file_meta=meta, preamble=b"\0" * 128)
    data.SOPClassUID, data.SOPInstanceUID = meta.MediaStorageSOPClassUID, meta.MediaStorageSOPInstanceUID
    data.Rows, data.Columns = values.shape[1:]
    data.SamplesPerPixel, data.PhotometricInterpretation = 1, interpretation
    data.BitsAllocated = 8 if bits == 8 else 16
    data.BitsStored, data.HighBit, data.PixelRepresentation = bits, bits - 1, int(signed)
    if body_part:
        # Whatever it is: scanners write what the standard forbids.
        data.add(DataElement(0x00180015, "CS", body_part, validation_mode=IGNORE))
    if frames > 1:
        data.NumberOfFrames = frames
    if rng.random() < 0.5:
        data.RescaleSlope, data.RescaleIntercept = "2", "-7"
    if rng.random() < 0.5:
        low, high = float(values.min()), float(values.max())
        slope, intercept = float(data.get("RescaleSlope", 1)), float(data.get("RescaleIntercept", 0))
        data.WindowCenter = f"{slope * (low + 0.45 * (high - low)) + intercept:.1f}"
        data.WindowWidth = f"{slope * rng.uniform(0.6, 1.2) * (high - low):.1f}"
        data.VOILUTFunction = str(rng.choice(("LINEAR", "LINEAR_EXACT", "SIGMOID")))
    if rng.random() < 0.3:
        data.PixelSpacing = ["0.2", f"{rng.uniform(0.1, 0.3):.3f}"]
    kind = ("i" if signed else "u") + ("1" if bits == 8 else "2")
    data.PixelData = values.astype(f"<{kind}").tobytes()
    buffer = io.BytesIO()
    data.save_as(buffer, enforce_file_format=True)
    return buffer.getvalue()


#: Kinds of pictures by name; the part before the first hyphen is the suffix of their files.
KINDS: Mapping[str, Draw] = MappingProxyType(
    {
        "png-8": lambda rng, size: _saved(_grey(rng, size), "PNG"),
        "png-16": lambda rng, size: _saved(Image.fromarray(_deep(rng, size)), "PNG"),
        "png-16-colours": _png_16_colours,
        "png-colours": lambda rng, size: _saved(_tinted(rng, size), "PNG"),
        "png-alpha": lambda rng, size: _saved(_with_alpha(rng, size), "PNG"),
        "png-palette": lambda rng, size: _saved(_tinted(rng, size).quantize(64), "PNG"),
        "png-palette-4": lambda rng, size: _saved(_tinted(rng, size).quantize(16), "PNG", bits=4),
        "png-1": lambda rng, size: _saved(_grey(rng, size).convert("1"), "PNG"),
        "png-grey-alpha": lambda rng, size: _saved(_with_alpha(rng, size).convert("LA"), "PNG"),
        "png-interlaced": _png_interlaced,
        "png-narrow": _png_narrow,
        "jpg-grey": lambda rng, size: _saved(_grey(rng, size), "JPEG", quality=int(rng.integers(60, 98))),
        "jpg-444": _jpeg(subsampling=0),
        "jpg-422": _jpeg(subsampling=1),
        "jpg-420": _jpeg(subsampling=2),
        "jpg-progressive": _jpeg(progressive=True),
        "jpg-restart": _jpeg(restart_marker_rows=1),
        "jpg-rgb": _jpeg(keep_rgb=True),
        "jpg-cmyk": lambda rng, size: _saved(_tinted(rng, size).convert("CMYK"), "JPEG", quality=90),
        "jpg-turned": _jpeg_turned,
        "jpg-large": _jpeg_large,
        "jpg-large-rgb": _jpeg_large_rgb,
        "bmp-8": lambda rng, size: _saved(_grey(rng, size), "BMP"),
        "bmp-24": lambda rng, size: _saved(_tinted(rng, size), "BMP"),
        "webp-lossy": lambda rng, size: _saved(_grey(rng, size).convert("RGB"), "WEBP", quality=80),
        "webp-lossless": lambda rng, size: _saved(_tinted(rng, size), "WEBP", lossless=True),
        "webp-alpha": _webp_with_alpha,
        "dcm-frame": dicom,
        "dcm-part": lambda rng, size: dicom(rng, size, body_part=str(rng.choice(_STATED))),
        "dcm-frames": lambda rng, size: dicom(rng, size, frames=2),
    }
)


def draw(kind: str, seed: int, size: int) -> Drawn:
    """Draw a picture of a kind.

    Args:
        kind: Name of the kind, one of `KINDS`.
        seed: Random seed.
        size: Length of the longer side in pixels, about; large JPEG files are larger.
    """
    suffix = kind.partition("-")[0]
    return Drawn(f"{kind}-{seed}.{suffix}", KINDS[kind](np.random.default_rng(seed), size))


def spoilt(seed: int, size: int) -> list[Drawn]:
    """Make files that have no answer: cut off, too large, not pictures, or of formats that are refused."""
    rng = np.random.default_rng(seed)
    cut = [
        draw(kind, seed, size)
        for kind in ("png-8", "jpg-420", "jpg-progressive", "webp-lossy", "dcm-frame", "bmp-8")
    ]
    return [
        *(Drawn(f"cut-{name}", data[: int(len(data) * rng.uniform(0.3, 0.9))]) for name, data in cut),
        Drawn("empty.png", b""),
        Drawn("noise.png", rng.bytes(16_000_000)),
        Drawn("bomb.png", bomb(20_000)),
        Drawn("small.png", _saved(Image.new("L", (20, 300), 90), "PNG")),
        Drawn("picture.gif", _saved(_grey(rng, size), "GIF")),
        Drawn("picture.tif", _saved(_grey(rng, size), "TIFF")),
        Drawn("text.jpg", b"a letter, not a picture\n" * 20),
    ]


def bomb(side: int) -> bytes:
    """Write the header of a PNG picture of side x side pixels, and a few of its pixels."""
    data = bytearray(_saved(Image.new("L", (64, 64)), "PNG"))
    data[16:24] = side.to_bytes(4, "big") * 2
    data[29:33] = zlib.crc32(data[12:29]).to_bytes(4, "big")
    return bytes(data)
