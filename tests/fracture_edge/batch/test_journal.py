import errno
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from fracture_edge.batch.journal import Journal
from fracture_edge.batch.records import COLUMNS, Format, csv_line, render
from fracture_edge.errors import FractureEdgeError, Status
from fracture_edge.prediction import Prediction

NAMES = ["a.png", 'b, "c"\nd.png', "=e.png", "\udcff.png"]


def written(style: Format, names: list[str] = NAMES) -> bytes:
    predictions = [
        Prediction(name, 1, 1, Status.EMPTY, None, None, None, "x", "tiny", "ab12", 1.0) for name in names
    ]
    return "".join(render(predictions, style)).encode("utf-8", "surrogateescape")


def names_in(path: Path, style: Format) -> list[str]:
    found: list[str] = []
    with Journal(path, style, lambda record: found.append(record["path"])):
        pass
    return found


@pytest.mark.parametrize("style", ["jsonl", "csv"])
def test_complete_records_survive_truncation_anywhere(style: Format, tmp_path: Path) -> None:
    path, data = tmp_path / "x", written(style)
    # Offsets at which the records end; in CSV the first is the header.
    ends = [len(written(style, NAMES[:count])) for count in range(len(NAMES) + 1)]
    for length in range(len(data) + 1):
        path.write_bytes(data[:length])
        whole = sum(end <= length for end in ends[1:])
        assert names_in(path, style) == NAMES[:whole]
        kept = max((end for end in ends if end <= length), default=0)
        assert path.read_bytes() == data[:kept]


@pytest.mark.parametrize("style", ["jsonl", "csv"])
def test_zeros_left_by_a_power_cut_are_cut_off(style: Format, tmp_path: Path) -> None:
    path = tmp_path / "x"
    path.write_bytes(written(style) + b"\0" * 200_000)
    assert names_in(path, style) == NAMES
    assert path.read_bytes() == written(style)


@pytest.mark.parametrize(
    ("style", "data"),
    [
        ("jsonl", b"my notes\n"),
        ("jsonl", b'{"path": "a.png"}\n'),
        ("csv", b"name,age\n"),
        ("csv", csv_line(COLUMNS).encode() + b"a,b\n"),
        ("csv", b'"' + b"x\n" * 40_000),
        ("jsonl", b"x" * 70_000),
    ],
)
def test_other_files_are_refused_and_left_alone(style: Format, data: bytes, tmp_path: Path) -> None:
    path = tmp_path / "x"
    path.write_bytes(data)
    with pytest.raises(FractureEdgeError, match=rf"^{path}.*; name another file$"):
        names_in(path, style)
    assert path.read_bytes() == data


def test_append(tmp_path: Path) -> None:
    path = tmp_path / "new" / "x"
    with Journal(path, "jsonl", lambda record: None) as journal:
        assert journal.empty
        journal.append(written("jsonl", ["a"]).decode())
        assert path.read_bytes() == written("jsonl", ["a"])
    with Journal(path, "jsonl", lambda record: None) as journal:
        assert not journal.empty
        journal.append(written("jsonl", ["b"]).decode(), durable=True)
    assert path.read_bytes() == written("jsonl", ["a", "b"])
    with Journal(path, "jsonl", lambda record: None, fresh=True) as journal:
        assert (journal.empty, path.read_bytes()) == (True, b"")


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no flock")
def test_second_writer_is_refused(
    tmp_path: Path, run_python: Callable[..., subprocess.CompletedProcess[bytes]]
) -> None:
    script = (
        "import sys\nfrom pathlib import Path\nfrom fracture_edge.batch.journal import Journal\n"
        "Journal(Path(sys.argv[1]), 'jsonl', print, fresh=True)"
    )
    path = tmp_path / "x"

    def remember(record: Any) -> None:
        return None

    with Journal(path, "jsonl", remember) as journal:
        journal.append(written("jsonl").decode())
        done = run_python("-c", script, path)
        last = done.stderr.decode().splitlines()[-1]
        assert last.endswith(f"{path} is being written by another fracture-edge process; wait for it to end")
    assert path.read_bytes() == written("jsonl")
    assert run_python("-c", script, path).returncode == 0
    assert path.read_bytes() == b""


def test_full_disk_names_the_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(descriptor: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", full)
    path = tmp_path / "x"
    with Journal(path, "jsonl", lambda record: None) as journal:
        with pytest.raises(OSError, match="No space left on device") as caught:
            journal.append("{}\n", durable=True)
        assert (caught.value.errno, caught.value.filename) == (errno.ENOSPC, str(path))
