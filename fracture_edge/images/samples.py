"""Grey levels of images with several samples of more than 8 bits for each pixel."""

import sys
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
from PIL import Image

from fracture_edge.images.colour import SAMPLED, array_colour_share
from fracture_edge.images.grey import Rows, has_few_values, stretch_counted, stretch_rows, strips

Grey = npt.NDArray[np.uint8]
Numbers = npt.NDArray[np.generic]

#: Weights of ITU-R 601-2 luma in units of 1/65536, as Pillow has them.
_LUMA = (19595, 38470, 7471)
_DEEP = frozenset(f"{colours};16{order}" for colours in ("RGB", "RGBX", "RGBA", "RGBa", "LA") for order in "LBN")


class Samples(NamedTuple):
    """Pixels of several samples.

    Attributes:
        rows: Function that returns the rows from `top` up to `bottom`, [bottom - top, W, C].
        shape: Shape (H, W, C) of all rows.
        has_alpha: Whether the last sample is the opacity of the pixel.
        is_premultiplied: Whether the other samples are multiplied by it already.
    """

    rows: Rows
    shape: tuple[int, int, int]
    has_alpha: bool = False
    is_premultiplied: bool = False


def samples_to_grey(samples: Samples) -> Grey:
    """Convert samples to luma, with transparent pixels black, and scale its range as that of grey images is.

    An alpha of 0 everywhere would hide all of the image, and is ignored.

    Args:
        samples: Samples of integers or floating-point numbers.

    Returns:
        Grey image, uint8 [H, W].
    """
    alpha = samples.has_alpha and not samples.is_premultiplied
    if alpha:
        bounds = strips(samples.shape)
        alpha = any((samples.rows(top, bottom)[..., -1] != 0).any() for top, bottom in bounds)

    def rows(top: int, bottom: int) -> Numbers:
        part = samples.rows(top, bottom)
        luma = _luma(part, samples.shape[2] - samples.has_alpha)
        return _over_black(luma, part[..., -1]) if alpha else luma

    shape = samples.shape[:2]
    return stretch_counted(rows, shape) if has_few_values(rows(0, 1)) else stretch_rows(rows, shape)


def _luma(part: Numbers, colours: int) -> Numbers:
    if colours < 3:
        return part[..., 0]
    if part.dtype in (np.uint8, np.uint16):
        wide = part.astype(np.uint32)
        total = sum(wide[..., channel] * np.uint32(weight) for channel, weight in enumerate(_LUMA))
        return np.asarray((total + np.uint32(1 << 15)) >> np.uint32(16)).astype(part.dtype)
    weights = np.array(_LUMA, np.float64) / (1 << 16)
    return np.asarray(part[..., :3].astype(np.float64) @ weights)


def _over_black(luma: Numbers, alpha: Numbers) -> Numbers:
    shares = alpha.astype(np.float64)
    if luma.dtype.kind == "f":
        return np.asarray(luma.astype(np.float64) * shares)
    shares /= np.iinfo(luma.dtype.name).max
    return np.asarray(np.rint(luma.astype(np.float64) * shares).astype(luma.dtype))


def samples_colour_share(samples: Samples) -> float:
    """Compute the share of coloured pixels, 0 to 1, from some of the rows and columns."""
    height, width, count = samples.shape
    if count - samples.has_alpha < 3:
        return 0.0
    down, across = (-(-side // SAMPLED) for side in (height, width))
    some = [samples.rows(row, row + 1)[:, ::across, :3] for row in range(0, height, down)]
    return array_colour_share(np.concatenate(some))


def is_deep(image: Image.Image) -> bool:
    """Return whether an image that is not decoded yet has several samples of 16 bits, which Pillow cuts to 8."""
    return _raw_mode(image) in _DEEP


def deep_samples(image: Image.Image, again: Callable[[], Image.Image]) -> Samples:
    """Decode an image of several samples of 16 bits, for which `is_deep` holds.

    Pillow keeps the high byte of each sample. With the name of the other byte order for the pixels it takes the
    low byte for the high one, so decoding twice gives both.

    Args:
        image: Image that is not decoded yet.
        again: Function that opens the image once more.

    Returns:
        Samples, uint16; of grey with alpha or with three colours.
    """
    raw_mode = _raw_mode(image)
    if raw_mode.startswith("LA"):
        # Both bytes of both samples, as if they were four.
        _set_raw_mode(image, "RGBA")
        image.load()

        def pairs(top: int, bottom: int) -> Numbers:
            four = _crop(image, top, bottom)
            return four[..., ::2] << np.uint16(8) | four[..., 1::2]

        return Samples(pairs, (image.height, image.width, 2), has_alpha=True)
    colours, order = raw_mode.split(";16")
    low = again()
    # Whatever the alpha has been multiplied with is kept: it is black then.
    colours = "RGBA" if colours == "RGBa" else colours
    other = {"L": "B", "B": "L", "N": "B" if sys.byteorder == "little" else "L"}[order]
    _set_raw_mode(image, f"{colours};16{order}")
    _set_raw_mode(low, f"{colours};16{other}")
    image.load()
    low.load()
    has_alpha = image.mode == "RGBA"

    def rows(top: int, bottom: int) -> Numbers:
        return _crop(image, top, bottom) << np.uint16(8) | _crop(low, top, bottom)

    shape = (image.height, image.width, 4 if has_alpha else 3)
    return Samples(rows, shape, has_alpha, raw_mode.startswith("RGBa"))


def _crop(image: Image.Image, top: int, bottom: int) -> npt.NDArray[np.uint16]:
    return np.asarray(image.crop((0, top, image.width, bottom))).astype(np.uint16)


def _raw_mode(image: Any) -> str:
    tiles = getattr(image, "tile", None)
    arguments = tiles[0].args if tiles else ""
    return str(arguments[0] if isinstance(arguments, tuple) and arguments else arguments)


def _set_raw_mode(image: Any, raw_mode: str) -> None:
    def renamed(arguments: object) -> object:
        return (raw_mode, *arguments[1:]) if isinstance(arguments, tuple) else raw_mode

    image.tile = [part._replace(args=renamed(part.args)) for part in image.tile]
