"""Conversion to 8-bit grey, strip by strip, so that large images need no large intermediate arrays."""

from collections.abc import Callable, Iterator

import numpy as np
import numpy.typing as npt
from PIL import Image

from fracture_edge.images.levels import robust_range

Numbers = npt.NDArray[np.generic]
Grey = npt.NDArray[np.uint8]

Rows = Callable[[int, int], Numbers]
LookUp = Callable[[npt.NDArray[np.int32], npt.NDArray[np.int64]], Grey]
Parts = Callable[[], Iterator[npt.NDArray[np.float64]]]

#: Lowest of the values that integers of at most 16 bits have, and the number of them.
_LOWEST, _VALUES = -(1 << 15), (1 << 15) + (1 << 16)
#: Number of bins of a histogram, and of histograms that are made in turn: an extreme value of float numbers may
#: leave everything else in one bin.
_BINS, _ROUNDS = 1 << 16, 8
#: Largest number, and smallest range, of single precision: beyond them double precision could overflow.
_LARGEST, _SMALLEST = float(np.finfo(np.float32).max), float(np.finfo(np.float32).smallest_subnormal)
#: Pixels per strip: a few megabytes in double precision, which fit into a cache.
_STRIP = 1 << 18


def stretch(values: Numbers) -> Grey:
    """Scale the range of an array linearly to 0 to 255; a constant array becomes 0.

    The range is that of `fracture_edge.images.levels.robust_range`; values beyond it become 0 or 255.

    Args:
        values: Array of real numbers of any type and shape; NaN and infinity count as the minimum.

    Returns:
        Scaled values, uint8 of the same shape.
    """
    rows: Rows = lambda top, bottom: values[top:bottom]  # noqa: E731
    return stretch_counted(rows, values.shape) if has_few_values(values) else stretch_rows(rows, values.shape)


def has_few_values(values: Numbers) -> bool:
    """Return whether an array has integers of at most 16 bits, so that its values can be counted and tabulated."""
    return values.dtype.kind in "iu" and values.dtype.itemsize <= 2


def stretch_counted(rows: Rows, shape: tuple[int, ...], look_up: LookUp | None = None) -> Grey:
    """Scale an array of integers of at most 16 bits like `stretch`, by a table of its values.

    Args:
        rows: Function that returns the rows from `top` up to `bottom`; it is called twice for each strip.
        shape: Shape of the array.
        look_up: Function that returns the grey level of each value, uint8, for the values from the lowest to the
            highest, int32, and the number of pixels of each; those of `table_of` if ``None``.

    Returns:
        Grey levels, uint8 of the given shape.
    """
    counts = np.zeros(_VALUES, np.int64)
    for top, bottom in strips(shape):
        counts += np.bincount(rows(top, bottom).astype(np.int32).ravel() - _LOWEST, minlength=_VALUES)
    occur = np.flatnonzero(counts)
    first, last = int(occur[0]), int(occur[-1])
    values = np.arange(first + _LOWEST, last + _LOWEST + 1, dtype=np.int32)
    table = (look_up or table_of)(values, counts[first : last + 1])
    result = np.empty(shape, np.uint8)
    for top, bottom in strips(shape):
        result[top:bottom] = table[rows(top, bottom).astype(np.int32) - values[0]]
    return result


def table_of(values: Numbers, counts: npt.NDArray[np.int64], *, robust: bool = True) -> Grey:
    """Scale the levels that occur linearly to 0 to 255.

    Args:
        values: Levels in any order, [N]; NaN and infinity count as the minimum.
        counts: Number of pixels of each level, [N].
        robust: Whether isolated extreme levels are left out of the range.

    Returns:
        Grey level of each, uint8 [N].
    """
    levels: npt.NDArray[np.float64] = np.asarray(values, np.float64)
    occurs = (counts > 0) & np.isfinite(levels)
    if not occurs.any():
        return np.zeros(levels.shape, np.uint8)
    present, counts = levels[occurs], counts[occurs]
    order = np.argsort(present, kind="stable")
    present, counts = present[order], counts[order]
    return scale(levels, robust_range(present, counts) if robust else (float(present[0]), float(present[-1])))


def scale(part: Numbers, limits: tuple[float, float]) -> Grey:
    """Scale values linearly from a range to 0 to 255; NaN and infinity become 0, and so does an empty range.

    Args:
        part: Values of any shape, float64.
        limits: Ends of the range; values beyond them become 0 or 255.

    Returns:
        Scaled values, uint8 of the same shape.
    """
    low, high = limits
    if high - low < _SMALLEST:
        return np.zeros(part.shape, np.uint8)
    numbers = np.where(np.isfinite(part), part, low)
    numbers -= low
    numbers *= 255.0 / (high - low)
    np.clip(numbers, 0, 255, out=numbers)
    return np.rint(numbers, out=numbers).astype(np.uint8)


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
    if pixels.ndim == 3 and pixels.shape[2] == 4 and not pixels[..., 3].any():
        pixels = np.ascontiguousarray(pixels[..., :3])
    if pixels.ndim == 2:
        return np.ascontiguousarray(pixels)
    return by_strips(
        lambda top, bottom: _strip_to_grey(Image.fromarray(pixels[top:bottom])), pixels.shape[0], pixels.shape[1]
    )


def image_to_grey(image: Image.Image, stored: type[np.int8 | np.uint32] | None = None) -> Grey:
    """Convert a decoded image to grey: colours to ITU-R 601-2 luma, transparent pixels to black.

    Args:
        image: Decoded image of any mode.
        stored: Type of the values in the file, where Pillow takes them for another one of the same size.

    Returns:
        Grey image, uint8 [H, W], C-contiguous.
    """

    def cut(top: int, bottom: int) -> Image.Image:
        return image if bottom - top == image.height else image.crop((0, top, image.width, bottom))

    def rows(top: int, bottom: int) -> Numbers:
        part = np.asarray(cut(top, bottom))
        return part if stored is None else part.view(stored)

    shape = (image.height, image.width)
    if image.mode.startswith("I;16") or (stored is not None and np.dtype(stored).itemsize == 1):
        return stretch_counted(rows, shape)
    if image.mode.startswith(("I", "F")):
        return stretch_rows(rows, shape)
    ignore_alpha = hides_everything(image)
    return by_strips(lambda top, bottom: _strip_to_grey(cut(top, bottom), ignore_alpha), *shape)


def hides_everything(image: Image.Image) -> bool:
    """Return whether the alpha of an image is 0 everywhere; it says nothing then, and the image is shown.

    Programs that do not know of alpha leave it empty, for example in bitmaps from a clipboard.
    """
    if image.mode not in ("RGBA", "LA", "PA"):
        return False
    # Most images show something in their first strip.
    parts = (image.crop((0, top, image.width, bottom)) for top, bottom in strips((image.height, image.width)))
    return not any(part.getchannel("A").getbbox() for part in parts)


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
    for top, bottom in strips((height, width)):
        grey[top:bottom] = convert(top, bottom)
    return grey


def strips(shape: tuple[int, ...]) -> Iterator[tuple[int, int]]:
    """Yield the first row and the row after the last one of each strip of an array."""
    rows = max(1, _STRIP // max(1, int(np.prod(shape[1:]))))
    for top in range(0, shape[0], rows):
        yield top, min(top + rows, shape[0])


def _strip_to_grey(image: Image.Image, ignore_alpha: bool = False) -> Grey:
    if image.mode == "P":
        image = image.convert("RGBA" if "transparency" in image.info else "RGB")
    if ignore_alpha:
        image = image.convert("RGB")
    if image.mode in ("RGBA", "LA", "PA", "La", "RGBa"):
        # Transparent pixels become black, like the unexposed border of a film.
        layer = image.convert("RGBA")
        opaque = Image.new("RGBA", layer.size, (0, 0, 0, 255))
        opaque.alpha_composite(layer)
        image = opaque.convert("RGB")
    return np.asarray(image.convert("L"))


def stretch_rows(rows: Rows, shape: tuple[int, ...], *, robust: bool = True) -> Grey:
    """Scale an array like `stretch`, with its rows computed on request.

    Args:
        rows: Function that returns the rows from `top` up to `bottom`; it is called several times for each strip.
        shape: Shape of the array.
        robust: Whether isolated extreme values are left out of the range.

    Returns:
        Scaled values, uint8 of the given shape.
    """

    def read(top: int, bottom: int) -> npt.NDArray[np.float64]:
        part = np.array(rows(top, bottom), np.float64)
        # Larger numbers count as infinite.
        part[np.abs(part) > _LARGEST] = np.nan
        return part

    def parts() -> Iterator[npt.NDArray[np.float64]]:
        for top, bottom in strips(shape):
            yield read(top, bottom)

    with np.errstate(over="ignore"):
        limits = _range_within(parts, (-np.inf, np.inf))
        for _ in range(_ROUNDS if robust else 0):
            smaller = _robust_part(parts, limits)
            if smaller == limits:
                break
            limits = smaller
        result = np.empty(shape, np.uint8)
        for top, bottom in strips(shape):
            result[top:bottom] = scale(read(top, bottom), limits)
    return result


def _range_within(parts: Parts, limits: tuple[float, float]) -> tuple[float, float]:
    """Return minimum and maximum of the finite values within limits; infinity and -infinity if there are none."""
    low, high = np.inf, -np.inf
    for part in parts():
        inside = part[np.isfinite(part) & (part >= limits[0]) & (part <= limits[1])]
        if inside.size:
            low, high = min(low, float(inside.min())), max(high, float(inside.max()))
    return low, high


def _robust_part(parts: Parts, limits: tuple[float, float]) -> tuple[float, float]:
    """Return the part of a range that has no isolated extreme values, from a histogram of `_BINS` bins."""
    low, high = limits
    if high - low < _SMALLEST:
        return limits
    counts = np.zeros(_BINS, np.int64)
    for part in parts():
        inside = part[(part >= low) & (part <= high)]
        counts += np.bincount(((inside - low) * ((_BINS - 1) / (high - low))).astype(np.int64), minlength=_BINS)
    bins, width = np.flatnonzero(counts), (high - low) / (_BINS - 1)
    first, last = robust_range(bins.astype(np.float64), counts[bins], are_bins=True)
    if (first, last) == (bins[0], bins[-1]):
        return limits
    smaller = _range_within(parts, (low + first * width, low + (last + 1) * width))
    return smaller if smaller[0] < smaller[1] else limits
