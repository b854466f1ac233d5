"""Other than square pixels are read from the headers, and images are framed in their true proportions."""

import io
import struct
import zlib
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from PIL import Image

from fracture_edge.heatmap import overlay
from fracture_edge.images.aspect import MAX_ASPECT, is_plausible, pixel_aspect, true_size
from fracture_edge.images.image_file import Picture, load_picture
from fracture_edge.policy import ReasonCode
from fracture_edge.preprocess import Preprocessing
from fracture_edge.suitability import check_aspect

RAMP = (np.arange(64 * 80) % 256).astype(np.uint8).reshape(64, 80)
INVALID = [("0", 1), (1, 0), (-1, 1), (float("nan"), 1), (float("inf"), 1), (None, 1), ("x", 1), (1e308, 1e-308)]


@pytest.mark.parametrize(
    ("sides", "expected"),
    [((3, 2), 1.5), (("0.2", 0.4), 0.5), ((1, 1), 1), ((300, 302), 1), *((sides, 1) for sides in INVALID)],
)
def test_pixel_aspect(sides: tuple[object, object], expected: float) -> None:
    assert pixel_aspect(*sides) == pytest.approx(expected)


def test_plausible() -> None:
    assert [is_plausible(value) for value in (1, 3, 3.01, 1 / 3, 0.32)] == [True, True, False, True, False]
    assert MAX_ASPECT == 3
    assert (true_size(80, 64, 1.5), true_size(80, 64, 5)) == ((80, 96), (80, 64))


def encode(style: str, **options: Any) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(RAMP).save(buffer, style, **options)
    return buffer.getvalue()


def png(across: int, down: int, unit: int) -> bytes:
    data = encode("PNG")
    body = b"pHYs" + struct.pack(">IIB", across, down, unit)
    chunk = struct.pack(">I", 9) + body + struct.pack(">I", zlib.crc32(body))
    return data[:33] + chunk + data[33:]


def jfif(across: int, down: int, unit: int) -> bytes:
    data = encode("JPEG")
    at = data.index(b"JFIF\0") + 7
    return data[:at] + struct.pack(">BHH", unit, across, down) + data[at + 5 :]


def tiff(across: float, down: float, **options: Any) -> bytes:
    return encode("TIFF", x_resolution=across, y_resolution=down, **options)


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        (encode("PNG"), 1),
        (encode("JPEG"), 1),
        (encode("TIFF"), 1),
        # Resolutions: the more pixels across, the narrower they are.
        (png(3000, 2000, 1), 1.5),
        (png(3, 2, 0), 1.5),
        (png(2000, 3000, 1), 2 / 3),
        (png(0, 3000, 1), 1),
        (jfif(150, 100, 1), 1.5),
        (jfif(150, 100, 2), 1.5),
        (jfif(3, 2, 0), 1.5),
        (jfif(0, 0, 0), 1),
        (jfif(72, 72, 1), 1),
        (tiff(150, 100), 1.5),
        (tiff(150, 100, resolution_unit=1), 1.5),
        (tiff(150.0, 150.4), 1),
        (tiff(0, 100), 1),
    ],
)
def test_formats(data: bytes, expected: float) -> None:
    assert load_picture(data).aspect == pytest.approx(expected)


@pytest.mark.parametrize(
    ("orientation", "expected"), [(1, 1.5), (3, 1.5), (4, 1.5), (5, 2 / 3), (6, 2 / 3), (8, 2 / 3)]
)
def test_rotation_exchanges_the_sides(orientation: int, expected: float) -> None:
    exif = Image.Exif()
    exif[274] = orientation
    assert load_picture(tiff(150, 100, exif=exif)).aspect == pytest.approx(expected)
    assert load_picture(encode("JPEG", dpi=(150, 100), exif=exif)).aspect == pytest.approx(expected)


def test_every_pixel_is_decoded_where_they_are_not_square() -> None:
    buffer = io.BytesIO()
    Image.fromarray(np.zeros((640, 800), np.uint8)).save(buffer, "JPEG", dpi=(150, 100))
    assert load_picture(buffer.getvalue(), model_size=(32, 32)).pixels.shape == (640, 800)


def squares(height: int, width: int) -> npt.NDArray[np.uint8]:
    """Draw a white square on black, as pixels of this many rows and columns show it."""
    grey = np.zeros((height, width), np.uint8)
    grey[height // 4 : height * 3 // 4, width // 4 : width * 3 // 4] = 255
    return grey


@pytest.mark.parametrize(("height", "width", "aspect"), [(64, 128, 2.0), (128, 64, 0.5), (96, 64, 2 / 3)])
def test_image_is_framed_in_its_true_proportions(height: int, width: int, aspect: float) -> None:
    preprocessing = Preprocessing(64, 64, filter="box")
    framed = preprocessing.framed(Picture(squares(height, width), aspect=aspect))
    assert framed.content.shape == (64, 64)
    assert (framed.aspect, framed.side) == (aspect, min(height, width))
    np.testing.assert_array_equal(framed.pixels[..., 0], squares(64, 64))
    np.testing.assert_array_equal(framed.pixels, preprocessing(squares(height, width), aspect))


def test_true_proportions_decide_what_is_turned() -> None:
    portrait = Preprocessing(64, 32, filter="box", orientation="portrait")
    # 40 rows of 60 columns, but 80 x 60 in truth: upright as it is.
    tall = np.zeros((40, 60), np.uint8)
    tall[:10] = 255
    upright = portrait(tall, 2.0)[..., 0]
    # 32 columns wide and 43 rows high, 10 above; the upper quarter is white.
    assert upright[10 + 2 : 10 + 9].min() == 255
    assert upright[10 + 12 :].max() == 0
    # 60 rows of 40 columns, but 30 x 40 in truth: turned.
    wide = np.zeros((60, 40), np.uint8)
    wide[:, -10:] = 255
    turned = portrait(wide, 0.5)[..., 0]
    assert turned[10 + 2 : 10 + 9].min() == 255
    assert turned[10 + 12 :].max() == 0


def test_aspect_that_is_not_believed_is_ignored_and_uncertain() -> None:
    grey = squares(64, 64)
    preprocessing = Preprocessing(64, 64)
    np.testing.assert_array_equal(preprocessing(grey, 3.5), preprocessing(grey))
    assert (check_aspect(1.0), check_aspect(3.0), check_aspect(1 / 3)) == (None, None, None)
    for aspect, words in ((3.5, "3.5 times as high as wide"), (0.25, "4 times as wide as high")):
        reason = check_aspect(aspect)
        assert reason is not None
        assert reason.code is ReasonCode.PIXEL_ASPECT
        assert reason.text == f"low_image_quality: pixels {words} by the header, so the true shape is not known"


def test_overlay_has_true_proportions() -> None:
    grey = np.full((50, 100), 80, np.uint8)
    heatmap = np.zeros((4, 4), np.float32)
    heatmap[0] = 1
    image = overlay(grey, heatmap, Preprocessing(64, 64), 2.0)
    square = overlay(np.full((100, 100), 80, np.uint8), heatmap, Preprocessing(64, 64))
    assert image.size == square.size
    np.testing.assert_array_equal(np.asarray(image), np.asarray(square))
    # No larger than the image that was given, in its longer side.
    assert overlay(grey, heatmap, Preprocessing(64, 64), 3.0).width == 67


def test_overlay_of_a_nearly_square_image_is_turned_like_the_image() -> None:
    grey = np.full((3999, 4000), 80, np.uint8)
    heatmap = np.zeros((4, 4), np.float32)
    heatmap[0, 0] = 1
    portrait = Preprocessing(64, 64, orientation="portrait")
    image = np.asarray(overlay(grey, heatmap, portrait))
    # Turned anticlockwise for the model, its upper left is the image's upper right.
    assert image[100, 900].tolist() != image[100, 100].tolist() == [80, 80, 80]
