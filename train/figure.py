"""Plots with matplotlib, without its global state and without a display."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from fracture_edge.files import atomic_path

#: Colours that colour-blind readers can distinguish (Okabe and Ito): not fractured, fractured.
COLOURS = ("#0072B2", "#D55E00")
_DPI = 130


@contextmanager
def saved_figure(path: Path, *, width: float, height: float, title: str) -> Iterator[Any]:
    """Yield a figure that is written to `path` as PNG, atomically, unless an exception is raised.

    Args:
        path: Path of the PNG file.
        width: Width in inches.
        height: Height in inches.
        title: Title of the figure.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height), layout="constrained")
    FigureCanvasAgg(figure)
    yield figure
    figure.suptitle(title, fontsize="medium")
    with atomic_path(path) as temporary:
        figure.savefig(temporary, dpi=_DPI)
