"""Share of coloured pixels in an image; radiographs are grey, with a few coloured marks at most."""

import numpy as np
import numpy.typing as npt
from PIL import Image

from fracture_edge.images.grey import hides_everything, stretch

#: Distance from grey in the Cb-Cr plane (ITU-R BT.601, 8 bits) above which a pixel counts as coloured: above the
#: chroma noise that JPEG leaves on grey films, below the palest wall in a photograph of a room.
COLOURED = 12
#: Maximum number of rows and columns that are sampled; more would not change the share.
SAMPLED = 96


def colour_share(image: Image.Image) -> float:
    """Compute the share of coloured pixels of an image.

    Args:
        image: Decoded image of any mode; fully transparent pixels do not count as coloured.

    Returns:
        Share of coloured pixels, 0 to 1.
    """
    if image.mode in ("1", "L", "LA", "La") or image.mode.startswith(("I", "F")):
        return 0.0
    size = (min(image.width, SAMPLED), min(image.height, SAMPLED))
    sample = image.resize(size, Image.Resampling.NEAREST)
    opaque: npt.NDArray[np.bool_] | None = None
    if sample.mode in ("P", "PA") or "transparency" in sample.info:
        sample = sample.convert("RGBA")
    if sample.mode in ("RGBA", "RGBa"):
        # An alpha of 0 everywhere is ignored, as it is where the image becomes grey.
        opaque = None if hides_everything(image) else np.asarray(sample.getchannel("A")) > 0
        sample = sample.convert("RGBA").convert("RGB")
    elif sample.mode not in ("RGB", "YCbCr"):
        sample = sample.convert("RGB")
    chroma = np.asarray(sample.convert("YCbCr"))[..., 1:].astype(np.int16) - 128
    coloured = (chroma**2).sum(axis=-1) > COLOURED**2
    return float((coloured if opaque is None else coloured & opaque).mean())


def array_colour_share(values: npt.NDArray[np.generic]) -> float:
    """Compute the share of coloured pixels of an array.

    Args:
        values: Array [H, W] grey, [H, W, 3] RGB or [H, W, 4] RGBA, of any real type.

    Returns:
        Share of coloured pixels, 0 to 1.
    """
    if values.ndim == 2:
        return 0.0
    rows, columns = (-(-side // SAMPLED) for side in values.shape[:2])
    sample = np.ascontiguousarray(values[::rows, ::columns])
    return colour_share(Image.fromarray(sample if sample.dtype == np.uint8 else stretch(sample)))
