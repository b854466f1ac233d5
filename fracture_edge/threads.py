"""Many images: decoding in threads beside the session, answers in input order, a bar on the terminal."""

import sys
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from typing import TypeVar

from fracture_edge.machine import memory_gb, usable_cores

Item = TypeVar("Item")
Result = TypeVar("Result")

#: Decoding keeps up with the session long before this.
MOST_JOBS = 4
#: What the largest picture that is accepted may need while it is decoded.
DECODER_GB = 0.5
_BAR_WIDTH = 24
_SECONDS_BETWEEN_DRAWINGS = 0.2


def default_jobs() -> int:
    """Decoding threads: one for each usable core, at most `MOST_JOBS`, and no more than memory has room for.

    Pillow releases the interpreter's lock while it decodes and resizes, so threads are enough. Each may hold one
    whole picture, and the pictures may all be large.
    """
    memory = memory_gb()
    room = MOST_JOBS if memory is None else int(memory / DECODER_GB)
    return max(1, min(usable_cores(), MOST_JOBS, room))


def in_order(
    work: Callable[[Item], Result], items: Iterable[Item], *, jobs: int, ahead: int | None = None
) -> Iterator[Result]:
    """Map `work` over `items` in threads and yield the results in the order of the items.

    Args:
        work: Called in one of the threads; what it raises is raised here when its turn comes.
        items: Taken only as far as `ahead` beyond the result that is yielded next.
        jobs: Threads.
        ahead: Results that may wait, so that memory does not grow with the number of items; twice `jobs` when
            ``None``.
    """
    from concurrent.futures import Future, ThreadPoolExecutor

    waiting: deque[Future[Result]] = deque()
    executor = ThreadPoolExecutor(jobs, "fracture-edge-decode")
    try:
        for item in items:
            waiting.append(executor.submit(work, item))
            # What is ready goes out before the next item is asked for, which may take its time.
            while len(waiting) > (ahead or 2 * jobs) or (waiting and waiting[0].done()):
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()
    finally:
        executor.shutdown(wait=False, cancel_futures=True)


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
