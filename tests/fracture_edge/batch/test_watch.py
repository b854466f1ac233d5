import errno
import hashlib
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from fracture_edge import FractureClassifier, FractureEdgeError, Prediction
from fracture_edge.batch.folders import looks_like_image
from fracture_edge.batch.watch import Watcher, watch

Run = Callable[..., tuple[int, str, str]]


def save(path: Path, grey: int = 192) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.full((64, 64), grey, np.uint8)).save(path, path.suffix[1:].replace("part", "png"))
    return path


def records(path: Path) -> list[dict[str, object]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


@pytest.fixture(scope="module")
def classifier(tiny_model: Path) -> FractureClassifier:
    return FractureClassifier(tiny_model)


@pytest.fixture
def inbox(tmp_path: Path) -> Path:
    (tmp_path / "inbox").mkdir()
    return tmp_path / "inbox"


@pytest.fixture
def start(inbox: Path, tmp_path: Path, classifier: FractureClassifier) -> Iterator[Callable[..., Watcher]]:
    opened: list[Watcher] = []

    def run(**options: object) -> Watcher:
        for watcher in opened:
            watcher.close()
        chosen = {"settle": 0} | options
        opened.append(Watcher(inbox, tmp_path / "out.jsonl", classifier, **chosen))  # type: ignore[arg-type]
        return opened[-1]

    yield run
    opened[-1].close()


def look(watcher: Watcher) -> list[str]:
    return [Path(prediction.path).name for prediction in watcher.scan()]


def test_file_is_classified_when_unchanged_in_two_scans(
    start: Callable[..., Watcher], inbox: Path, tmp_path: Path
) -> None:
    watcher = start()
    path = save(inbox / "a.png")
    whole = path.read_bytes()
    path.write_bytes(whole[:50])
    assert look(watcher) == []
    path.write_bytes(whole)
    assert look(watcher) == []
    assert look(watcher) == ["a.png"]
    assert look(watcher) == []
    (record,) = records(tmp_path / "out.jsonl")
    state = path.stat()
    assert (record["path"], record["status"], record["decision"]) == (str(path), "ok", "fractured")
    assert (record["size"], record["mtime_ns"]) == (state.st_size, state.st_mtime_ns)
    assert (record["ctime_ns"], record["inode"]) == (state.st_ctime_ns, state.st_ino)
    assert record["digest"] == hashlib.blake2b(whole, digest_size=16).hexdigest()


def test_same_size_is_not_enough(start: Callable[..., Watcher], inbox: Path) -> None:
    watcher, path = start(), save(inbox / "a.png")
    for mtime in (1, 2, 3):
        os.utime(path, ns=(mtime, mtime))
        assert look(watcher) == []
    assert look(watcher) == ["a.png"]


def test_restart_classifies_only_new_and_replaced_files(
    start: Callable[..., Watcher], inbox: Path, tmp_path: Path
) -> None:
    save(inbox / "a.png", 192)
    watcher = start()
    assert [*look(watcher), *look(watcher)] == ["a.png"]
    save(inbox / "b.png", 64)
    watcher = start()
    assert [*look(watcher), *look(watcher)] == ["b.png"]
    save(inbox / "a.png", 64)
    os.utime(inbox / "a.png", ns=(5, 5))
    watcher = start()
    assert [*look(watcher), *look(watcher)] == ["a.png"]
    assert [(Path(str(row["path"])).name, row["decision"]) for row in records(tmp_path / "out.jsonl")] == [
        ("a.png", "fractured"),
        ("b.png", "not_fractured"),
        ("a.png", "not_fractured"),
    ]


def test_restart_from_another_folder_knows_the_same_files(
    start: Callable[..., Watcher],
    inbox: Path,
    tmp_path: Path,
    classifier: FractureClassifier,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    save(inbox / "a.png")
    watcher = start()
    assert [*look(watcher), *look(watcher)] == ["a.png"]
    watcher.close()
    monkeypatch.chdir(tmp_path)
    again = Watcher(Path("inbox"), Path("out.jsonl"), classifier)
    assert [*look(again), *look(again)] == []
    again.close()


def test_incomplete_record_is_ignored(start: Callable[..., Watcher], inbox: Path, tmp_path: Path) -> None:
    for name in ("a.png", "b.png"):
        save(inbox / name)
    watcher = start()
    assert [*look(watcher), *look(watcher)] == ["a.png", "b.png"]
    watcher.close()
    out = tmp_path / "out.jsonl"
    out.write_bytes(out.read_bytes()[:-9])
    watcher = start()
    assert [*look(watcher), *look(watcher)] == ["b.png"]
    assert [Path(str(row["path"])).name for row in records(out)] == ["a.png", "b.png"]


def test_ignored_files(start: Callable[..., Watcher], inbox: Path) -> None:
    for name in (".hidden.png", "~a.png", "a.png.part", "b.tmp.png", "sub/c.png", "notes.txt"):
        path = save(inbox / name) if name != "notes.txt" else inbox / name
        path.touch()
    (inbox / "empty.png").touch()
    (inbox / "folder.png").mkdir()
    if hasattr(os, "mkfifo"):
        os.mkfifo(inbox / "pipe.png")
    watcher = start()
    assert [*look(watcher), *look(watcher)] == []
    (inbox / "a.png.part").rename(inbox / "a.png")
    assert [*look(watcher), *look(watcher)] == ["a.png"]


def test_dicom_without_a_suffix(start: Callable[..., Watcher], inbox: Path) -> None:
    (inbox / "IM000001").write_bytes(bytes(128) + b"DICM")
    (inbox / "DICOMDIR").write_bytes(bytes(128) + b"DICM")
    (inbox / "IM000002").write_bytes(b"half")
    watcher = start()
    assert [*look(watcher), *look(watcher)] == ["IM000001"]
    # The rest of the file arrives.
    (inbox / "IM000002").write_bytes(bytes(128) + b"DICM")
    assert [*look(watcher), *look(watcher)] == ["IM000002"]


def test_file_without_a_suffix_is_opened_once(
    start: Callable[..., Watcher], inbox: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (inbox / "IM000001").write_bytes(bytes(128) + b"DICM")
    (inbox / "README").write_bytes(b"no image")
    opened = []
    judge = looks_like_image
    monkeypatch.setattr(
        "fracture_edge.batch.watch.looks_like_image", lambda path: opened.append(path.name) or judge(path)
    )
    watcher = start()
    assert [name for _ in range(4) for name in look(watcher)] == ["IM000001"]
    assert opened == ["IM000001", "README"]


def test_sub_folders_when_asked(start: Callable[..., Watcher], inbox: Path) -> None:
    save(inbox / "sub" / "x" / "a.png")
    save(inbox / ".git" / "b.png")
    if hasattr(os, "symlink"):
        (inbox / "sub" / "up").symlink_to(inbox)
    watcher = start(recursive=True)
    assert [*look(watcher), *look(watcher)] == ["a.png"]


def test_oldest_first(start: Callable[..., Watcher], inbox: Path) -> None:
    for name, when in (("a.png", 3), ("b.png", 1), ("c.png", 2)):
        os.utime(save(inbox / name), ns=(when, when))
    watcher = start()
    assert [*look(watcher), *look(watcher)] == ["b.png", "c.png", "a.png"]


def test_bad_file_is_a_record(start: Callable[..., Watcher], inbox: Path, tmp_path: Path) -> None:
    (inbox / "a.png").write_text("text")
    save(inbox / "b.png")
    watcher = start()
    assert [*look(watcher), *look(watcher)] == ["a.png", "b.png"]
    assert [row["status"] for row in records(tmp_path / "out.jsonl")] == ["unsupported_format", "ok"]


def test_file_that_changes_while_it_is_read_is_classified_later(
    start: Callable[..., Watcher], inbox: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = save(inbox / "a.png")
    watcher = start()
    look(watcher)
    predict_files = FractureClassifier.predict_files

    def meanwhile(self: FractureClassifier, *arguments: object, **options: object) -> Iterator[object]:
        for frames in predict_files(self, *arguments, **options):  # type: ignore[arg-type]
            os.utime(path, ns=(7, 7))
            yield frames

    with monkeypatch.context() as patch:
        patch.setattr(FractureClassifier, "predict_files", meanwhile)
        assert look(watcher) == []
    assert (tmp_path / "out.jsonl").read_bytes() == b""
    assert [look(watcher), look(watcher)] == [[], ["a.png"]]


def test_move(start: Callable[..., Watcher], inbox: Path, tmp_path: Path) -> None:
    done = inbox / "done"
    save(inbox / "a.png")
    save(inbox / "sub" / "b.png")
    save(done / "a.png", 64)
    before = (done / "a.png").read_bytes()
    watcher = start(recursive=True, move_to=done)
    assert sorted([*look(watcher), *look(watcher), *look(watcher)]) == ["a.png", "b.png"]
    moved = sorted(path.relative_to(inbox).as_posix() for path in inbox.rglob("*.png"))
    assert moved == ["done/a-2.png", "done/a.png", "done/sub/b.png"]
    assert (done / "a.png").read_bytes() == before
    # The record has the path at which the file was found.
    assert {row["path"] for row in records(tmp_path / "out.jsonl")} == {
        str(inbox / "a.png"),
        str(inbox / "sub" / "b.png"),
    }


def test_killed_between_record_and_move(start: Callable[..., Watcher], inbox: Path, tmp_path: Path) -> None:
    save(inbox / "a.png")
    watcher = start()
    assert [*look(watcher), *look(watcher)] == ["a.png"]
    watcher = start(move_to=tmp_path / "done")
    assert [*look(watcher), *look(watcher)] == []
    assert [path.name for path in (tmp_path / "done").iterdir()] == ["a.png"]
    assert len(records(tmp_path / "out.jsonl")) == 1


def test_failed_move_is_reported_once_and_others_continue(
    start: Callable[..., Watcher], inbox: Path, tmp_path: Path
) -> None:
    (tmp_path / "done").write_text("a file")
    save(inbox / "a.png")
    notes: list[str] = []
    watcher = start(move_to=tmp_path / "done", note=notes.append)
    assert [*look(watcher), *look(watcher), *look(watcher)] == ["a.png"]
    assert notes == [f"{inbox / 'a.png'}: cannot be moved to {tmp_path / 'done'} ({os.strerror(errno.EEXIST)})"]


def test_missing_folder_is_scanned_again_when_it_returns(start: Callable[..., Watcher], inbox: Path) -> None:
    notes: list[str] = []
    save(inbox / "a.png")
    watcher = start(note=notes.append)
    assert [*look(watcher), *look(watcher)] == ["a.png"]
    inbox.rename(inbox.with_name("away"))
    assert [*look(watcher), *look(watcher)] == []
    inbox.with_name("away").rename(inbox)
    save(inbox / "b.png")
    assert [*look(watcher), *look(watcher)] == ["b.png"]
    assert notes == [f"{inbox}: {os.strerror(errno.ENOENT)}; trying again"]


def test_no_folder(tmp_path: Path, classifier: FractureClassifier) -> None:
    with pytest.raises(FractureEdgeError, match=r"none: no such folder$"):
        Watcher(tmp_path / "none", tmp_path / "out.jsonl", classifier)


def test_stopped_between_two_predictions(start: Callable[..., Watcher], inbox: Path, tmp_path: Path) -> None:
    for name in ("a.png", "b.png", "c.png"):
        save(inbox / name)
    reported: list[Prediction] = []
    watch(start(), reported.append, interval=0.01, stopped=lambda: len(reported) == 2)
    assert [Path(prediction.path).name for prediction in reported] == ["a.png", "b.png"]
    assert len(records(tmp_path / "out.jsonl")) == 2


def test_once(cli: Run, inbox: Path, tiny_model: Path, tmp_path: Path) -> None:
    save(inbox / "a.png")
    arguments = ("watch", inbox, "--out", tmp_path / "out.jsonl", "--once", "--interval", "0.1")
    code, out, err = cli(*arguments, "--model", tiny_model)
    assert out.startswith(f"{inbox}/a.png: fractured, P(fractured) = 0.881 (threshold 0.500; ")
    assert (code, out.count("\n"), err) == (0, 1, "")
    assert cli(*arguments, "--model", tiny_model) == (0, "", "")


@pytest.mark.skipif(sys.platform == "win32", reason="Windows ends a process without asking it")
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_signal_ends_it_cleanly(
    number: signal.Signals, inbox: Path, tiny_model: Path, tmp_path: Path, repository: Path
) -> None:
    save(inbox / "a.png")
    out = tmp_path / "out.jsonl"
    with subprocess.Popen(
        [
            sys.executable,
            "-m",
            "fracture_edge",
            "watch",
            inbox,
            "--out",
            out,
            "--model",
            tiny_model,
            "--interval",
            "0.1",
        ],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env={**os.environ, "PYTHONPATH": os.fspath(repository)},
    ) as process:
        assert process.stdout is not None
        assert b"a.png: fractured" in process.stdout.readline()
        save(inbox / "b.png")
        assert b"b.png: fractured" in process.stdout.readline()
        asked = time.monotonic()
        process.send_signal(number)
        rest, err = process.communicate(timeout=30)
        assert time.monotonic() - asked < 5
    assert (process.returncode, rest, err) == (0, b"", b"")
    assert len(records(out)) == 2
