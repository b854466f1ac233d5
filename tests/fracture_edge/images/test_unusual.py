"""Valid kinds that Pillow does not read are read with the extra ``[tiff]``, or refused by name."""

import io
import sys
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from PIL import Image

from fracture_edge.errors import ImageError, Status
from fracture_edge.images.image_file import load_image, load_picture

HEIGHT, WIDTH = 40, 48
BYTES = (np.arange(HEIGHT * WIDTH) % 256).astype(np.uint8).reshape(HEIGHT, WIDTH)
DEEP = BYTES.astype(np.uint16) * 7 + 1000
INSTALL = "needs tifffile and imagecodecs: pip install 'fracture-edge[tiff]'"


def encode(pixels: npt.NDArray[Any], **tags: Any) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "TIFF", tiffinfo=tags.pop("tags", {}), **tags)
    return buffer.getvalue()


def retagged(data: bytes, tag: int, value: int) -> bytes:
    """Change the value of a short entry in the first directory of a little-endian file."""
    at = int.from_bytes(data[4:8], "little")
    for entry in range(at + 2, at + 2 + 12 * int.from_bytes(data[at : at + 2], "little"), 12):
        if int.from_bytes(data[entry : entry + 2], "little") == tag:
            return data[: entry + 8] + value.to_bytes(4, "little") + data[entry + 12 :]
    raise AssertionError(tag)


PLAIN = encode(BYTES)
COLOUR = encode(np.dstack([BYTES] * 3))

#: Files by their directories alone: what is behind is another kind, and is not looked at.
NAMED: dict[str, tuple[bytes, str]] = {
    "jpeg 2000": (retagged(PLAIN, 259, 34712), "JPEG 2000 in TIFF"),
    "lerc": (retagged(PLAIN, 259, 34887), "LERC in TIFF"),
    "jpeg xl": (retagged(PLAIN, 259, 50002), "JPEG XL in TIFF"),
    "lab": (retagged(COLOUR, 262, 8), "CIELab in TIFF"),
    "64 bit": (retagged(PLAIN, 258, 64), "64-bit integers in TIFF"),
    "half": (retagged(encode(DEEP, tags={339: 3}), 339, 3), "16-bit floating-point numbers in TIFF"),
    "alpha": (retagged(encode(DEEP, tags={277: 1}), 277, 2), "16-bit grey with alpha in TIFF"),
    "12-bit jpeg": (retagged(retagged(PLAIN, 259, 7), 258, 12), "12-bit JPEG in TIFF"),
}


@pytest.mark.parametrize("case", NAMED)
def test_without_the_extra(case: str, monkeypatch: pytest.MonkeyPatch) -> None:
    data, words = NAMED[case]
    monkeypatch.setitem(sys.modules, "tifffile", None)
    with pytest.raises(ImageError) as caught:
        load_image(data)
    assert (caught.value.status, caught.value.detail) == (Status.DECODER_NOT_INSTALLED, f"{words} {INSTALL}")


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (retagged(PLAIN, 259, 12345), "compression 12345 in TIFF is not supported"),
        (retagged(PLAIN, 259, 34934), "JPEG XR in TIFF is not supported"),
        (retagged(PLAIN, 262, 32803), "raw sensor data in TIFF is not supported"),
        (retagged(encode(DEEP, tags={339: 3}), 339, 6), "complex numbers in TIFF is not supported"),
    ],
)
def test_kinds_that_are_not_read_at_all(data: bytes, words: str) -> None:
    with pytest.raises(ImageError) as caught:
        load_image(data)
    assert (caught.value.status, caught.value.detail) == (Status.UNSUPPORTED_FORMAT, words)


def jpeg_of(precision: int, code: int) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(BYTES).save(buffer, "JPEG")
    data = bytearray(buffer.getvalue())
    at = data.index(b"\xff\xc0")
    data[at + 1], data[at + 4] = code, precision
    return bytes(data)


def test_jpeg_ls_is_named() -> None:
    with pytest.raises(ImageError, match="8-bit JPEG-LS is not supported") as caught:
        load_image(jpeg_of(8, 0xF7))
    assert caught.value.status is Status.UNSUPPORTED_FORMAT


@pytest.mark.parametrize(
    ("precision", "code", "words"), [(12, 0xC1, "12-bit JPEG"), (16, 0xC3, "16-bit lossless JPEG")]
)
def test_jpeg_without_the_extra(precision: int, code: int, words: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "imagecodecs", None)
    with pytest.raises(ImageError) as caught:
        load_image(jpeg_of(precision, code))
    assert (caught.value.status, caught.value.detail) == (Status.DECODER_NOT_INSTALLED, f"{words} {INSTALL}")


LAB = np.dstack([BYTES, np.zeros_like(BYTES), np.zeros_like(BYTES)])
FLOATS = BYTES / 256
ALPHA = np.full_like(DEEP, 65535)
ALPHA[:, : WIDTH // 2] = 0
COLOURS = np.dstack([DEEP] * 3)

#: Pixels, options of tifffile, expected grey levels.
READ: dict[str, tuple[npt.NDArray[Any], dict[str, Any], npt.NDArray[Any]]] = {
    "float64": (FLOATS, {}, BYTES),
    "float16": (FLOATS.astype(np.float16), {}, BYTES),
    "uint64": (BYTES.astype(np.uint64) << np.uint64(40), {}, BYTES),
    "white is zero": (FLOATS, {"photometric": "miniswhite"}, 255 - BYTES),
    "big-endian uint32": (BYTES.astype(np.uint32) << np.uint32(24), {"byteorder": ">"}, BYTES),
    "jpeg 2000": (BYTES, {"compression": "jpeg2000"}, BYTES),
    "jpeg 2000, 16 bit": (DEEP, {"compression": "jpeg2000"}, BYTES),
    "lerc": (BYTES, {"compression": "lerc"}, BYTES),
    "jpeg xl": (BYTES, {"compression": "jpegxl"}, BYTES),
    "alpha": (
        np.dstack([DEEP, ALPHA]),
        {"photometric": "minisblack", "extrasamples": ["unassalpha"], "planarconfig": "contig"},
        np.where(ALPHA > 0, np.rint(DEEP * (255 / int(DEEP.max()))), 0),
    ),
    "empty alpha": (
        np.dstack([DEEP, 0 * ALPHA]),
        {"photometric": "minisblack", "extrasamples": ["unassalpha"], "planarconfig": "contig"},
        BYTES,
    ),
    "planes": (np.moveaxis(COLOURS, -1, 0), {"photometric": "rgb", "planarconfig": "separate"}, BYTES),
    "tiles": (FLOATS, {"tile": (32, 32)}, BYTES),
    "lab": (LAB, {"photometric": "cielab"}, BYTES),
}


@pytest.mark.parametrize("case", READ)
def test_with_the_extra(case: str) -> None:
    tifffile = pytest.importorskip("tifffile")
    pytest.importorskip("imagecodecs")
    pixels, options, expected = READ[case]
    buffer = io.BytesIO()
    tifffile.imwrite(buffer, pixels, **options)
    picture = load_picture(buffer.getvalue())
    np.testing.assert_array_equal(picture.pixels, expected)
    assert (picture.frames, picture.colour, picture.pixels.flags.c_contiguous) == (1, 0, True)


def test_orientation_and_aspect_with_the_extra() -> None:
    tifffile = pytest.importorskip("tifffile")
    pytest.importorskip("imagecodecs")
    buffer = io.BytesIO()
    options = {"extratags": [(274, 3, 1, 6, True)], "resolution": (150, 100)}
    tifffile.imwrite(buffer, FLOATS, **options)
    picture = load_picture(buffer.getvalue())
    np.testing.assert_array_equal(picture.pixels, np.rot90(BYTES, -1))
    assert picture.aspect == pytest.approx(2 / 3)


def test_preview_in_front_with_the_extra() -> None:
    tifffile = pytest.importorskip("tifffile")
    pytest.importorskip("imagecodecs")
    buffer = io.BytesIO()
    with tifffile.TiffWriter(buffer) as writer:
        writer.write(BYTES[:32, :32], subfiletype=1)
        writer.write(FLOATS)
    np.testing.assert_array_equal(load_image(buffer.getvalue()), BYTES)


def test_jpeg_of_12_bits_with_the_extra() -> None:
    imagecodecs = pytest.importorskip("imagecodecs")
    pytest.importorskip("tifffile")
    # One value per block survives the transformation.
    blocks = np.kron(np.arange(30).reshape(5, 6), np.ones((8, 8))).astype(np.uint16) * 100 + 500
    data = imagecodecs.jpeg_encode(blocks, level=100, bitspersample=12)
    found = load_image(data).astype(int)
    assert np.abs(found - np.rint((blocks - 500.0) * (255 / 2900))).max() <= 1


@pytest.mark.parametrize("case", NAMED)
def test_broken_files_with_the_extra(case: str) -> None:
    pytest.importorskip("tifffile")
    pytest.importorskip("imagecodecs")
    try:
        load_image(NAMED[case][0])
    except ImageError as error:
        assert error.status in (Status.CORRUPT, Status.TRUNCATED, Status.TOO_LARGE)  # noqa: PT017


def test_tiles_that_would_take_all_memory() -> None:
    tifffile = pytest.importorskip("tifffile")
    pytest.importorskip("imagecodecs")
    buffer = io.BytesIO()
    tifffile.imwrite(buffer, FLOATS, tile=(32, 32))
    data = buffer.getvalue()
    for tag in (322, 323):
        data = retagged(data, tag, 60_000)
    with pytest.raises(ImageError, match="tiles that are larger than its picture") as caught:
        load_image(data)
    assert caught.value.status is Status.TOO_LARGE
