"""What is in the spool survives, is replaced and not lost, and leaves when it is done."""

import os
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from fracture_edge.pacs.gateway.peers import Target
from fracture_edge.pacs.gateway.spool import MOST_CRASHES, Spool
from fracture_edge.pacs.results.make import ResultObject

TARGET = Target("PACS", "127.0.0.1", 104)
UID = "1.2.840.99.4711"


def receive(spool: Spool, content: bytes, uid: str = UID, title: str = "CR1") -> None:
    received = spool.incoming / "tmpabc.dcm"
    received.write_bytes(content)
    spool.take(received, uid, title, "10.0.0.7")


def files(spool: Spool) -> list[str]:
    return sorted(
        str(path.relative_to(spool.folder))
        for path in spool.folder.rglob("*")
        if path.is_file() and path.name != "lock"
    )


def test_an_image_is_claimed_once_with_its_sender(tmp_path: Path) -> None:
    spool = Spool(tmp_path / "spool")
    receive(spool, b"image", title="A~B/C")
    assert spool.counts() == (1, 0, 0)
    (image,) = spool.claim(5)
    assert (image.path.read_bytes(), image.ae_title, image.address) == (b"image", "A~B/C", "10.0.0.7")
    assert spool.claim(5) == []
    # Neither name nor UID of the image; and nobody else may read it.
    assert "4711" not in image.path.name
    assert spool.folder.stat().st_mode & 0o777 == 0o700
    spool.finish(image)
    assert files(spool) == []


def test_images_are_claimed_oldest_first(tmp_path: Path) -> None:
    spool = Spool(tmp_path / "spool")
    for number in range(4):
        receive(spool, b"%d" % number, uid=f"1.2.{number}")
        newest = max(spool.queue.iterdir(), key=lambda path: path.read_bytes())
        os.utime(newest, (100 - number, 100 - number))
    assert [image.path.read_bytes() for image in spool.claim(3)] == [b"3", b"2", b"1"]


def test_an_image_that_comes_again_replaces_the_one_that_waits(tmp_path: Path) -> None:
    spool = Spool(tmp_path / "spool")
    receive(spool, b"old")
    receive(spool, b"new")
    (image,) = spool.claim(5)
    assert image.path.read_bytes() == b"new"


def test_an_image_that_comes_again_while_it_is_answered_is_answered_again(tmp_path: Path) -> None:
    spool = Spool(tmp_path / "spool")
    receive(spool, b"old")
    (image,) = spool.claim(5)
    receive(spool, b"new")
    assert spool.claim(5) == []
    spool.finish(image)
    (again,) = spool.claim(5)
    assert again.path.read_bytes() == b"new"


def test_restart_puts_back_what_was_begun(tmp_path: Path) -> None:
    spool = Spool(tmp_path / "spool")
    receive(spool, b"one", uid="1.2.1")
    receive(spool, b"two", uid="1.2.2")
    held = spool.claim(1)[0].path.name
    (spool.incoming / "tmphalf.dcm").write_bytes(b"half")
    spool.close()
    spool = Spool(tmp_path / "spool")
    assert len(files(spool)) == 2
    # The one that was being answered comes last, and alone: it may have ended the process.
    assert [image.path.name == held for image in spool.claim(5)] == [False]
    (image,) = spool.claim(5)
    assert (image.path.name, image.ae_title) == (held.replace("~", "+1~", 1), "CR1")


def test_an_image_that_ends_the_process_again_and_again_is_set_aside(tmp_path: Path) -> None:
    spool = Spool(tmp_path / "spool")
    receive(spool, b"harmless", uid="1.2.1")
    receive(spool, b"crashing", uid="1.2.2")
    # Both are being answered when the process ends for the first time, then each alone; one of them ends it.
    assert len(spool.claim(5)) == 2
    for crashes in range(1, MOST_CRASHES + 1):
        spool.close()
        spool = Spool(tmp_path / "spool")
        assert spool.crashed == (crashes == MOST_CRASHES)
        for image in spool.claim(1):
            if image.path.read_bytes() == b"harmless":
                spool.finish(image)
                spool.claim(1)
    assert [path.read_bytes() for path in (spool.folder / "dead" / "images").iterdir()] == [b"crashing"]
    assert spool.counts() == (0, 0, 1)
    receive(spool, b"crashing", uid="1.2.2")
    assert spool.counts() == (1, 0, 1)


def test_an_image_that_comes_again_replaces_the_one_that_ended_the_process(tmp_path: Path) -> None:
    spool = Spool(tmp_path / "spool")
    receive(spool, b"old")
    spool.claim(1)
    spool.close()
    spool = Spool(tmp_path / "spool")
    receive(spool, b"new")
    assert [image.path.read_bytes() for image in spool.claim(5)] == [b"new"]
    assert spool.claim(5) == []


def test_restart_keeps_the_newer_of_two(tmp_path: Path) -> None:
    spool = Spool(tmp_path / "spool")
    receive(spool, b"old")
    spool.claim(1)
    receive(spool, b"new")
    spool.close()
    spool = Spool(tmp_path / "spool")
    assert [image.path.read_bytes() for image in spool.claim(5)] == [b"new"]


def test_results_wait_for_each_target(tmp_path: Path) -> None:
    spool = Spool(tmp_path / "spool")
    other = Target("A B", "::1", 11112, tls=True)
    result = ResultObject("SC-2.25.1.dcm", b"capture")
    for target in (TARGET, other):
        spool.put([result], target)
    assert set(spool.targets()) == {TARGET, other}
    (found,) = spool.outgoing(TARGET)
    spool.sent(found)
    assert (spool.outgoing(TARGET), len(spool.outgoing(other))) == ([], 1)
    assert spool.targets() == [other]


def test_results_are_flushed_before_they_get_their_names(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    spool = Spool(tmp_path / "spool")
    out = spool.folder / "out"
    there = out / TARGET.folder
    done: list[tuple[str, int]] = []

    def record(path: Path) -> None:
        done.append((path.name, len(list(there.iterdir())) if there.is_dir() else 0))

    monkeypatch.setattr("fracture_edge.pacs.gateway.spool.flush_to_disk", record)
    monkeypatch.setattr("fracture_edge.pacs.gateway.spool.flush_folder", record)
    spool.put([ResultObject(f"{kind}-2.25.1.dcm", b"result") for kind in ("SC", "SR")], TARGET)
    # What was flushed, and the number of files that the outbox had then.
    assert done == [(".SC-2.25.1.dcm", 0), ("out", 0), (".SR-2.25.1.dcm", 1), (TARGET.folder, 2)]


def test_a_result_that_was_replaced_while_it_was_sent_is_sent_again(tmp_path: Path) -> None:
    spool = Spool(tmp_path / "spool")
    spool.put([ResultObject("SC-2.25.1.dcm", b"old")], TARGET)
    (old,) = spool.outgoing(TARGET)
    spool.put([ResultObject("SC-2.25.1.dcm", b"new")], TARGET)
    spool.sent(old)
    spool.bury(old)
    (new,) = spool.outgoing(TARGET)
    assert new.path.read_bytes() == b"new"


def test_dead_letters_can_be_moved_back(tmp_path: Path) -> None:
    spool = Spool(tmp_path / "spool")
    spool.put([ResultObject("SC-2.25.1.dcm", b"capture")], TARGET)
    (found,) = spool.outgoing(TARGET)
    folder = spool.bury(found)
    assert (spool.outgoing(TARGET), spool.counts()) == ([], (0, 0, 1))
    (folder / found.path.name).rename(found.path)
    assert len(spool.outgoing(TARGET)) == 1


def test_kept_files_go_after_their_time(tmp_path: Path) -> None:
    now = 1e9
    spool = Spool(tmp_path / "spool", keep_days=2, clock=lambda: now)
    receive(spool, b"image")
    spool.finish(spool.claim(1)[0])
    (kept,) = (spool.folder / "done").rglob("*.dcm")
    os.utime(kept, (now, now))
    now += 2 * 86_400 - 1
    spool.clean()
    assert kept.exists()
    now += 1
    spool.clean()
    assert not kept.exists()


def test_a_shorter_time_applies_to_what_is_kept_already(tmp_path: Path) -> None:
    spool = Spool(tmp_path / "spool", keep_days=30)
    receive(spool, b"image")
    spool.finish(spool.claim(1)[0])
    assert len(files(spool)) == 1
    spool.close()
    assert files(Spool(tmp_path / "spool", keep_days=0)) == []


def test_parts_of_images_and_empty_folders_go(tmp_path: Path) -> None:
    spool = Spool(tmp_path / "spool")
    left, fresh = spool.incoming / "tmpleft.dcm", spool.incoming / "tmpfresh.dcm"
    left.touch()
    fresh.touch()
    os.utime(left, (1, 1))
    spool.put([ResultObject("SC-2.25.1.dcm", b"capture")], TARGET)
    folder = spool.outgoing(TARGET)[0].path.parent
    spool.clean()
    assert (left.exists(), fresh.exists(), folder.exists()) == (False, True, True)
    spool.sent(spool.outgoing(TARGET)[0])
    spool.clean()
    assert not folder.exists()


def test_a_second_gateway_is_refused(
    tmp_path: Path, run_python: Callable[..., "subprocess.CompletedProcess[bytes]"]
) -> None:
    spool = Spool(tmp_path / "spool")
    script = (
        "import sys, pathlib\nfrom fracture_edge.pacs.gateway.spool import Spool\nSpool(pathlib.Path(sys.argv[1]))"
    )
    done = run_python("-c", script, spool.folder)
    assert b"is being written by another fracture-edge process" in done.stderr
    spool.close()
    assert run_python("-c", script, spool.folder).returncode == 0
