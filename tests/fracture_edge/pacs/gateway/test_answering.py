"""Whatever happens while images are answered, none is lost and none stops the others."""

import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("pynetdicom")
pytest.importorskip("highdicom")

from fracture_edge.classifier import FractureClassifier
from fracture_edge.pacs.gateway.answering import Answering
from fracture_edge.pacs.gateway.counts import Counts
from fracture_edge.pacs.gateway.options import GatewayOptions
from fracture_edge.pacs.gateway.peers import Target
from fracture_edge.pacs.gateway.spool import Spool
from fracture_edge.pacs.results.make import ResultMaker

ARCHIVES = [Target("ONE", "10.0.0.1", 104), Target("TWO", "10.0.0.2", 104)]


class Parts:
    """Answering side with a spool of its own.

    Attributes:
        spool: Its spool.
        counts: Its counts.
        notes: Its messages.
        answering: The thread.
    """

    def __init__(self, folder: Path, model: Path, *, return_to_sender: bool) -> None:
        self.spool, self.counts = Spool(folder), Counts()
        self.notes: list[str] = []
        classifier = FractureClassifier(model)
        options = GatewayOptions(
            ae_title="FRACTURE",
            spool=folder,
            targets=ARCHIVES,
            return_to_sender=return_to_sender,
            return_port=4242,
        )
        self.answering = Answering(
            options,
            self.spool,
            classifier,
            ResultMaker(classifier),
            self.counts,
            note=self.notes.append,
            made=lambda: None,
        )


@pytest.fixture
def make(tmp_path: Path, tiny_model: Path) -> Iterator[Callable[..., Parts]]:
    made: list[Parts] = []

    def run(*, return_to_sender: bool = False) -> Parts:
        made.append(Parts(tmp_path / "spool", tiny_model, return_to_sender=return_to_sender))
        return made[-1]

    yield run
    for parts in made:
        parts.spool.close()


@pytest.fixture
def receive(write_radiograph: Callable[..., Path]) -> Callable[..., None]:
    def run(parts: Parts, number: int, *, title: str = "CR1") -> None:
        uids = (f"1.2.{number}.1", f"1.2.{number}.2", f"1.2.{number}.3")
        path = write_radiograph(parts.spool.incoming / "tmpx.dcm", np.zeros((64, 64), np.uint8), uids=uids)
        parts.spool.take(path, uids[2], title, "10.0.0.7")

    return run


def wait(condition: Callable[[], bool]) -> None:
    end = time.monotonic() + 30
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.02)


def test_every_target_gets_every_result(make: Callable[..., Parts], receive: Callable[..., None]) -> None:
    parts = make(return_to_sender=True)
    receive(parts, 1)
    # A sender that is one of the archives gets its results once.
    receive(parts, 2, title="TWO")
    parts.answering.start()
    parts.answering.finish()
    waiting = {str(target): len(parts.spool.outgoing(target)) for target in parts.spool.targets()}
    assert waiting == {"ONE@10.0.0.1:104": 4, "TWO@10.0.0.2:104": 4, "CR1@10.0.0.7:4242": 2}
    assert (parts.counts.answered, parts.spool.counts()[0]) == (2, 0)


def test_a_full_disk_loses_no_image_and_is_said_once(
    make: Callable[..., Parts], receive: Callable[..., None], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("fracture_edge.pacs.gateway.answering._PAUSE_SECONDS", 0.05)
    parts = make()
    put, attempts = parts.spool.put, 0

    def fail(*arguments: object) -> None:
        nonlocal attempts
        attempts += 1
        if attempts <= 3:
            raise OSError(28, "No space left on device")
        put(*arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(parts.spool, "put", fail)
    for number in range(3):
        receive(parts, number)
    parts.answering.start()
    wait(lambda: parts.counts.answered == 3)
    parts.answering.finish()
    assert [note.partition(";")[0] for note in parts.notes] == [
        "results cannot be written (No space left on device)"
    ]
    assert parts.spool.counts() == (0, 2 * 2 * 3, 0)


def test_a_disk_that_stays_full_ends_with_the_images_in_the_spool(
    make: Callable[..., Parts], receive: Callable[..., None], monkeypatch: pytest.MonkeyPatch
) -> None:
    parts = make()

    def fail(*arguments: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(parts.spool, "put", fail)
    receive(parts, 1)
    parts.answering.start()
    parts.answering.finish()
    assert (parts.spool.counts()[0], parts.answering.error) == (1, None)


def test_memory_that_is_too_small_for_one_image_leaves_the_others(
    make: Callable[..., Parts], receive: Callable[..., None], monkeypatch: pytest.MonkeyPatch
) -> None:
    parts = make()
    genuine, calls = ResultMaker.make, 0

    def fail_first(*arguments: object) -> object:
        nonlocal calls
        calls += 1
        if calls == 1:
            raise MemoryError
        return genuine(*arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(ResultMaker, "make", fail_first)
    receive(parts, 1)
    receive(parts, 2)
    parts.answering.start()
    parts.answering.finish()
    assert (parts.counts.answered, parts.counts.unanswered) == (1, {"too_large": 1})
    assert parts.spool.counts()[0] == 0
