"""The picture of a TIFF file is its page in full resolution, and previews and masks do not count as pages."""

import io

import numpy as np
import numpy.typing as npt
import pytest
from PIL import Image, TiffImagePlugin

from fracture_edge.errors import ImageSizeError
from fracture_edge.images import tiff
from fracture_edge.images.image_file import load_picture

RAMP = (np.arange(64 * 80) % 256).astype(np.uint8).reshape(64, 80)
SMALL = np.full((32, 40), 99, np.uint8)
DEEP = RAMP.astype(np.uint16) * 7 + 1000

Page = tuple[npt.NDArray[np.generic], dict[int, int]]


def pages(*described: Page, big: bool = False) -> bytes:
    """Write the pages one after the other, with the tags of each."""
    images, tags = [Image.fromarray(pixels) for pixels, _ in described], [extra for _, extra in described]
    buffer = io.BytesIO()
    with TiffImagePlugin.AppendingTiffWriter(buffer, True) as writer:
        for image, extra in zip(images, tags, strict=True):
            image.save(writer, "TIFF", tiffinfo=extra, big_tiff=big)
            writer.newFrame()
    return buffer.getvalue()


REDUCED, MASK, FULL, OLD_REDUCED, OLD_FULL = {254: 1}, {254: 4}, {254: 0}, {255: 2}, {255: 1}


@pytest.mark.parametrize(
    ("described", "expected", "count"),
    [
        (((SMALL, REDUCED), (RAMP, FULL)), RAMP, 1),
        (((SMALL, REDUCED), (RAMP, {})), RAMP, 1),
        (((SMALL, OLD_REDUCED), (RAMP, OLD_FULL)), RAMP, 1),
        (((SMALL, REDUCED), (DEEP, FULL)), RAMP, 1),
        (((SMALL, REDUCED), (SMALL, MASK), (RAMP, FULL), (255 - RAMP, FULL)), RAMP, 2),
        (((RAMP, FULL), (SMALL, REDUCED)), RAMP, 1),
        (((RAMP, {}), (SMALL, REDUCED), (255 - RAMP, {})), RAMP, 2),
        # A page that calls itself a page of several (bit 1) is a picture.
        (((SMALL, {254: 2}), (RAMP, {254: 2})), SMALL, 2),
        # Nothing larger: the file contradicts itself, and its first page is read.
        (((RAMP, REDUCED), (SMALL, FULL)), RAMP, 1),
        (((SMALL, REDUCED),), SMALL, 1),
        (((SMALL, REDUCED), (RAMP, REDUCED)), SMALL, 1),
    ],
)
def test_full_resolution(described: tuple[Page, ...], expected: npt.NDArray[np.uint8], count: int) -> None:
    picture = load_picture(pages(*described))
    np.testing.assert_array_equal(picture.pixels, expected)
    assert (picture.frame, picture.frames) == (0, count)


def test_big_tiff() -> None:
    data = pages((SMALL, REDUCED), (RAMP, FULL))
    # Written by Pillow, the pages of a classic file; the second directory of a BigTIFF is found in the same way.
    assert load_picture(data).pixels.shape == RAMP.shape
    big = io.BytesIO()
    Image.fromarray(RAMP).save(big, "TIFF", big_tiff=True, tiffinfo=REDUCED)
    found = tiff.read_directories("x", big.getvalue())
    assert (found.picture.is_picture, found.picture.pixels, found.is_first) == (False, 64 * 80, True)


def test_picture_below_its_preview() -> None:
    # As in raw photographs: the directory of the preview names that of the picture, which no chain leads to.
    data = bytearray(pages((SMALL, {254: 1, 330: 0}), (RAMP, FULL)))
    first = int.from_bytes(data[4:8], "little")
    entries = int.from_bytes(data[first : first + 2], "little")
    link = first + 2 + 12 * entries
    second = bytes(data[link : link + 4])
    data[link : link + 4] = bytes(4)
    entry = next(at for at in range(first + 2, link, 12) if data[at : at + 2] == (330).to_bytes(2, "little"))
    data[entry + 2 : entry + 12] = b"\x04\0\x01\0\0\0" + second
    picture = load_picture(bytes(data))
    np.testing.assert_array_equal(picture.pixels, RAMP)
    assert picture.frames == 1


def test_orientation_is_that_of_the_picture() -> None:
    picture = load_picture(pages((SMALL, {254: 1, 274: 1}), (RAMP, {254: 0, 274: 3})))
    np.testing.assert_array_equal(picture.pixels, RAMP[::-1, ::-1])


def test_memory_of_the_copy_is_counted() -> None:
    data = pages((SMALL, REDUCED), *[(RAMP, FULL)] * 4)
    needed = 2 * len(data) + 2 * RAMP.size
    assert load_picture(data, max_pixels=-(-needed // 5)).pixels.shape == RAMP.shape
    with pytest.raises(ImageSizeError, match="MB to decode"):
        load_picture(data, max_pixels=needed // 5 - 1)
