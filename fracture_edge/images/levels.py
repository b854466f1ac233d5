"""Range of grey values that a display should show, which a few extreme pixels do not set.

A hot pixel, a marker or a border may lie far beyond everything else. Scaled by minimum and maximum, the picture
would be left with a small part of the grey levels. A range ends before such values only where a gap shows that
they are no part of the picture: an empty part of `GAP` of the range, with at most `FEW` of the pixels in it,
that beyond it has at most `FEW` of the pixels, or at most `MOST` that all have nearly the same value, as a
border or a marker has.

The shares are those of pixels that a picture may lose: 0.1 % of a radiograph of 1,000 x 1,000 pixels is a square
of 32. The gap is one that no radiograph has: of the 3,424 of FracAtlas that can be read, none is cut.
"""

import numpy as np
import numpy.typing as npt

Numbers = npt.NDArray[np.floating]

#: Share of the range that has to be empty, share of pixels that may lie in it or beyond it, share that may lie
#: beyond it in a part of the range no longer than `SAME`.
GAP, FEW, MOST, SAME = 0.4, 0.001, 0.1, 0.01
#: Maximum number of cuts at each end, each of at least `GAP` of the range that is left: extreme pixels may have
#: many values, and hide a marker or a border.
ROUNDS = 16


def robust_range(
    levels: Numbers, counts: npt.NDArray[np.integer], *, are_bins: bool = False
) -> tuple[float, float]:
    """Find the range of values without isolated extreme ones.

    Args:
        levels: Values in ascending order, float64 [N], N at least 1.
        counts: Number of pixels of each value, [N], at least 1.
        are_bins: Whether a level stands for several values, so that one of them may be all of the picture.

    Returns:
        Lowest and highest value that belong to the picture: the first and the last level, unless these are
        isolated.
    """
    for _ in range(ROUNDS):
        last = _last_of_picture(levels, counts)
        first = len(levels) - 1 - _last_of_picture(-levels[::-1], counts[::-1])
        is_empty = last < first or (last == first and not are_bins)
        if is_empty or (first, last) == (0, len(levels) - 1):
            break
        levels, counts = levels[first : last + 1], counts[first : last + 1]
    return float(levels[0]), float(levels[-1])


def _last_of_picture(levels: Numbers, counts: npt.NDArray[np.integer]) -> int:
    """Return the index of the highest level that belongs to the picture."""
    low, high = levels[0], levels[-1]
    extent, total = high - low, counts.sum()
    ends = np.searchsorted(levels, high - GAP * extent, "right")
    if extent <= 0 or not ends:
        return len(levels) - 1
    up_to = np.cumsum(counts)
    candidates = levels[:ends]
    # The last level within the gap above each candidate, and the first beyond it.
    within = np.searchsorted(levels, candidates + GAP * extent, "right") - 1
    beyond = levels[np.minimum(within + 1, len(levels) - 1)]
    above = total - up_to[:ends]
    is_gap = up_to[within] - up_to[:ends] <= FEW * total
    is_isolated = (above <= FEW * total) | ((above <= MOST * total) & (beyond >= high - SAME * extent))
    found = np.flatnonzero(is_gap & is_isolated)
    if not found.size:
        return len(levels) - 1
    # The highest: what few bright pixels a picture has itself stay in its range.
    return int(found[-1])
