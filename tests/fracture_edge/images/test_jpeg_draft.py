"""Large JPEG files are decoded at the smallest scale that suffices for the model."""

import io
from collections.abc import Callable

import numpy as np
import numpy.typing as npt
import pytest
from PIL import Image

from fracture_edge.images.image_file import load_image, load_picture
from fracture_edge.preprocess import Preprocessing


def jpeg(pixels: npt.NDArray[np.uint8], height: int, width: int, **options: object) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(pixels).resize((width, height), Image.Resampling.BICUBIC).save(buffer, "JPEG", **options)
    return buffer.getvalue()


@pytest.mark.parametrize("channels", [1, 3])
def test_reduced_and_full_decoding_agree(channels: int, bone: Callable[..., npt.NDArray[np.uint8]]) -> None:
    grey = bone(1, True, height=360, width=288)
    data = jpeg(grey if channels == 1 else np.dstack([grey] * 3), 2880, 2304)
    # 2880 -> 288 at the model; twice that on each side, 576x460, is left by 1/4 but not by 1/8.
    reduced, full = load_image(data, model_size=(288, 288)), load_image(data)
    assert (reduced.shape, full.shape) == ((720, 576), (2880, 2304))
    preprocess = Preprocessing(288, 288)
    difference = np.abs(preprocess(reduced).astype(int) - preprocess(full))
    # libjpeg averages 4x4 pixels while bicubic weighs more of them: 0.13 grey levels on average here.
    assert difference.mean() < 0.3


def test_components_stored_as_rgb_are_reduced_too() -> None:
    """libjpeg cannot make the luma of such a file, only its colours."""
    red = np.zeros((32, 32, 3), np.uint8)
    red[..., 0] = 200
    for options in ({"keep_rgb": True}, {}):
        image = load_picture(jpeg(red, 2304, 1840, quality=95, **options), model_size=(288, 288))
        assert image.pixels.shape == (576, 460)
        # Luma of red 200 by ITU-R BT.601, 0.299 of it, within a step of rounding.
        assert set(np.unique(image.pixels)) <= {59, 60, 61}
        assert image.colour == 1


@pytest.mark.parametrize(
    ("size", "model_size", "expected"),
    [
        ((600, 480), (288, 288), (600, 480)),
        ((1150, 920), (288, 288), (1150, 920)),
        # 1/2 leaves exactly twice the model's 288 rows.
        ((1152, 920), (288, 288), (576, 460)),
        ((2304, 1840), (288, 288), (576, 460)),
        ((4608, 3680), (288, 288), (576, 460)),
        ((2304, 1840), None, (2304, 1840)),
        ((200, 100), (288, 288), (200, 100)),
        # An upright model needs a much smaller image than a wide one: the larger scale counts.
        ((1200, 600), (300, 150), (600, 300)),
        ((600, 1200), (300, 150), (300, 600)),
        ((1200, 600), (150, 300), (600, 300)),
    ],
)
def test_scale(size: tuple[int, int], model_size: tuple[int, int] | None, expected: tuple[int, int]) -> None:
    data = jpeg(np.zeros((32, 32), np.uint8), *size)
    assert load_image(data, model_size=model_size).shape == expected


def test_turned_by_exif() -> None:
    exif = Image.Exif()
    exif[274] = 6
    data = jpeg(np.zeros((32, 32), np.uint8), 2304, 1840, exif=exif)
    assert load_image(data, model_size=(288, 288)).shape == (460, 576)


def test_a_strip_is_decoded_too() -> None:
    # 32 rows shrink to less than one, so the scale must not be computed from the result.
    data = jpeg(np.full((32, 32), 77, np.uint8), 32, 60_000)
    grey = load_image(data, model_size=(288, 288))
    assert np.unique(grey).tolist() == [77]


def test_only_jpeg_is_reduced() -> None:
    buffer = io.BytesIO()
    Image.new("L", (1840, 2304)).save(buffer, "PNG")
    assert load_image(buffer.getvalue(), model_size=(288, 288)).shape == (2304, 1840)
