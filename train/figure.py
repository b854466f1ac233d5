"""Pictures with matplotlib, without its global state and without a display."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from fracture_edge.files import atomic_path

#: Colours that stay apart for colour-blind readers (Okabe and Ito): not fractured, fractured.
COLOURS = ("#0072B2", "#D55E00")
_DPI = 130


@contextmanager
def saved_figure(path: Path, *, width: float, height: float, title: str) -> Iterator[Any]:
    """Yield a figure; on success it is written to `path` as PNG, in one step.

    Args:
        path: Where it goes.
        width: In inches.
        height: In inches.
        title: Above everything.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height), layout="constrained")
    FigureCanvasAgg(figure)
    yield figure
    figure.suptitle(title, fontsize="medium")
    with atomic_path(path) as temporary:
        figure.savefig(temporary, dpi=_DPI)
