"""Conversion to 8-bit grey, strip by strip, so that large images need no large intermediate arrays."""

from collections.abc import Callable, Iterator

import numpy as np
import numpy.typing as npt
from PIL import Image

Numbers = npt.NDArray[np.generic]
Grey = npt.NDArray[np.uint8]

#: Pixels per strip: a few megabytes in double precision, which fit into a cache.
_STRIP = 1 << 18


def stretch(values: Numbers, show: Callable[[Numbers], Numbers] | None = None) -> Grey:
    """Scale the range of an array linearly to 0 to 255; a constant array becomes 0.

    Args:
        values: Array of real numbers of any type and shape; NaN and infinity count as the minimum.
        show: Function that converts some rows of `values` at a time, before their range is computed.

    Returns:
        Scaled values, uint8 of the same shape.
    """

    def rows(top: int, bottom: int) -> Numbers:
        return values[top:bottom] if show is None else show(values[top:bottom])

    return stretch_rows(rows, values.shape)


def array_to_grey(values: Numbers) -> Grey:
    """Convert an array to grey.

    Args:
        values: Array of real numbers, [H, W] grey, [H, W, 3] RGB or [H, W, 4] RGBA. Values that are not 8-bit are
            scaled by `stretch`, all channels together.

    Returns:
        Grey image, uint8 [H, W], C-contiguous.
    """
    if values.dtype == np.bool_:
        pixels = values.astype(np.uint8) * np.uint8(255)
    else:
        pixels = values.astype(np.uint8, copy=False) if values.dtype == np.uint8 else stretch(values)
    if pixels.ndim == 2:
        return np.ascontiguousarray(pixels)
    return by_strips(
        lambda top, bottom: _strip_to_grey(Image.fromarray(pixels[top:bottom])), pixels.shape[0], pixels.shape[1]
    )


def image_to_grey(image: Image.Image) -> Grey:
    """Convert a decoded image to grey: colours to ITU-R 601-2 luma, transparent pixels to black.

    Returns:
        Grey image, uint8 [H, W], C-contiguous.
    """

    def cut(top: int, bottom: int) -> Image.Image:
        return image if bottom - top == image.height else image.crop((0, top, image.width, bottom))

    if image.mode.startswith(("I", "F")):
        return stretch_rows(lambda top, bottom: np.asarray(cut(top, bottom)), (image.height, image.width))
    return by_strips(lambda top, bottom: _strip_to_grey(cut(top, bottom)), image.height, image.width)


def by_strips(convert: Callable[[int, int], Grey], height: int, width: int) -> Grey:
    """Convert an image strip by strip.

    Args:
        convert: Function that returns the rows from `top` up to `bottom`, uint8 [bottom - top, width].
        height: Number of rows.
        width: Number of columns.

    Returns:
        Grey image, uint8 [height, width].
    """
    grey = np.empty((height, width), np.uint8)
    for top, bottom in _strips((height, width)):
        grey[top:bottom] = convert(top, bottom)
    return grey


def _strips(shape: tuple[int, ...]) -> Iterator[tuple[int, int]]:
    rows = max(1, _STRIP // max(1, int(np.prod(shape[1:]))))
    for top in range(0, shape[0], rows):
        yield top, min(top + rows, shape[0])


def _strip_to_grey(image: Image.Image) -> Grey:
    if image.mode == "P":
        image = image.convert("RGBA" if "transparency" in image.info else "RGB")
    if image.mode in ("RGBA", "LA", "PA", "La", "RGBa"):
        # Transparent pixels become black, like the unexposed border of a film.
        layer = image.convert("RGBA")
        opaque = Image.new("RGBA", layer.size, (0, 0, 0, 255))
        opaque.alpha_composite(layer)
        image = opaque.convert("RGB")
    return np.asarray(image.convert("L"))


def stretch_rows(rows: Callable[[int, int], Numbers], shape: tuple[int, ...]) -> Grey:
    """Scale an array like `stretch`, with its rows computed on request.

    Args:
        rows: Function that returns the rows from `top` up to `bottom`; it is called twice for each strip.
        shape: Shape of the array.

    Returns:
        Scaled values, uint8 of the given shape.
    """
    result = np.zeros(shape, np.uint8)
    low, high = np.inf, -np.inf
    with np.errstate(over="ignore"):
        for top, bottom in _strips(shape):
            part = np.asarray(rows(top, bottom), np.float32)
            finite = part[np.isfinite(part)]
            if finite.size:
                low, high = min(low, float(finite.min())), max(high, float(finite.max()))
        if high <= low:
            return result
        for top, bottom in _strips(shape):
            part = np.asarray(rows(top, bottom), np.float32)
            # In double precision, because the difference of two large float32 values may overflow.
            numbers = np.where(np.isfinite(part), part, np.float32(low)).astype(np.float64)
            numbers -= low
            numbers *= 255.0 / (high - low)
            result[top:bottom] = np.rint(numbers, out=numbers)
    return result
