"""Place short labels beside the markers of a plot without overlaps."""

import math
from collections.abc import Sequence
from typing import Any

_DIRECTIONS = tuple((math.cos(k * math.pi / 4), math.sin(k * math.pi / 4)) for k in (1, 3, 7, 5, 2, 6, 0, 4))
#: Radius of a label, in points.
_RADIUS = 7.0


def place_labels(
    figure: Any, axes: Any, points: Sequence[tuple[Any, Any]], texts: Sequence[str], areas: Sequence[float]
) -> None:
    """Write each text next to its point, in the nearest free position of eight directions.

    Args:
        figure: Figure; it is laid out once to compute distances in points.
        axes: Axes of the points.
        points: Positions in data coordinates.
        texts: Labels of one or two characters, one for each point.
        areas: Areas of the markers at the points, in square points as `scatter` takes them.
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
    """Return the distance of a label at `spot` from the nearest obstacle; negative if they overlap."""
    x, y = centre[0] + spot[0], centre[1] + spot[1]
    return min(math.hypot(x - other[0], y - other[1]) - other[2] - _RADIUS for other in taken)
