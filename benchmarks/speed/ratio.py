"""Ratio of two durations that were timed in turns."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True, slots=True)
class Ratio:
    """Median ratio with its 95 % interval.

    Attributes:
        value: Median of the ratios of all rounds.
        low: Lower end of the interval.
        high: Upper end of the interval.
    """

    value: float
    low: float
    high: float


def ratio(seconds: Sequence[float], reference: Sequence[float]) -> Ratio:
    """Compute the median ratio of two durations over all rounds.

    Args:
        seconds: Duration of each round, [N].
        reference: Duration of the reference in the same rounds, [N].

    Returns:
        Median and 95 % interval. The interval is that of order statistics: its ranks come from the binomial
        distribution in normal approximation, N/2 - 0.98 sqrt(N) to N/2 + 0.98 sqrt(N).
    """
    ratios = np.sort(np.asarray(seconds) / np.asarray(reference))
    count = len(ratios)
    half = 0.98 * np.sqrt(count)
    low, high = int(max(0, count / 2 - half)), int(min(count - 1, count / 2 + half))
    return Ratio(float(np.median(ratios)), float(ratios[low]), float(ratios[high]))
