"""Results go out until their target has acknowledged them, or become dead letters with a word."""

import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("pynetdicom")
pytest.importorskip("highdicom")

from fracture_edge.classifier import FractureClassifier
from fracture_edge.pacs.gateway.counts import Counts
from fracture_edge.pacs.gateway.options import GatewayOptions
from fracture_edge.pacs.gateway.peers import Target
from fracture_edge.pacs.gateway.sending import Sending
from fracture_edge.pacs.gateway.spool import Spool
from fracture_edge.pacs.results.make import ResultMaker, ResultObject


@pytest.fixture
def results(tmp_path: Path, tiny_model: Path, write_radiograph: Callable[..., Path]) -> list[ResultObject]:
    path = write_radiograph(tmp_path / "x.dcm", np.zeros((64, 64), np.uint8))
    tiny = FractureClassifier(tiny_model)
    return ResultMaker(tiny).make(path, list(tiny.predict_frames(path)))


class Sender:
    """Sending side with a spool of its own.

    Attributes:
        spool: Its spool.
        counts: Its counts.
        notes: Its messages.
        now: Time of its clock, in seconds.
    """

    def __init__(self, folder: Path, targets: list[Target], **options: Any) -> None:
        self.spool, self.counts = Spool(folder), Counts()
        self.notes: list[str] = []
        self.now = 0.0
        self.sending = Sending(
            GatewayOptions(ae_title="FRACTURE", spool=folder, targets=targets, timeout=2, **options),
            self.spool,
            self.counts,
            None,
            note=self.notes.append,
            clock=lambda: self.now,
        )

    def waiting(self, target: Target) -> int:
        return len(self.spool.outgoing(target))


@pytest.fixture
def make_sender(tmp_path: Path) -> Iterator[Callable[..., Sender]]:
    made: list[Sender] = []

    def make(*targets: Target, **options: Any) -> Sender:
        made.append(Sender(tmp_path / f"spool{len(made)}", list(targets), **options))
        made[-1].sending.start()
        return made[-1]

    yield make
    for one in made:
        one.sending.finish()


def wait(condition: Callable[[], bool]) -> None:
    end = time.monotonic() + 30
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.02)


def test_results_arrive_as_they_were_made(
    make_sender: Callable[..., Sender], archive: Any, results: list[ResultObject]
) -> None:
    target = Target("PACS", "127.0.0.1", archive.port)
    sender = make_sender(target)
    sender.spool.put(results, target)
    wait(lambda: sender.counts.sent == 2)
    wait(lambda: sender.waiting(target) == 0)
    found = {str(dataset.SOPInstanceUID): dataset for dataset in archive.received}
    assert {f"{dataset.Modality.replace('OT', 'SC')}-{uid}.dcm" for uid, dataset in found.items()} == {
        result.name for result in results
    }
    assert {str(dataset.PatientName) for dataset in found.values()} == {"Roe^Jane"}
    assert sender.notes == []
    assert sender.sending.state() == {str(target): "ok"}


def test_results_wait_for_a_target_that_is_down_and_others_do_not(
    make_sender: Callable[..., Sender], make_archive: Callable[..., Any], results: list[ResultObject]
) -> None:
    up, down = make_archive(), make_archive()
    down.stop()
    here, there = (Target("PACS", "127.0.0.1", one.port) for one in (up, down))
    sender = make_sender(here, there)
    for target in (there, here):
        sender.spool.put([results[1]], target)
    wait(lambda: len(up.received) == 1)
    wait(lambda: sender.sending.state().get(str(there)) == "failing")
    failures = sender.counts.failed
    time.sleep(1.2)
    # Not again before the delay is over; the clock of the test stands still.
    assert (sender.counts.failed, sender.waiting(there)) == (failures, 1)
    assert sender.notes == [
        f"{there} does not take results; they wait in the spool, and are tried again and again"
    ]
    down.start()
    sender.now = 1e6
    wait(lambda: len(down.received) == 1)
    wait(lambda: f"{there} takes results again" in sender.notes)
    assert sender.spool.counts() == (0, 0, 0)


def test_a_result_that_is_refused_again_and_again_becomes_a_dead_letter(
    make_sender: Callable[..., Sender], archive: Any, results: list[ResultObject]
) -> None:
    archive.status = 0xC123
    target = Target("PACS", "127.0.0.1", archive.port)
    sender = make_sender(target)
    sender.spool.put([results[1]], target)

    def dead() -> bool:
        sender.now += 1e6
        return sender.counts.dead == 1

    wait(dead)
    assert archive.attempts == 5
    (note,) = (note for note in sender.notes if "dead letter" in note)
    assert "refused 5 times, last with status 0xC123; find the cause there, then move the files from" in note
    assert sender.spool.counts() == (0, 0, 1)
    assert "Roe" not in " ".join(sender.notes)
    # Moved back by hand, it goes out.
    archive.status = 0
    (letter,) = (sender.spool.folder / "dead" / target.folder).iterdir()
    (sender.spool.folder / "out" / target.folder).mkdir(exist_ok=True)
    letter.rename(sender.spool.folder / "out" / target.folder / letter.name)

    def arrived() -> bool:
        sender.now += 1e6
        return len(archive.received) == 1

    wait(arrived)


def test_warnings_count_as_taken(
    make_sender: Callable[..., Sender], archive: Any, results: list[ResultObject]
) -> None:
    archive.status = 0xB000
    target = Target("PACS", "127.0.0.1", archive.port)
    sender = make_sender(target)
    sender.spool.put([results[1]], target)
    wait(lambda: sender.counts.sent == 1)
    wait(lambda: sender.waiting(target) == 0)


def test_a_result_that_nobody_takes_for_days_becomes_a_dead_letter(
    make_sender: Callable[..., Sender], archive: Any, results: list[ResultObject]
) -> None:
    target = Target("PACS", "127.0.0.1", archive.port)
    sender = make_sender(target, give_up_days=0.0)
    sender.spool.put([results[1]], target)
    wait(lambda: sender.counts.dead == 1)
    assert archive.attempts == 0
    assert "not taken for 0 days" in sender.notes[0]


def test_finishing_tries_once_more_and_keeps_the_rest(
    tmp_path: Path, archive: Any, results: list[ResultObject]
) -> None:
    here, nowhere = Target("PACS", "127.0.0.1", archive.port), Target("PACS", "127.0.0.1", 1)
    sender = Sender(tmp_path / "spool", [here, nowhere])
    for target in (here, nowhere):
        sender.spool.put([results[1]], target)
    sender.sending.start()
    sender.sending.finish()
    assert (len(archive.received), sender.waiting(here), sender.waiting(nowhere)) == (1, 0, 1)
