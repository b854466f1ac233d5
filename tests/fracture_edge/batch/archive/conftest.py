"""Ray as far as the archive needs it, in this process."""

import sys
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from itertools import islice
from types import SimpleNamespace
from typing import Any

import pytest

from fracture_edge.batch.archive import blocks as blocks_module
from fracture_edge.batch.archive import run as run_module
from fracture_edge.batch.archive.worker import Worker, WorkerOptions


class FakeRay:
    """What workers and driver ask of Ray, with one worker on each of two nodes.

    Attributes:
        done: Number of tasks that were done.
        most: Number of tasks after which the driver is interrupted.
        twice: Whether each result comes twice, as after the failure of a node.
    """

    def __init__(self) -> None:
        self.done, self.most, self.twice = 0, 1_000_000, False
        self._node = ""

    def get(self, reference: bytes) -> bytes:
        return reference

    def get_runtime_context(self) -> Any:
        return SimpleNamespace(get_node_id=lambda: self._node)

    def worker(self, node: str, model: bytes, options: WorkerOptions) -> Worker:
        self._node = node
        return Worker(model, options)

    @contextmanager
    def joined(self, address: str) -> Iterator[int]:
        assert address == "local"
        yield 2

    def results(
        self, rows: Iterable[Mapping[str, Any]], model: bytes, options: WorkerOptions, workers: int
    ) -> Iterator[dict[str, Any]]:
        pool = [self.worker(f"node-{number}", model, options) for number in range(workers)]
        # In another order than that of the tasks.
        for number, row in enumerate(islice(reversed(list(rows)), self.most + 1)):
            if number == self.most:
                raise KeyboardInterrupt
            self.done += 1
            yield pool[number % workers](row)
            if self.twice:
                yield pool[0](row)


@pytest.fixture
def fake_ray(monkeypatch: pytest.MonkeyPatch) -> FakeRay:
    fake = FakeRay()
    monkeypatch.setitem(sys.modules, "ray", fake)  # type: ignore[arg-type]
    monkeypatch.setattr(run_module, "joined", fake.joined)
    monkeypatch.setattr(run_module, "results", fake.results)
    monkeypatch.setattr(blocks_module, "TASK_FILES", 2)
    return fake
