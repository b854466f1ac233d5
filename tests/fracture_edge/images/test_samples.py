"""Images of several 16-bit samples keep all their bits, and an empty alpha hides nothing."""

import io
import struct
import zlib
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from PIL import Image

from fracture_edge.images.colour import colour_share
from fracture_edge.images.image_file import load_image, load_picture
from fracture_edge.images.samples import is_deep

HEIGHT, WIDTH = 40, 48
#: 12-bit content, whose low bytes take all values.
GREY = (np.arange(HEIGHT * WIDTH) * 7919 % 3700 + 195).astype(np.uint16).reshape(HEIGHT, WIDTH)
EMPTY, FULL = np.zeros_like(GREY), np.full_like(GREY, 65535)
HALF = np.where(np.arange(WIDTH) < WIDTH // 2, 65535, 0).astype(np.uint16) * np.ones((HEIGHT, 1), np.uint16)
COLOURS = np.dstack([GREY, GREY[::-1], GREY[:, ::-1]])
WEIGHTS = np.array([19595, 38470, 7471], np.int64)


def stretched(values: npt.NDArray[Any]) -> npt.NDArray[Any]:
    low, high = int(values.min()), int(values.max())
    return np.rint((values - low) * (255.0 / (high - low)))


def png(samples: npt.NDArray[np.uint16]) -> bytes:
    """Write a 16-bit PNG of 2, 3 or 4 samples, whose rows take turns with the five filters."""
    height, width, count = samples.shape
    raw = np.frombuffer(samples.astype(">u2").tobytes(), np.uint8).reshape(height, -1).astype(int)
    pixel = 2 * count
    lines = []
    for row in range(height):
        left = np.pad(raw[row], (pixel, 0))[: raw.shape[1]]
        above = raw[row - 1] if row else np.zeros_like(raw[row])
        corner = np.pad(above, (pixel, 0))[: raw.shape[1]]
        guess = left + above - corner
        near = [np.abs(guess - other) for other in (left, above, corner)]
        paeth = np.where(
            (near[0] <= near[1]) & (near[0] <= near[2]), left, np.where(near[1] <= near[2], above, corner)
        )
        kind = row % 5
        predicted = (0 * left, left, above, (left + above) // 2, paeth)[kind]
        lines.append(bytes([kind]) + ((raw[row] - predicted) % 256).astype(np.uint8).tobytes())

    def chunk(name: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body))

    header = struct.pack(">IIBBBBB", width, height, 16, {2: 4, 3: 2, 4: 6}[count], 0, 0, 0)
    body = chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(b"".join(lines))) + chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + body


def tiff(samples: npt.NDArray[np.generic], *, order: str = "<", tags: dict[int, list[int]] | None = None) -> bytes:
    """Write an uncompressed TIFF of one strip; `tags` add to the directory or replace it."""
    height, width = samples.shape[:2]
    count = 1 if samples.ndim == 2 else samples.shape[2]
    data = samples.astype(samples.dtype.newbyteorder(order)).tobytes()
    entries = {
        256: [width],
        257: [height],
        258: [8 * samples.dtype.itemsize] * count,
        259: [1],
        262: [1 if count < 3 else 2],
        273: [8],
        277: [count],
        278: [height],
        279: [len(data)],
        339: [{"u": 1, "i": 2, "f": 3}[samples.dtype.kind]] * count,
    } | (tags or {})
    at = 8 + len(data) + len(data) % 2
    directory, extra = b"", b""
    behind = at + 2 + 12 * len(entries) + 4
    for tag, values in sorted(entries.items()):
        kind, layout = (4, "I") if max(values) > 65535 or tag in (273, 279) else (3, "H")
        body = struct.pack(f"{order}{len(values)}{layout}", *values)
        if len(body) > 4:
            body, extra = struct.pack(order + "I", behind + len(extra)), extra + body
        directory += struct.pack(order + "HHI", tag, kind, len(values)) + body.ljust(4, b"\0")
    head = (b"II*\0" if order == "<" else b"MM\0*") + struct.pack(order + "I", at)
    count_and_entries = struct.pack(order + "H", len(entries)) + directory
    return head + data + bytes(len(data) % 2) + count_and_entries + bytes(4) + extra


GREY_COLOURS = np.dstack([GREY] * 3)
LUMA = (COLOURS.astype(np.int64) @ WEIGHTS + 32768) >> 16


@pytest.mark.parametrize("write", [png, tiff, lambda values: tiff(values, order=">")])
@pytest.mark.parametrize(
    ("samples", "expected"),
    [
        (GREY_COLOURS, stretched(GREY)),
        (COLOURS, stretched(LUMA)),
        (np.dstack([GREY_COLOURS, FULL]), stretched(GREY)),
        (np.dstack([GREY_COLOURS, EMPTY]), stretched(GREY)),
        (np.dstack([GREY_COLOURS, HALF]), stretched(np.where(HALF > 0, GREY, 0))),
        (GREY_COLOURS << 4, stretched(GREY)),
    ],
    ids=["grey", "colours", "opaque", "empty alpha", "half transparent", "all bits"],
)
def test_all_bits_are_kept(write: Any, samples: npt.NDArray[np.uint16], expected: npt.NDArray[Any]) -> None:
    data = write(samples)
    if write is not png and samples.shape[2] == 4:
        order = "<" if data[:1] == b"I" else ">"
        data = tiff(samples, order=order, tags={338: [2]})
    grey = load_image(data)
    assert (grey.dtype, grey.flags.c_contiguous) == (np.uint8, True)
    np.testing.assert_array_equal(grey, expected)


@pytest.mark.parametrize("alpha", [FULL, EMPTY, HALF])
def test_grey_with_alpha(alpha: npt.NDArray[np.uint16]) -> None:
    expected = stretched(np.where(alpha > 0, GREY, 0)) if alpha is HALF else stretched(GREY)
    np.testing.assert_array_equal(load_image(png(np.dstack([GREY, alpha]))), expected)


@pytest.mark.parametrize("kind", [0, 1])
def test_other_fourth_samples_of_tiff(kind: int) -> None:
    # Unspecified, and multiplied already: what alpha hides is dark as it is.
    samples = np.dstack([GREY_COLOURS, FULL if kind else HALF])
    np.testing.assert_array_equal(load_image(tiff(samples, tags={338: [kind]})), stretched(GREY))


@pytest.mark.parametrize("compression", ["tiff_lzw", "tiff_adobe_deflate"])
def test_compressed_tiff(compression: str) -> None:
    tifffile = pytest.importorskip("tifffile")
    pytest.importorskip("imagecodecs")
    buffer = io.BytesIO()
    name = {"tiff_lzw": "lzw", "tiff_adobe_deflate": "zlib"}[compression]
    tifffile.imwrite(buffer, GREY_COLOURS, photometric="rgb", compression=name, predictor=True)
    np.testing.assert_array_equal(load_image(buffer.getvalue()), stretched(GREY))


def test_range_is_that_of_the_content_and_no_hot_pixel() -> None:
    hot = GREY_COLOURS.copy()
    hot[-1, -1] = 65535
    np.testing.assert_array_equal(load_image(png(hot)).ravel()[:-1], stretched(GREY).ravel()[:-1])


def test_share_of_colour() -> None:
    assert load_picture(png(GREY_COLOURS)).colour == 0
    assert load_picture(png(COLOURS)).colour > 0.5


def test_orientation() -> None:
    data = tiff(GREY_COLOURS, tags={274: [6]})
    np.testing.assert_array_equal(load_image(data), np.rot90(stretched(GREY), -1))


def test_what_is_deep() -> None:
    for data, expected in ((png(COLOURS), True), (tiff(COLOURS), True), (tiff(GREY), False)):
        with Image.open(io.BytesIO(data)) as image:
            assert is_deep(image) is expected
    assert not is_deep(Image.new("RGB", (4, 4)))


SIGNED = (np.arange(HEIGHT * WIDTH) % 256 - 128).astype(np.int8).reshape(HEIGHT, WIDTH)
#: Multiples of 2^24, so that single precision keeps them exactly.
LARGE = (np.arange(HEIGHT * WIDTH) % 256).astype(np.uint32).reshape(HEIGHT, WIDTH) << np.uint32(24)


@pytest.mark.parametrize("order", ["<", ">"])
def test_signed_bytes(order: str) -> None:
    np.testing.assert_array_equal(load_image(tiff(SIGNED, order=order)), SIGNED.astype(int) + 128)


def test_large_unsigned_integers() -> None:
    np.testing.assert_array_equal(load_image(tiff(LARGE)), LARGE >> 24)


BYTES = (np.arange(HEIGHT * WIDTH) % 256).astype(np.uint8).reshape(HEIGHT, WIDTH)


def bitmap_with_alpha(alpha: int) -> bytes:
    """Write a bitmap of version 4 with masks, as a clipboard does."""
    pixels = np.dstack([BYTES, BYTES, BYTES, np.full_like(BYTES, alpha)])[::-1].tobytes()
    masks = struct.pack("<4I", 0xFF0000, 0xFF00, 0xFF, 0xFF000000)
    header = struct.pack("<IiiHHIIiiII", 108, WIDTH, HEIGHT, 1, 32, 3, len(pixels), 0, 0, 0, 0) + masks + bytes(52)
    return b"BM" + struct.pack("<IHHI", 14 + len(header) + len(pixels), 0, 0, 14 + len(header)) + header + pixels


def encode(image: Image.Image, style: str, **options: Any) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, style, **options)
    return buffer.getvalue()


CLEAR = np.zeros_like(BYTES)


@pytest.mark.parametrize(
    "source",
    [
        bitmap_with_alpha(0),
        bitmap_with_alpha(255),
        encode(Image.fromarray(np.dstack([BYTES, BYTES, BYTES, CLEAR])), "PNG"),
        encode(Image.fromarray(np.dstack([BYTES, CLEAR]), "LA"), "PNG"),
        encode(Image.fromarray(np.dstack([BYTES, BYTES, BYTES, CLEAR])), "TIFF"),
        encode(Image.fromarray(np.dstack([BYTES, BYTES, BYTES, CLEAR])), "WEBP", lossless=True, exact=True),
        np.dstack([BYTES, BYTES, BYTES, CLEAR]),
    ],
    ids=["bmp", "bmp-opaque", "png", "png-la", "tiff", "webp", "array"],
)
def test_alpha_that_hides_everything_is_ignored(source: bytes | npt.NDArray[np.uint8]) -> None:
    np.testing.assert_array_equal(load_image(source), BYTES)


def test_colours_below_an_empty_alpha_count() -> None:
    red = np.dstack([np.full_like(BYTES, 255), CLEAR, CLEAR, CLEAR])
    assert colour_share(Image.fromarray(red)) == 1
    red[: HEIGHT // 2, :, 3] = 255
    assert colour_share(Image.fromarray(red)) == pytest.approx(0.5)
