"""How many times as long something takes as its yardstick, when both were timed in turn."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True, slots=True)
class Ratio:
    """A median with its 95 % interval.

    Attributes:
        value: Median of the rounds' ratios.
        low: Lower end of the interval.
        high: Upper end of the interval.
    """

    value: float
    low: float
    high: float


def ratio(seconds: Sequence[float], yardstick: Sequence[float]) -> Ratio:
    """Take the median of the rounds' ratios.

    Args:
        seconds: Time of each round.
        yardstick: Time of the yardstick in the same rounds; as many.

    Returns:
        The median; the bounds are the ordered ratios whose ranks hold it (binomial, in normal approximation).
    """
    ratios = np.sort(np.asarray(seconds) / np.asarray(yardstick))
    count = len(ratios)
    half = 0.98 * np.sqrt(count)
    low, high = int(max(0, count / 2 - half)), int(min(count - 1, count / 2 + half))
    return Ratio(float(np.median(ratios)), float(ratios[low]), float(ratios[high]))
