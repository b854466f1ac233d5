"""Short labels beside marks, where they cover neither each other nor another mark."""

import math
from collections.abc import Sequence
from typing import Any

_DIRECTIONS = tuple((math.cos(k * math.pi / 4), math.sin(k * math.pi / 4)) for k in (1, 3, 7, 5, 2, 6, 0, 4))
#: Half of what one label takes, in points.
_RADIUS = 7.0


def place_labels(
    figure: Any, axes: Any, points: Sequence[tuple[Any, Any]], texts: Sequence[str], areas: Sequence[float]
) -> None:
    """Write each text next to its point: in the first of eight directions, and as near, as nothing is there yet.

    Args:
        figure: Is laid out once, so that distances on paper are known.
        axes: Where the points are.
        points: In the units of the axes.
        texts: One or two characters each.
        areas: Of the marks at the points, in square points as `scatter` takes them.
    """
    figure.draw_without_rendering()
    scale = 72 / figure.dpi
    centres = [tuple(scale * each for each in axes.transData.transform(point)) for point in points]
    taken = [(*centre, math.sqrt(area / math.pi)) for centre, area in zip(centres, areas, strict=True)]
    for point, centre, text, area in zip(points, centres, texts, areas, strict=True):
        away = math.sqrt(area / math.pi) + _RADIUS + 1
        spots = [((away + more) * x, (away + more) * y) for more in (0, 6, 14, 24) for x, y in _DIRECTIONS]
        x, y = max(spots, key=lambda spot: min(0.0, _gap(centre, spot, taken)))
        taken.append((centre[0] + x, centre[1] + y, _RADIUS))
        axes.annotate(
            text,
            point,
            xytext=(x, y),
            textcoords="offset points",
            ha="center",
            va="center",
            fontweight="bold",
            zorder=5,
            arrowprops={"arrowstyle": "-", "linewidth": 0.6, "color": axes.xaxis.label.get_color()},
        )


def _gap(centre: tuple[float, ...], spot: tuple[float, float], taken: Sequence[tuple[float, ...]]) -> float:
    """How far a label at `spot` stays from what is there; negative when it covers something."""
    x, y = centre[0] + spot[0], centre[1] + spot[1]
    return min(math.hypot(x - other[0], y - other[1]) - other[2] - _RADIUS for other in taken)
