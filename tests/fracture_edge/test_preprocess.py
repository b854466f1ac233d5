"""Framing and resizing, on images small enough to compute by hand."""

from collections.abc import Callable

import numpy as np
import numpy.typing as npt
import pytest

from fracture_edge.errors import ModelError
from fracture_edge.images.image_file import Picture, load_image
from fracture_edge.preprocess import Preprocessing

WHITE = np.uint8(255)


@pytest.mark.parametrize(
    ("size", "picture", "rows", "columns"),
    [
        # (rows, columns) of the model input, of the image, and the expected place of the image
        ((64, 64), (128, 64), (0, 64), (16, 48)),
        ((64, 64), (64, 128), (16, 48), (0, 64)),
        ((64, 64), (64, 64), (0, 64), (0, 64)),
        ((64, 64), (32, 32), (0, 64), (0, 64)),
        ((64, 64), (32, 16), (0, 64), (16, 48)),
        # 100x33: 33 * 0.64 = 21.12 columns; of the 43 left over 21 lie on the left
        ((64, 64), (100, 33), (0, 64), (21, 42)),
        ((64, 48), (100, 100), (8, 56), (0, 48)),
        ((63, 65), (50, 50), (0, 63), (1, 64)),
        # half a pixel high: one pixel remains
        ((64, 64), (32, 6400), (31, 32), (0, 64)),
        ((64, 64), (6400, 32), (0, 64), (31, 32)),
    ],
)
@pytest.mark.parametrize("pad", [0, 17])
def test_letterbox(
    size: tuple[int, int], picture: tuple[int, int], rows: tuple[int, int], columns: tuple[int, int], pad: int
) -> None:
    result = Preprocessing(*size, pad=pad)(np.full(picture, WHITE))
    expected = np.full((*size, 1), pad, np.uint8)
    expected[slice(*rows), slice(*columns)] = WHITE
    np.testing.assert_array_equal(result, expected)
    assert result.dtype == np.uint8


def test_stretch_fills_the_frame() -> None:
    picture = np.zeros((40, 90), np.uint8)
    picture[:20] = WHITE
    result = Preprocessing(8, 6, "stretch", "box")(picture)
    expected = np.zeros((8, 6, 1), np.uint8)
    expected[:4] = WHITE
    np.testing.assert_array_equal(result, expected)


SQUARES = np.array([[0, 10, 100, 200], [20, 30, 100, 200], [7, 7, 255, 255], [7, 7, 0, 0]], np.uint8)
# Means of 2x2: 15, 150, 7, and 127.5 rounded up.
HALVED = np.array([[15, 150], [7, 128]], np.uint8)


@pytest.mark.parametrize("framing", ["letterbox", "stretch"])
def test_box_filter_averages(framing: str) -> None:
    result = Preprocessing(2, 2, framing, "box")(SQUARES)  # type: ignore[arg-type]
    np.testing.assert_array_equal(result[..., 0], HALVED)


def cubic(x: float) -> float:
    x = abs(x)
    if x < 1:
        return 1.5 * x**3 - 2.5 * x**2 + 1
    return -0.5 * x**3 + 2.5 * x**2 - 4 * x + 2 if x < 2 else 0


#: The textbook kernels and how far they reach.
KERNELS: dict[str, tuple[Callable[[float], float], float]] = {
    "box": (lambda x: 1, 0.5),
    "bilinear": (lambda x: 1 - abs(x), 1),
    "bicubic": (cubic, 2),
    "lanczos": (lambda x: float(np.sinc(x) * np.sinc(x / 3)), 3),
}


@pytest.mark.parametrize("name", KERNELS)
def test_filters_weight_by_area(name: str) -> None:
    column = np.array([[0], [0], [255], [255]], np.uint8)
    kernel, reach = KERNELS[name]
    expected = []
    for centre in (1, 3):
        # When shrinking by 2 the kernel is twice as wide; pixels outside of the image do not count.
        distances = (np.arange(4) + 0.5 - centre) / 2
        weights = np.array([kernel(x) if abs(x) < reach else 0 for x in distances])
        expected.append(round(float(np.clip(weights[2:].sum() / weights.sum(), 0, 1)) * 255))
    result = Preprocessing(2, 1, "stretch", name)(column)  # type: ignore[arg-type]
    assert result[:, 0, 0].tolist() == expected


def test_same_size_is_unchanged() -> None:
    np.testing.assert_array_equal(Preprocessing(4, 4)(SQUARES)[..., 0], SQUARES)


def test_load_is_decode_then_frame(bone: Callable[..., npt.NDArray[np.uint8]]) -> None:
    picture, preprocess = bone(3, True), Preprocessing(48, 64, pad=9)
    np.testing.assert_array_equal(preprocess.load(picture), preprocess(load_image(picture)))
    assert preprocess.load(picture).shape == (48, 64, 1)


def test_dict_round_trip() -> None:
    spec = Preprocessing(288, 224, "stretch", "lanczos", 5, "portrait")
    values = {"height": 288, "width": 224, "framing": "stretch", "filter": "lanczos", "pad": 5}
    values |= {"orientation": "portrait"}
    assert spec.to_dict() == values
    assert Preprocessing.from_dict(values) == spec
    assert Preprocessing.from_dict({"height": 8, "width": 9}) == Preprocessing(8, 9, "letterbox", "bicubic", 0)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"height": 0}, "size 0x9 is not between 1 and 4096"),
        ({"width": 4097}, "size 8x4097 is not between 1 and 4096"),
        ({"framing": "crop"}, "framing 'crop' must be one of: letterbox, stretch"),
        ({"filter": "nearest"}, "filter 'nearest' must be one of: box, bilinear, bicubic, lanczos"),
        ({"pad": 256}, "pad 256 is not between 0 and 255"),
        ({"pad": -1}, "pad -1 is not between 0 and 255"),
        ({"scale": 2}, "unexpected keyword argument 'scale'"),
        ({"height": "8"}, "not supported between"),
    ],
)
def test_bad_values(changes: dict[str, object], message: str) -> None:
    with pytest.raises(ModelError, match=r"^preprocessing: ") as caught:
        Preprocessing.from_dict({"height": 8, "width": 9} | changes)
    assert message in str(caught.value)


def test_missing_value() -> None:
    with pytest.raises(ModelError, match=r"^preprocessing: .*'width'"):
        Preprocessing.from_dict({"height": 8})


def test_wide_images_are_rotated_upright() -> None:
    portrait = Preprocessing(6, 4, filter="box", orientation="portrait")
    wide = np.zeros((4, 6), np.uint8)
    wide[0, 5] = 9  # the upper right corner comes to lie at the upper left: a quarter turn anticlockwise
    wide[3, 5] = 5
    expected = np.zeros((6, 4, 1), np.uint8)
    expected[0, 0], expected[0, 3] = 9, 5
    np.testing.assert_array_equal(portrait(wide), expected)
    np.testing.assert_array_equal(portrait(wide)[..., 0], np.rot90(wide))
    assert (portrait.turns(6, 4), portrait.turns(4, 6), portrait.turns(4, 4)) == (True, False, False)
    assert not Preprocessing(6, 4).turns(6, 4)


def test_upright_and_square_images_are_unchanged() -> None:
    for shape in ((40, 30), (30, 30)):
        grey = np.random.default_rng(0).integers(0, 256, shape, np.uint8)
        np.testing.assert_array_equal(
            Preprocessing(32, 24, orientation="portrait")(grey), Preprocessing(32, 24)(grey)
        )


def test_rotated_images_are_framed_upright() -> None:
    # 40 rows and 100 columns: upright 100 x 40, of which 32 rows and 13 columns are left, 5 on the left.
    portrait = Preprocessing(32, 24, pad=3, orientation="portrait")
    framed = portrait.framed(Picture(np.full((40, 100), WHITE)))
    assert (framed.content.shape, framed.side) == ((32, 13), 40)
    expected = np.full((32, 24, 1), 3, np.uint8)
    expected[:, 5:18] = WHITE
    np.testing.assert_array_equal(framed.pixels, expected)


def test_orientation_is_part_of_the_metadata() -> None:
    portrait = Preprocessing(32, 24, orientation="portrait")
    assert Preprocessing.from_dict(portrait.to_dict()) == portrait
    # Older files do not contain it.
    assert Preprocessing.from_dict({"height": 32, "width": 24}).orientation == "as_is"
    with pytest.raises(ModelError, match="orientation 'landscape' must be one of: as_is, portrait"):
        Preprocessing(32, 24, orientation="landscape")  # type: ignore[arg-type]
