"""What only a process of its own can show: the entry point, signals' exit codes, odd names, closed pipes."""

import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

Run = Callable[..., subprocess.CompletedProcess[bytes]]

BRIGHT = np.full((64, 64), 192, np.uint8)
# As in any locale but C: output that is strictly UTF-8.
UTF8 = {"LC_ALL": "C.UTF-8", "PYTHONIOENCODING": "utf-8"}
ANSWER = b"fractured, P(fractured) = 0.881 (threshold 0.500; probability at or above the threshold; "


def save(path: Path) -> Path:
    Image.fromarray(BRIGHT).save(path, "PNG")
    return path


def test_module_is_the_command(run_python: Run, tiny_model: Path, tmp_path: Path) -> None:
    path = save(tmp_path / "a.png")
    done = run_python("-m", "fracture_edge", "classify", path, tmp_path / "b.png", "--model", tiny_model)
    first, second = done.stdout.splitlines()
    assert first.startswith(os.fsencode(path) + b": " + ANSWER)
    assert second == os.fsencode(tmp_path / "b.png") + b": no answer, not_found (no such file)"
    assert (done.returncode, done.stderr) == (3, b"")


@pytest.mark.parametrize("command", ["train", "export", "benchmark"])
def test_shadowing_file_in_the_working_folder_is_named(command: str, run_python: Run, tmp_path: Path) -> None:
    (tmp_path / "train.py").write_text("raise SystemExit('the wrong one ran')\n")
    assert run_python("-m", "fracture_edge", "--help", cwd=tmp_path).returncode == 0
    done = run_python("-m", "fracture_edge", command, "edge", cwd=tmp_path)
    assert done.stderr.decode() == (
        f"fracture-edge: {tmp_path / 'train.py'} hides fracture-edge's own package 'train'; "
        "rename it or run from elsewhere\n"
    )
    assert (done.returncode, done.stdout) == (1, b"")


def test_a_folder_called_train_hides_nothing(run_python: Run, tmp_path: Path) -> None:
    (tmp_path / "train" / "fractured").mkdir(parents=True)
    done = run_python("-m", "fracture_edge", "data", "--help", cwd=tmp_path)
    assert (done.returncode, done.stderr) == (0, b"")
    assert b"audit" in done.stdout


def test_training_without_its_extra(run_python: Run, tmp_path: Path) -> None:
    script = (
        "import sys; sys.modules['keras'] = sys.modules['tensorflow'] = None\n"
        "from fracture_edge.cli import main; main()"
    )
    done = run_python("-c", script, "train", "edge", "--data", tmp_path, "--splits", tmp_path / "splits.csv")
    assert (done.returncode, done.stdout) == (1, b"")
    assert done.stderr == b"fracture-edge: 'train' needs keras: pip install 'fracture-edge[train]'\n"


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux has file names that are not text")
@pytest.mark.parametrize("style", ["--text", "--csv", "--jsonl"])
@pytest.mark.parametrize("to_file", [False, True])
def test_name_that_is_not_utf8_stops_nothing(
    style: str, to_file: bool, run_python: Run, tiny_model: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "films"
    folder.mkdir()
    odd, plain = save(folder / os.fsdecode(b"\xff.png")), save(folder / "a.png")
    arguments = ["classify", odd, plain, "--model", tiny_model, *([style] if style != "--text" else [])]
    if to_file:
        arguments += ["-o", tmp_path / "answers"]
    done = run_python("-m", "fracture_edge", *arguments, environment=UTF8)
    text = (tmp_path / "answers").read_bytes() if to_file else done.stdout
    assert (done.returncode, done.stderr) == (0, b"")
    assert text.count(b"a.png") == 1
    assert len(text.splitlines()) == (3 if style == "--csv" else 2)


def test_reader_that_has_seen_enough(tiny_model: Path, tmp_path: Path, repository: Path) -> None:
    reader, writer = os.pipe()
    os.close(reader)
    done = subprocess.run(
        [sys.executable, "-m", "fracture_edge", "classify", save(tmp_path / "a.png"), "--model", tiny_model],
        stdout=writer,
        stderr=subprocess.PIPE,
        env={**os.environ, "PYTHONPATH": os.fspath(repository)},
        check=False,
        timeout=120,
    )
    os.close(writer)
    assert (done.returncode, done.stderr) == (1, b"")


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="needs a named pipe to wait at")
def test_interrupted(tiny_model: Path, tmp_path: Path, repository: Path) -> None:
    os.mkfifo(tmp_path / "b.png")
    # Where tests run in the background SIGINT is ignored, and children inherit that.
    script = (
        "import signal; signal.signal(signal.SIGINT, signal.default_int_handler)\n"
        "from fracture_edge.cli import main; main()"
    )
    arguments = ["classify", save(tmp_path / "a.png"), tmp_path / "b.png", "--model", tiny_model]
    with subprocess.Popen(
        [sys.executable, "-c", script, *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env={**os.environ, "PYTHONPATH": os.fspath(repository)},
    ) as process:
        assert process.stdout is not None
        assert ANSWER in process.stdout.readline()
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=60)
    assert (process.returncode, out, err) == (130, b"", b"")
