"""Mapping a function over items in threads, with the results in the order of the items."""

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from typing import TypeVar

from fracture_edge.machine import at_most_cores, memory_gb

Item = TypeVar("Item")
Result = TypeVar("Result")

#: Maximum number of images that are classified at a time by default; the speed-up was measured on two cores only.
MOST_JOBS = 4
#: Maximum number of threads of one inference by default: one image keeps few cores busy, and more threads only
#: delay the start.
MOST_THREADS = 4
#: Memory that decoding the largest accepted image may take, in GiB.
DECODER_GB = 0.5


def default_jobs(most: int = MOST_JOBS) -> int:
    """Return the default number of images that are classified at a time, each in a thread.

    It is the number of usable cores, at most `most`, and at most as many as `DECODER_GB` each of physical memory
    allows, because each thread may hold a large image. Pillow releases the interpreter lock while it decodes and
    resizes, and onnxruntime during inference, so that threads keep the cores as busy as processes would, with one
    model in memory.
    """
    memory = memory_gb()
    room = most if memory is None else int(memory / DECODER_GB)
    return max(1, at_most_cores(min(most, room)))


def inference_threads(threads: int | None) -> int:
    """Return the number of threads of one inference, at most one per usable core; `MOST_THREADS` for ``None``."""
    return at_most_cores(threads or MOST_THREADS)


def map_in_threads(
    work: Callable[[Item], Result], items: Iterable[Item], *, jobs: int, ahead: int | None = None
) -> Iterator[Result]:
    """Map `work` over `items` in threads and yield the results in the order of the items.

    Args:
        work: Function to call in a thread; an exception is raised here in place of its result.
        items: Items to map; at most `ahead` of them are taken beyond the result that is yielded next.
        jobs: Number of threads.
        ahead: Maximum number of results that wait, so that memory does not grow with the number of items;
            ``2 * jobs`` if ``None``.
    """
    from concurrent.futures import Future, ThreadPoolExecutor

    waiting: deque[Future[Result]] = deque()
    executor = ThreadPoolExecutor(jobs, "fracture-edge")
    try:
        for item in items:
            waiting.append(executor.submit(work, item))
            # Yield finished results before taking the next item, which may be slow to come.
            while len(waiting) > (ahead or 2 * jobs) or (waiting and waiting[0].done()):
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()
    finally:
        executor.shutdown(wait=False, cancel_futures=True)


def map_ahead(work: Callable[[Item], Result], items: Iterable[Item], jobs: int) -> Iterator[Result]:
    """Map `work` over `items` in order, in threads if there is more than one.

    Args:
        work: Function to call.
        items: Items to map.
        jobs: Number of threads, at most one per usable core; with 1, `work` runs in the calling thread when its
            result is requested.

    Raises:
        ValueError: `jobs` is less than 1.
    """
    if jobs < 1:
        raise ValueError(f"jobs must be 1 or more, not {jobs}")
    jobs = at_most_cores(jobs)
    return map(work, items) if jobs == 1 else map_in_threads(work, items, jobs=jobs)
