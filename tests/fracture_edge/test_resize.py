"""Resizing equals an exact reference of Pillow's 8-bit resampling, whatever the version of Pillow."""

import io
import math
from collections.abc import Callable

import numpy as np
import numpy.typing as npt
import pytest
from PIL import Image

from fracture_edge.doctor import known_answers
from fracture_edge.preprocess import Preprocessing

Grey = npt.NDArray[np.uint8]

#: Pillow's fixed point: 8 bits of the pixel and 2 bits of headroom are left for the sums of 32-bit integers.
PRECISION = 32 - 8 - 2


def cubic(x: float) -> float:
    x = abs(x)
    if x < 1:
        return ((1.5 * x - 2.5) * x) * x + 1
    return ((-0.5 * (x - 5)) * x - 4) * x + 2 if x < 2 else 0.0


def sinc(x: float) -> float:
    return math.sin(x * math.pi) / (x * math.pi) if x else 1.0


#: Kernels as Pillow computes them, and how far they reach.
KERNELS: dict[str, tuple[Callable[[float], float], float]] = {
    "box": (lambda x: float(-0.5 < x <= 0.5), 0.5),
    "bilinear": (lambda x: max(0.0, 1 - abs(x)), 1),
    "bicubic": (cubic, 2),
    "lanczos": (lambda x: sinc(x) * sinc(x / 3) if -3 <= x < 3 else 0.0, 3),
}


def weights(before: int, after: int, name: str) -> npt.NDArray[np.int64]:
    """Compute Pillow's integer weights of each pixel of a row before, for each pixel after: [after, before]."""
    kernel, reach = KERNELS[name]
    scale = before / after
    stretch = max(scale, 1.0)
    support = reach * stretch
    table = np.zeros((after, before), np.int64)
    for place in range(after):
        centre = (place + 0.5) * scale
        first = max(0, int(centre - support + 0.5))
        last = min(before, int(centre + support + 0.5))
        found = [kernel((at - centre + 0.5) * (1 / stretch)) for at in range(first, last)]
        total = 0.0
        for weight in found:
            total += weight
        for at, weight in enumerate(found, first):
            share = weight * (1 / total) * (1 << PRECISION)
            table[place, at] = int(share - 0.5 if share < 0 else share + 0.5)
    return table


def along_rows(grey: Grey, width: int, name: str) -> Grey:
    sums = grey.astype(np.int64) @ weights(grey.shape[1], width, name).T + (1 << (PRECISION - 1))
    return np.clip(sums >> PRECISION, 0, 255).astype(np.uint8)


def reference(grey: Grey, width: int, height: int, name: str) -> Grey:
    """Resize the width, round to 8 bits, then resize the height: what Pillow up to 12 does for every shape."""
    if grey.shape[1] != width:
        grey = along_rows(grey, width, name)
    return grey if grey.shape[0] == height else along_rows(grey.T, height, name).T


#: (height, width) before and after; from much wider than high to much higher than wide, smaller and larger.
SHAPES = [
    ((60, 300), (20, 100)),
    ((100, 240), (40, 96)),
    ((300, 300), (77, 64)),
    ((301, 203), (160, 107)),
    ((373, 153), (160, 66)),
    ((201, 100), (67, 33)),
    ((240, 100), (96, 40)),
    ((300, 100), (160, 53)),
    ((600, 100), (160, 27)),
    ((200, 64), (320, 102)),
    ((33, 70), (151, 320)),
    ((500, 40), (320, 40)),
    ((96, 40), (96, 13)),
    ((700, 32), (320, 200)),
]


@pytest.mark.parametrize("name", KERNELS)
@pytest.mark.parametrize(("before", "after"), SHAPES)
def test_width_first_then_height(before: tuple[int, int], after: tuple[int, int], name: str) -> None:
    # Black and white pixels make the kernels overshoot, which is clipped in between: the order shows most here.
    grey = np.random.default_rng(sum(before)).choice(np.array([0, 3, 128, 255], np.uint8), before)
    preprocessing = Preprocessing(*after, framing="stretch", filter=name)  # type: ignore[arg-type]
    np.testing.assert_array_equal(preprocessing(grey)[..., 0], reference(grey, after[1], after[0], name))


def test_the_reference_tells_the_orders_apart() -> None:
    grey = np.random.default_rng(0).choice(np.array([0, 255], np.uint8), (300, 100))
    height_first = reference(np.ascontiguousarray(grey.T), 160, 53, "bicubic").T
    assert np.abs(height_first.astype(int) - reference(grey, 53, 160, "bicubic")).max() > 3


def test_letterbox_uses_the_same_resize() -> None:
    grey = np.random.default_rng(0).integers(0, 256, (720, 240), np.uint8)
    framed = Preprocessing(320, 256, orientation="portrait")
    inner = reference(grey, 107, 320, "bicubic")
    np.testing.assert_array_equal(framed(grey)[:, 74:181, 0], inner)
    # A wide image is turned first, and is much higher than wide then.
    np.testing.assert_array_equal(framed(np.ascontiguousarray(np.rot90(grey, -1)))[:, 74:181, 0], inner)


def test_the_last_known_image_is_one_on_which_versions_of_pillow_differ() -> None:
    with Image.open(io.BytesIO(known_answers.phantom(known_answers.IMAGES - 1))) as image:
        assert (image.width, image.height) == (288, 864)
        grey = np.asarray(image)
    height_first = reference(np.ascontiguousarray(grey.T), 320, 107, "bicubic").T
    differs = height_first != reference(grey, 107, 320, "bicubic")
    assert differs.mean() > 0.2
