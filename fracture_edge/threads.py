"""Work in threads beside the session, with the results in the order of the input."""

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


def map_ahead(work: Callable[[Item], Result], items: Iterable[Item], jobs: int) -> Iterator[Result]:
    """Map in order: in `jobs` threads, or with 1 in this one when the result is asked for.

    Raises:
        ValueError: `jobs` is under 1.
    """
    if jobs < 1:
        raise ValueError(f"jobs is {jobs}, not 1 or more")
    return map(work, items) if jobs == 1 else in_order(work, items, jobs=jobs)
