"""A progress bar on the terminal."""

import sys
import time
from collections.abc import Callable, Iterable, Iterator

from fracture_edge.threads import Item

_BAR_WIDTH = 24
_SECONDS_BETWEEN_DRAWINGS = 0.2


def with_progress(
    items: Iterable[Item], total: int, *, clock: Callable[[], float] = time.monotonic
) -> Iterator[Item]:
    """Pass `items` on and draw on stderr how many of `total` are done; the line is gone at the end.

    An item is done when the next one is asked for.
    """
    started = drawn = clock()
    longest = 0
    try:
        for number, item in enumerate(items, 1):
            yield item
            now = clock()
            if now - drawn >= _SECONDS_BETWEEN_DRAWINGS:
                drawn = now
                line = _bar(number, total, now - started)
                longest = max(longest, len(line))
                sys.stderr.write("\r" + line.ljust(longest))
                sys.stderr.flush()
    finally:
        if longest:
            sys.stderr.write("\r" + " " * longest + "\r")
            sys.stderr.flush()


def _bar(number: int, total: int, seconds: float) -> str:
    filled = _BAR_WIDTH * number // total
    left = round(seconds * (total - number) / number)
    clock = f"{left // 3600}:{left // 60 % 60:02}:{left % 60:02}"
    return (
        f"[{'#' * filled}{'.' * (_BAR_WIDTH - filled)}] {number}/{total}  {number / seconds:.1f}/s  {clock} left"
    )
