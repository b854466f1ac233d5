"""A progress bar on the terminal."""

import sys
from collections.abc import Iterable, Iterator

from fracture_edge.threads import Item


def with_progress(items: Iterable[Item], total: int) -> Iterator[Item]:
    """Pass `items` on and draw on stderr how many of `total` are done, with the time left.

    An item is done when the next one is asked for.
    """
    # Not at the top: what draws no bar need not import it.
    import typer

    with typer.progressbar(length=total, file=sys.stderr, show_pos=True, update_min_steps=1) as bar:
        for item in items:
            yield item
            bar.update(1)
