"""Share of coloured pixels in an image."""

import io

import numpy as np
import pytest
from PIL import Image

from fracture_edge.images.colour import array_colour_share, colour_share
from fracture_edge.images.image_file import load_picture

RED, GREY = (200, 30, 30), (120, 120, 120)


def half_red(width: int = 96, height: int = 96) -> Image.Image:
    """Make an image with a red upper and a grey lower half."""
    image = Image.new("RGB", (width, height), GREY)
    image.paste(RED, (0, 0, width, height // 2))
    return image


def as_mode(image: Image.Image, mode: str) -> Image.Image:
    """Convert an image; a palette is made for it, because the general one lacks its grey."""
    return image.quantize(256) if mode == "P" else image.convert(mode)


@pytest.mark.parametrize("mode", ["RGB", "RGBA", "P", "CMYK", "YCbCr", "HSV"])
def test_half_of_it_is_red(mode: str) -> None:
    assert colour_share(as_mode(half_red(), mode)) == pytest.approx(0.5, abs=0.01)


@pytest.mark.parametrize("mode", ["1", "L", "LA", "I", "F", "I;16"])
def test_grey_modes(mode: str) -> None:
    assert colour_share(Image.new(mode, (50, 40))) == 0


@pytest.mark.parametrize("mode", ["RGB", "RGBA", "P", "CMYK"])
def test_grey_in_colour_modes(mode: str) -> None:
    grey = Image.fromarray(np.tile(np.arange(96, dtype=np.uint8), (96, 1)))
    assert colour_share(as_mode(grey.convert("RGB"), mode)) == 0


def test_transparent_pixels_are_not_coloured() -> None:
    image = half_red().convert("RGBA")
    red, green, _, _ = (np.asarray(channel) for channel in image.split())
    image.putalpha(Image.fromarray(np.where(red == green, 255, 0).astype(np.uint8)))
    assert colour_share(image) == 0


def test_the_faintest_colour_that_counts() -> None:
    # BT.601: red that exceeds the rest by d has Cr = 0.5 d, Cb = -0.169 d: distance of 0.528 d; 12 is at 22.7.
    for excess, share in ((22, 0.0), (24, 1.0)):
        assert colour_share(Image.new("RGB", (32, 32), (100 + excess, 100, 100))) == share


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.float64])
def test_arrays(dtype: type) -> None:
    picture = np.asarray(half_red(300, 200)).astype(dtype)
    assert array_colour_share(picture) == pytest.approx(0.5, abs=0.01)
    assert array_colour_share(picture[..., 0]) == 0
    assert load_picture(picture).colour == pytest.approx(0.5, abs=0.01)


@pytest.mark.parametrize("style", ["PNG", "JPEG", "TIFF", "BMP", "WEBP"])
def test_files(style: str) -> None:
    stream = io.BytesIO()
    half_red().save(stream, style)
    assert load_picture(stream.getvalue()).colour == pytest.approx(0.5, abs=0.02)


def test_a_jpeg_that_is_decoded_at_a_reduced_scale_still_shows_its_colours() -> None:
    stream = io.BytesIO()
    half_red(1600, 1600).save(stream, "JPEG", quality=90)
    picture = load_picture(stream.getvalue(), model_size=(64, 64))
    assert picture.pixels.shape == (200, 200)
    assert picture.colour == pytest.approx(0.5, abs=0.02)
    # Grey by ITU-R 601-2: what reading it as grey at the same scale gives, to the last bit.
    with Image.open(stream) as image:
        image.draft("L", (200, 200))
        assert np.array_equal(picture.pixels, np.asarray(image))
