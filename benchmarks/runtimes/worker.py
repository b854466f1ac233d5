"""Worker process that runs one model file in one runtime, started by `benchmarks.runtimes.process.WorkerProcess`.

It reads JSON lines from stdin, first the job and then commands, replies to each with one line on stdout, and exits
at the end of its input.

- job ``{"runtime", "path", "threads", "cores", "images"}``: loads the model; replies with the ``cores`` it may use
- ``{"command": "inference", "warm_up", "runs", "batch"}``: replies with the ``seconds`` of every inference
- ``{"command": "decisions", "warm_up", "runs"}``: replies with the ``seconds`` of every run from file to decision
- ``{"command": "probabilities", "pixels", "target"}``: predicts the images of a ``.npy`` file, writes the
  probabilities to another one and replies with ``{}``
- ``{"command": "answer", "image"}``: replies with the ``probability`` of one image file and the ``peak_memory_mb``
  of the process

Errors are reported as ``{"error": text}``. Only the standard library is imported before the process is pinned, so
that no runtime counts cores that it may not use.
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

#: Number of images in memory at once when a complete split is predicted.
_AT_ONCE = 32


class _Worker:
    """Runner with its input images in memory."""

    def __init__(self, job: Message) -> None:
        if job["cores"]:
            os.sched_setaffinity(0, job["cores"])
        self.runner = _load(job["runtime"], Path(job["path"]) if job["path"] else None, job["threads"])
        images = [Path(image) for image in job["images"]]
        self._pixels = [self.runner.info.preprocessing.load(image) for image in images]
        # Each command continues where the last one ended, so that all images are used.
        self._images = cycle(images)
        self._batches: dict[int, Iterator[Any]] = {}

    def inference(self, warm_up: int, runs: int, batch: int) -> Message:
        """Time the model alone on preprocessed images, `batch` at a time."""
        if batch not in self._batches:
            self._batches[batch] = self._batches_of(batch)
        return _timed(self.runner.probabilities, self._batches[batch], warm_up, runs)

    def _batches_of(self, size: int) -> Iterator[Any]:
        import numpy as np

        pixels = cycle(self._pixels)
        # To save memory, no more batches than are needed to contain every image.
        count = -(-len(self._pixels) // size)
        return cycle([np.stack(list(islice(pixels, size))) for _ in range(count)])

    def decisions(self, warm_up: int, runs: int) -> Message:
        """Time classification from image file (in the page cache) to decision."""
        return _timed(self.runner.decide, self._images, warm_up, runs)

    def probabilities(self, pixels: str, target: str) -> Message:
        """Predict preprocessed images and write P(fractured).

        Args:
            pixels: Path of a ``.npy`` file, uint8 [N, H, W, 1].
            target: Path of the ``.npy`` file to write, [N].
        """
        import numpy as np

        images = np.load(pixels, mmap_mode="r")
        parts = [images[start : start + _AT_ONCE] for start in range(0, len(images), _AT_ONCE)]
        np.save(target, np.concatenate([self.runner.probabilities(np.array(part)) for part in parts]))
        return {}

    def answer(self, image: str) -> Message:
        """Return P(fractured) of one image file, and the peak memory of the process so far."""
        from fracture_edge.machine import peak_memory_mb

        pixels = self.runner.info.preprocessing.load(image)
        probability = float(self.runner.probabilities(pixels[None])[0])
        return {"probability": probability, "peak_memory_mb": peak_memory_mb()}


def _load(runtime: str, path: Path | None, threads: int) -> "Runner":
    # Imported late so that the process is pinned first, see the module's docstring.
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
    """Reserve stdout for replies, and redirect everything that runtimes print to stderr."""
    channel = os.fdopen(os.dup(1), "w", encoding="utf-8", buffering=1)
    os.dup2(2, 1)

    def reply(values: Message) -> None:
        channel.write(json.dumps(values) + "\n")

    return reply


def main() -> None:
    """Execute the commands on stdin until its end."""
    # A stopped process would never notice the end of its input.
    die_with(os.getppid())
    reply = _private_channel()
    worker: _Worker | None = None
    for line in sys.stdin:
        message = json.loads(line)
        try:
            if worker is None:
                worker = _Worker(message)
                reply({"cores": sorted(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else None})
            else:
                reply(getattr(worker, message.pop("command"))(**message))
        except Exception as error:  # whatever it is, the benchmark continues with the other rows
            reply({"error": " ".join(str(error).split()) or type(error).__name__})


if __name__ == "__main__":
    main()
