"""Aspect ratio of pixels: some scanners and modalities sample rows and columns at different distances."""

import math

#: Difference from 1 up to which an aspect ratio counts as square: resolutions that are rounded to whole dots per
#: inch differ by up to 0.7 % at 72 dpi.
_ROUNDING = 0.01


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
    if not (high > 0 and wide > 0 and 0 < ratio < math.inf) or abs(ratio - 1) <= _ROUNDING:
        return 1.0
    return ratio
