"""Aspect ratio of pixels: some scanners and modalities sample rows and columns at different distances."""

import math

#: Difference from 1 up to which an aspect ratio counts as square: resolutions that are rounded to whole dots per
#: inch differ by up to 0.7 % at 72 dpi.
ROUNDING = 0.01
#: Largest ratio of the sides of a pixel, either way, that is believed. Modalities and scanners stay below 2; what
#: states more is more likely wrong than right.
MAX_ASPECT = 3.0


def pixel_aspect(height: object, width: object) -> float:
    """Compute the aspect ratio of a pixel from what a header states.

    Args:
        height: Height of a pixel, or the horizontal resolution, in any unit.
        width: Width of a pixel, or the vertical resolution, in the same unit.

    Returns:
        Height of a pixel divided by its width; 1.0 if it is square up to rounding, or if a value is no positive
        number.
    """
    try:
        high, wide = float(height), float(width)  # type: ignore[arg-type]
        ratio = high / wide
    except (TypeError, ValueError, ArithmeticError):
        return 1.0
    if not (high > 0 and wide > 0 and 0 < ratio < math.inf) or abs(ratio - 1) <= ROUNDING:
        return 1.0
    return ratio


def is_plausible(aspect: float) -> bool:
    """Return whether an aspect ratio of pixels lies within `MAX_ASPECT`, either way."""
    return 1 / MAX_ASPECT <= aspect <= MAX_ASPECT


def true_size(width: int, height: int, aspect: float) -> tuple[float, float]:
    """Compute the size of an image in units of the width of a pixel.

    Args:
        width: Width in pixels.
        height: Height in pixels.
        aspect: Height of a pixel divided by its width; ignored unless it is plausible.

    Returns:
        Width and height.
    """
    return float(width), height * aspect if is_plausible(aspect) else float(height)
