import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from fracture_edge.errors import FractureEdgeError
from fracture_edge.files import atomic_path, atomic_write_text, clear_temporaries, refuse_overwrite


def listing(folder: Path) -> list[str]:
    return sorted(entry.name for entry in folder.iterdir())


def test_replaces_in_one_step(tmp_path: Path) -> None:
    final = tmp_path / "x.tar.gz"
    final.write_text("old")
    with atomic_path(final) as temporary:
        temporary.write_text("new")
        assert (final.read_text(), temporary.parent, temporary.suffix) == ("old", tmp_path, ".gz")
    assert (final.read_text(), listing(tmp_path)) == ("new", ["x.tar.gz"])


def test_makes_folders_and_writes_utf8(tmp_path: Path) -> None:
    final = tmp_path / "a" / "b" / "x.txt"
    atomic_write_text(final, "ü\n")
    assert final.read_bytes() == b"\xc3\xbc\n"


def test_permissions_follow_the_umask(tmp_path: Path) -> None:
    before = os.umask(0o027)
    try:
        atomic_write_text(tmp_path / "x", "")
    finally:
        os.umask(before)
    assert (tmp_path / "x").stat().st_mode & 0o777 == 0o640


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt, SystemExit])
def test_interruption_keeps_the_old_file(error: type[BaseException], tmp_path: Path) -> None:
    final = tmp_path / "x.txt"
    final.write_text("old")

    def write() -> None:
        with atomic_path(final) as temporary:
            temporary.write_text("half")
            raise error

    with pytest.raises(error):
        write()
    assert (final.read_text(), listing(tmp_path)) == ("old", ["x.txt"])


def test_failure_before_the_first_byte(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="early"), atomic_path(tmp_path / "x.txt"):
        raise ValueError("early")
    assert listing(tmp_path) == []


def test_refuses_without_force(tmp_path: Path) -> None:
    final = tmp_path / "x.txt"
    final.write_text("old")
    message = f"^{final} exists already; give --force to replace it$"
    with pytest.raises(FractureEdgeError, match=message), atomic_path(final, force=False):
        pytest.fail("the body must not run")
    with pytest.raises(FractureEdgeError, match=message):
        atomic_write_text(final, "new", force=False)
    with pytest.raises(FractureEdgeError, match=message):
        refuse_overwrite(final)
    assert (final.read_text(), listing(tmp_path)) == ("old", ["x.txt"])


def test_refuses_a_file_that_appeared_meanwhile(tmp_path: Path) -> None:
    final = tmp_path / "x.txt"

    def write() -> None:
        with atomic_path(final, force=False) as temporary:
            temporary.write_text("ours")
            final.write_text("theirs")

    with pytest.raises(FractureEdgeError, match="exists already"):
        write()
    assert (final.read_text(), listing(tmp_path)) == ("theirs", ["x.txt"])


WRITER = """
import signal, sys
from fracture_edge.files import atomic_path
signal.signal(signal.SIGINT, signal.default_int_handler)
with atomic_path(sys.argv[1]) as temporary, temporary.open("w") as stream:
    stream.write("half" * 10_000)
    stream.flush()
    print("ready", flush=True)
    sys.stdin.read()
"""


@pytest.mark.parametrize(("number", "leftovers"), [(signal.SIGKILL, 1), (signal.SIGINT, 0)])
def test_killed_while_writing(number: signal.Signals, leftovers: int, tmp_path: Path, repository: Path) -> None:
    final = tmp_path / "x.txt"
    final.write_text("old")
    with subprocess.Popen(
        [sys.executable, "-c", WRITER, final],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        env={**os.environ, "PYTHONPATH": os.fspath(repository)},
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"ready\n"
        process.send_signal(number)
        assert process.wait(timeout=60) == -number
    assert final.read_text() == "old"
    # After SIGKILL nothing can clean up; the file that is left is hidden and has a temporary name.
    others = [name for name in listing(tmp_path) if name != "x.txt"]
    assert (len(others), all(name.startswith(".x.") and name.endswith(".tmp.txt") for name in others)) == (
        leftovers,
        True,
    )
    (tmp_path / ".y.1-2.tmp.txt").touch()
    clear_temporaries(tmp_path, "x.txt")
    assert listing(tmp_path) == [".y.1-2.tmp.txt", "x.txt"]
    clear_temporaries(tmp_path, "*.txt")
    clear_temporaries(tmp_path / "nowhere", "*.txt")
    assert listing(tmp_path) == ["x.txt"]
