"""A few extreme pixels do not set the range of grey values, and normal pictures keep theirs."""

import io
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from PIL import Image

from fracture_edge.images.grey import stretch
from fracture_edge.images.image_file import load_image
from fracture_edge.images.levels import robust_range

SIDE = 200
#: A ramp of 251 values, 160 pixels of each, in the middle of what 16 bits can hold.
RAMP = (np.arange(SIDE * SIDE) % 251 * 12 + 1000).astype(np.uint16).reshape(SIDE, SIDE)
PLAIN = stretch(RAMP)


def found(values: npt.ArrayLike) -> tuple[float, float]:
    levels, counts = np.unique(np.asarray(values, np.float64), return_counts=True)
    return robust_range(levels, counts)


def changed(count: int, value: int, base: npt.NDArray[Any] = RAMP) -> npt.NDArray[Any]:
    """Give the first `count` pixels of each row block another value."""
    result = base.copy()
    result.reshape(-1)[:count] = value
    return result


def test_normal_range_is_minimum_and_maximum() -> None:
    assert found(RAMP) == (1000, 4000)
    np.testing.assert_array_equal(PLAIN, np.rint((RAMP - 1000.0) * 255 / 3000))


@pytest.mark.parametrize("count", [1, 40])
@pytest.mark.parametrize(("value", "expected"), [(65535, (1000, 4000)), (6500, (1000, 4000))])
def test_hot_pixels(count: int, value: int, expected: tuple[float, float]) -> None:
    # 40 of 40,000 pixels are 0.1 %.
    assert found(changed(count, value)) == expected
    grey = stretch(changed(count, value))
    assert (grey.reshape(-1)[:count] == 255).all()
    np.testing.assert_array_equal(grey.reshape(-1)[count:], PLAIN.reshape(-1)[count:])


def test_dead_pixels_and_hot_ones() -> None:
    bright = RAMP.astype(np.int32) + 20_000
    values = changed(20, 0, bright)
    values.reshape(-1)[-20:] = 65535
    assert found(values) == (21_000, 24_000)
    grey = stretch(values.astype(np.uint16)).reshape(-1)
    assert (grey[:20].max(), grey[-20:].min()) == (0, 255)
    np.testing.assert_array_equal(grey[20:-20], PLAIN.reshape(-1)[20:-20])


@pytest.mark.parametrize("share", [0.02, 0.05, 0.09])
def test_border_or_marker_of_one_value(share: float) -> None:
    values = changed(int(share * RAMP.size), 65535)
    assert found(values) == (1000, 4000)
    assert (stretch(values).reshape(-1)[: int(share * RAMP.size)] == 255).all()


@pytest.mark.parametrize(
    "values",
    [
        # No gap: the extreme value lies within two thirds of the range.
        changed(20, 5500),
        # More than a marker, and not of one value.
        changed(6000, 65535),
        np.where(np.arange(RAMP.size).reshape(RAMP.shape) < 3000, RAMP * 14, RAMP),
        # Two values, and one.
        np.where(RAMP > 3900, 65535, 0),
        np.full((8, 8), 7),
        # A finger on black: the bone is not cut off.
        np.where(np.arange(RAMP.size).reshape(RAMP.shape) < 36_500, RAMP // 100, RAMP * 10),
    ],
)
def test_range_that_belongs_to_the_picture(values: npt.NDArray[Any]) -> None:
    assert found(values) == (values.min(), values.max())


def test_few_brightest_values_of_a_picture_are_kept() -> None:
    # 20 pixels up to a fifth above the rest belong to it, the one far above does not.
    values = changed(20, 4500)
    values[-1, -1] = 65535
    assert found(values) == (1000, 4500)


def test_repeated_cuts() -> None:
    values = changed(2000, 60_000).astype(np.int64)
    values.reshape(-1)[2000:2010] = 5_000_000
    assert found(values) == (1000, 4000)


def test_histogram_of_two_values_is_not_cut() -> None:
    halves = np.where(np.arange(64 * 64).reshape(64, 64) < 4, np.float32(1e9), np.float32(2))
    np.testing.assert_array_equal(stretch(halves), np.where(halves > 2, 255, 0))


@pytest.mark.parametrize("kind", [np.int16, np.int32, np.uint32, np.float32, np.float64])
def test_every_type(kind: npt.DTypeLike) -> None:
    hot = np.asarray(changed(10, 30_000), kind)
    grey = stretch(hot)
    np.testing.assert_array_equal(grey.reshape(-1)[10:], PLAIN.reshape(-1)[10:])
    assert (grey.reshape(-1)[:10] == 255).all()


@pytest.mark.parametrize("value", [1e6, 1e12, 3e38])
def test_float_beyond_the_bins_of_a_histogram(value: float) -> None:
    hot = (RAMP / 4096).astype(np.float32)
    hot[0, 0], hot[0, 1] = value, np.nan
    grey = stretch(hot)
    assert (grey[0, 0], grey[0, 1]) == (255, 0)
    np.testing.assert_array_equal(grey.reshape(-1)[2:], PLAIN.reshape(-1)[2:])


@pytest.mark.parametrize("style", ["PNG", "TIFF"])
def test_files(style: str) -> None:
    buffer = io.BytesIO()
    Image.fromarray(changed(10, 65535)).save(buffer, style)
    np.testing.assert_array_equal(load_image(buffer.getvalue()).reshape(-1)[10:], PLAIN.reshape(-1)[10:])


def test_eight_bits_are_not_stretched() -> None:
    values = changed(10, 255, (RAMP // 40).astype(np.uint8))
    np.testing.assert_array_equal(load_image(values), values)
