"""Closed standard streams, file names that are not UTF-8, lists in UTF-16, a full disk."""

import errno
import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from fracture_edge.heatmap import OverlayWriter

Cli = Callable[..., tuple[int, str, str]]

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="streams are closed by a shell")


@pytest.fixture
def picture(tmp_path: Path) -> Path:
    path = tmp_path / "a.png"
    Image.fromarray(np.full((64, 64), 192, np.uint8)).save(path)
    return path


def _run(repository: Path, closed: str, *arguments: object) -> tuple[int, str, str]:
    done = subprocess.run(
        ["sh", "-c", f'exec "$@" {closed}', "sh", sys.executable, "-m", "fracture_edge", *map(str, arguments)],
        env={**os.environ, "PYTHONPATH": os.fspath(repository)},
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    return done.returncode, done.stdout, done.stderr


def test_closed_stdout_is_refused_without_output(repository: Path, picture: Path) -> None:
    message = "fracture-edge: stdout is closed; give --output for the records\n"
    assert _run(repository, ">&-", "classify", picture) == (1, "", message)
    assert _run(repository, "<&- >&-", "classify", picture, "--json") == (1, "", message)


@pytest.mark.parametrize("closed", ["<&-", ">&-", "2>&-", "<&- >&- 2>&-"])
def test_closed_streams_do_not_reach_the_records(
    closed: str, repository: Path, picture: Path, tiny_model: Path, tmp_path: Path
) -> None:
    out = tmp_path / "answers.jsonl"
    second = tmp_path / "b.png"
    second.write_bytes(picture.read_bytes())
    arguments = ("classify", picture, second, "--model", tiny_model, "--jsonl", "-o", out)
    code, printed, err = _run(repository, closed, *arguments)
    assert (code, printed) == (0, "")
    assert (err == "") == ("2>&-" in closed)
    records = [json.loads(line) for line in out.read_text().splitlines()]
    assert [(Path(record["path"]).name, record["decision"]) for record in records] == [
        ("a.png", "fractured"),
        ("b.png", "fractured"),
    ]
    # Not even an error message gets into them.
    code, _, _ = _run(repository, closed, *arguments)
    assert (code, len(out.read_text().splitlines())) == (1, 2)


def test_closed_stderr_leaves_stdout_as_it_is(repository: Path, picture: Path, tiny_model: Path) -> None:
    code, out, err = _run(repository, "2>&-", "classify", picture, "--model", tiny_model, "--jsonl")
    assert (code, json.loads(out)["decision"], err) == (0, "fractured", "")


def test_list_on_closed_stdin(repository: Path, tiny_model: Path) -> None:
    code, out, err = _run(repository, "<&-", "classify", "-", "--model", tiny_model)
    assert (code, out) == (1, "")
    assert err == "fracture-edge: stdin is closed; name the images as arguments\n"


def test_watch_without_streams(repository: Path, picture: Path, tiny_model: Path, tmp_path: Path) -> None:
    out = tmp_path / "out.jsonl"
    arguments = ("watch", tmp_path, "--out", out, "--once", "--interval", "0.1", "--model", tiny_model)
    assert _run(repository, "<&- >&- 2>&-", *arguments) == (0, "", "")
    assert [json.loads(line)["path"] for line in out.read_text().splitlines()] == [str(picture)]


def test_full_disk_during_heatmap(
    cli: Cli, picture: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    second = tmp_path / "b.png"
    second.write_bytes(picture.read_bytes())
    folder = tmp_path / "maps"

    def write(self: OverlayWriter, prediction: object) -> Path:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(OverlayWriter, "write", write)
    code, out, err = cli("classify", picture, second, "--heatmap", folder, "--jsonl")
    records = [json.loads(line) for line in out.splitlines()]
    assert (code, [(record["status"], record["heatmap"]) for record in records]) == (0, [("ok", None)] * 2)
    assert err.splitlines()[:-1] == [
        f"fracture-edge: 2 heat maps are missing in {folder}, first: {picture} (No space left on device)"
    ]
