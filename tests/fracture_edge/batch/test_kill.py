"""kill -9 at random times: records are complete, reported ones are on disk, and a restart completes the run."""

import json
import os
import random
import re
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="needs SIGKILL")

IMAGES = 300
#: Every tenth is a DICOM file of several frames, so that many kills come in the middle of one.
FRAMES = 6
FEW, MANY = range(4), range(4, 54)
Start = Callable[..., "subprocess.Popen[bytes]"]


@pytest.fixture(scope="module")
def films(tmp_path_factory: pytest.TempPathFactory, write_cine: Callable[..., Path]) -> list[Path]:
    folder = tmp_path_factory.mktemp("films")
    for number in range(IMAGES):
        if number % 10 == 0:
            write_cine(folder / f"{number:03}.dcm", range(20, 20 + FRAMES))
        else:
            Image.fromarray(np.full((64, 64), number % 256, np.uint8)).save(folder / f"{number:03}.png")
    return sorted(folder.iterdir())


def expected(films: list[Path]) -> list[str]:
    """Return the start of each printed prediction, in order."""
    return [
        f"{path}, frame {frame} of {FRAMES}" if path.suffix == ".dcm" else str(path)
        for path in films
        for frame in range(1, 1 + (FRAMES if path.suffix == ".dcm" else 1))
    ]


def starts(lines: list[bytes]) -> list[str]:
    """Return the same for records."""
    records = [json.loads(line) for line in lines]
    return [
        record["path"] + (f", frame {record['frame']} of {record['frames']}" if record["frames"] > 1 else "")
        for record in records
    ]


@pytest.fixture
def start(repository: Path) -> Start:
    def run(*arguments: object) -> "subprocess.Popen[bytes]":
        return subprocess.Popen(
            [sys.executable, "-m", "fracture_edge", *map(str, arguments)],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env={**os.environ, "PYTHONPATH": os.fspath(repository)},
        )

    return run


def kill_later(process: "subprocess.Popen[bytes]", begun: Path, seed: int) -> bytes:
    """Kill it within 0.4 s of its first record, about the time that all records take, and return its output."""
    deadline = time.monotonic() + 60
    while not (begun.exists() and begun.stat().st_size) and process.poll() is None:
        assert time.monotonic() < deadline
        time.sleep(0.001)
    time.sleep(random.Random(seed).uniform(0, 0.4))
    process.kill()
    return process.communicate(timeout=60)[0]


def whole_lines(path: Path) -> list[bytes]:
    lines = path.read_bytes().splitlines(keepends=True) if path.exists() else []
    return [line for line in lines if line.endswith(b"\n")]


def kill_classify(seed: int, films: list[Path], model: Path, start: Start, tmp_path: Path) -> int:
    target = tmp_path / f"{seed}.jsonl"
    partial = tmp_path / f"{seed}.jsonl.partial"
    arguments = ("classify", films[0].parent, "--model", model, "--jsonl", "-o", target)
    kill_later(start(*arguments), partial, seed)
    kept = whole_lines(partial if partial.exists() else target)
    assert starts(kept) == expected(films)[: len(kept)]
    done = start(*arguments, "--resume")
    _, err = done.communicate(timeout=120)
    assert done.returncode == 0
    left = len(expected(films)) - len(kept)
    # The summary counts what this process classified; it says nothing where nothing was left.
    assert re.findall(rb"(?m)^(.+?) images: .*$|^(.+)$", err) == ([(b"%d" % left, b"")] if left else [])
    final = whole_lines(target)
    assert final[: len(kept)] == kept
    assert starts(final) == expected(films)
    assert b"".join(final) == target.read_bytes()
    assert [path.name for path in tmp_path.glob(f"*{seed}.jsonl*")] == [target.name]
    return len(kept)


def kill_watch(seed: int, films: list[Path], model: Path, start: Start, tmp_path: Path) -> int:
    out = tmp_path / f"{seed}.jsonl"
    arguments = ("watch", films[0].parent, "--out", out, "--model", model, "--interval", "0.1", "--settle", "0")
    printed = kill_later(start(*arguments), out, seed)
    reported = {line.partition(b": ")[0].decode() for line in printed.splitlines(keepends=True) if b"\n" in line}
    kept = starts(whole_lines(out))
    assert reported <= set(kept)
    done = start(*arguments, "--once")
    _, err = done.communicate(timeout=120)
    assert (done.returncode, err) == (0, b"")
    final = starts(whole_lines(out))
    assert final[: len(kept)] == kept
    assert Counter(final) == Counter(expected(films))
    return len(kept)


@pytest.mark.slow
@pytest.mark.parametrize("kill", [kill_classify, kill_watch])
def test_a_few_kills(
    kill: Callable[..., int], films: list[Path], tiny_model: Path, start: Start, tmp_path: Path
) -> None:
    for seed in FEW:
        kill(seed, films, tiny_model, start, tmp_path)


@pytest.mark.endurance
@pytest.mark.parametrize("kill", [kill_classify, kill_watch])
def test_fifty_kills(
    kill: Callable[..., int], films: list[Path], tiny_model: Path, start: Start, tmp_path: Path
) -> None:
    kept = [kill(seed, films, tiny_model, start, tmp_path) for seed in MANY]
    # The times must be spread over the run, with early and late ones.
    assert min(kept) < IMAGES / 3
    assert len(set(kept)) > len(MANY) / 4
