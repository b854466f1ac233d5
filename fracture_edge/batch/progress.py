"""Progress bar on the terminal."""

import sys
from collections.abc import Iterable, Iterator

from fracture_edge.runtimes.threads import Item


def with_progress(items: Iterable[Item], total: int) -> Iterator[Item]:
    """Yield `items`, and show a progress bar with the remaining time on stderr.

    Args:
        items: Items to yield; each counts as done when the next one is requested.
        total: Number of items.
    """
    # A late import, because only the bar needs typer.
    import typer

    with typer.progressbar(length=total, file=sys.stderr, show_pos=True, update_min_steps=1) as bar:
        for item in items:
            yield item
            bar.update(1)
