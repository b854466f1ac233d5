"""A process that runs one model file in one runtime; `benchmarks.runtimes.process.WorkerProcess` starts it.

Reads JSON lines from stdin: first the job, then commands, one answer each. It ends with its input.

- job ``{"runtime", "path", "threads", "cores", "images"}``; answers the ``cores`` it may use
- ``{"command": "inference", "warm_up", "runs", "batch"}``; answers ``seconds`` of every run
- ``{"command": "decisions", "warm_up", "runs"}``; likewise, from file to decision
- ``{"command": "probabilities", "pixels", "target"}``; of a file of images, left in another file; no answer but {}
- ``{"command": "answer", "image"}``; answers ``probability`` of a file and the process's ``peak_memory_mb``

Whatever goes wrong is answered as ``{"error": text}``. Nothing but the standard library is imported before the
process is pinned, so that no runtime counts cores it may not use.
"""

import json
import os
import sys
import time
from collections.abc import Callable, Iterator
from itertools import cycle, islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

from benchmarks.runtimes.process import Message, die_with

if TYPE_CHECKING:
    from benchmarks.runtimes.runners import Runner

#: Images in memory at once where all of a split are asked for.
_AT_ONCE = 32


class _Worker:
    """The runner, and its input in memory."""

    def __init__(self, job: Message) -> None:
        if job["cores"]:
            os.sched_setaffinity(0, job["cores"])
        self.runner = _load(job["runtime"], Path(job["path"]) if job["path"] else None, job["threads"])
        images = [Path(image) for image in job["images"]]
        self._pixels = [self.runner.info.preprocessing.load(image) for image in images]
        # Every turn goes on where the last one ended, so that all images have their turn.
        self._images = cycle(images)
        self._batches: dict[int, Iterator[Any]] = {}

    def inference(self, warm_up: int, runs: int, batch: int) -> Message:
        """Time the graph alone on preprocessed images, `batch` at a time."""
        if batch not in self._batches:
            self._batches[batch] = self._batches_of(batch)
        return _timed(self.runner.probabilities, self._batches[batch], warm_up, runs)

    def _batches_of(self, size: int) -> Iterator[Any]:
        import numpy as np

        pixels = cycle(self._pixels)
        # As few as hold every image: memory.
        count = -(-len(self._pixels) // size)
        return cycle([np.stack(list(islice(pixels, size))) for _ in range(count)])

    def decisions(self, warm_up: int, runs: int) -> Message:
        """Time the whole way from a file, in the page cache, to a decision."""
        return _timed(self.runner.decide, self._images, warm_up, runs)

    def probabilities(self, pixels: str, target: str) -> Message:
        """P(fractured), [N], of preprocessed images, uint8 [N, H, W, 1]; both are ``.npy`` files."""
        import numpy as np

        images = np.load(pixels, mmap_mode="r")
        parts = [images[start : start + _AT_ONCE] for start in range(0, len(images), _AT_ONCE)]
        np.save(target, np.concatenate([self.runner.probabilities(np.array(part)) for part in parts]))
        return {}

    def answer(self, image: str) -> Message:
        """P(fractured) of one file, and what memory the process needed up to it."""
        from fracture_edge.machine import peak_memory_mb

        pixels = self.runner.info.preprocessing.load(image)
        probability = float(self.runner.probabilities(pixels[None])[0])
        return {"probability": probability, "peak_memory_mb": peak_memory_mb()}


def _load(runtime: str, path: Path | None, threads: int) -> "Runner":
    # Not at the top: see the module's docstring.
    from benchmarks.runtimes.runners import load_runner
    from benchmarks.runtimes.stand_in import IDLE, SLEEP, StandIn

    if runtime in (IDLE, SLEEP):
        return StandIn(path, threads)
    return load_runner(runtime, path, threads)


def _timed(call: Callable[[Any], object], values: Iterator[Any], warm_up: int, runs: int) -> Message:
    seconds = []
    for number in range(warm_up + runs):
        value = next(values)
        started = time.perf_counter()
        call(value)
        taken = time.perf_counter() - started
        if number >= warm_up:
            seconds.append(taken)
    return {"seconds": seconds}


def _private_channel() -> Callable[[Message], None]:
    """Keep stdout to ourselves: what runtimes print there goes to stderr."""
    channel = os.fdopen(os.dup(1), "w", encoding="utf-8", buffering=1)
    os.dup2(2, 1)

    def answer(values: Message) -> None:
        channel.write(json.dumps(values) + "\n")

    return answer


def main() -> None:
    """Do what the input says until it ends."""
    # Stopped, it would never notice that its input has ended.
    die_with(os.getppid())
    answer = _private_channel()
    worker: _Worker | None = None
    for line in sys.stdin:
        message = json.loads(line)
        try:
            if worker is None:
                worker = _Worker(message)
                answer({"cores": sorted(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else None})
            else:
                answer(getattr(worker, message.pop("command"))(**message))
        except Exception as error:  # the other rows go on, whatever it was
            answer({"error": " ".join(str(error).split()) or type(error).__name__})


if __name__ == "__main__":
    main()
