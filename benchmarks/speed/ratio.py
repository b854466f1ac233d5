"""How many times as long something takes as its yardstick, when both were timed in turn."""

from collections.abc import Sequence

import numpy as np


def ratio(seconds: Sequence[float], yardstick: Sequence[float]) -> dict[str, float]:
    """Median of the rounds' ratios, with its 95 % interval.

    Args:
        seconds: Of each round.
        yardstick: Of the same rounds; as many.

    Returns:
        ``value``, ``low`` and ``high``; the bounds are the ordered ratios whose ranks hold the median (binomial,
        in normal approximation).
    """
    ratios = np.sort(np.asarray(seconds) / np.asarray(yardstick))
    count = len(ratios)
    half = 0.98 * np.sqrt(count)
    low, high = int(max(0, count / 2 - half)), int(min(count - 1, count / 2 + half))
    return {"value": float(np.median(ratios)), "low": float(ratios[low]), "high": float(ratios[high])}
