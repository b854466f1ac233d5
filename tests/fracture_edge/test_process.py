"""Tests that need a process of its own: entry point, exit codes of signals, odd names, closed pipes."""

import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

Run = Callable[..., subprocess.CompletedProcess[bytes]]

BRIGHT = np.full((64, 64), 192, np.uint8)
# Strictly UTF-8 output, as in any locale but C.
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
    assert done.returncode == 3
    assert re.fullmatch(rb"2 images: .*, 1 without an answer \(1 not_found\); \d+\.\d s\n", done.stderr)


def test_nothing_is_written_to_the_users_home(
    run_python: Run, tiny_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Where onnxruntime's telemetry stores its device ID, its session and unsent events.
    home, temporary = tmp_path / "home", tmp_path / "tmp"
    home.mkdir()
    temporary.mkdir()
    # It is off by default where CI is set, and this process has disabled it.
    for name in ("CI", "ORT_DISABLE_TELEMETRY", *(name for name in os.environ if name.startswith("XDG_"))):
        monkeypatch.delenv(name, raising=False)
    places = {"HOME": str(home), "XDG_CACHE_HOME": str(home), "TMPDIR": str(temporary)}
    path = save(tmp_path / "a.png")
    done = run_python("-m", "fracture_edge", "classify", path, "--model", tiny_model, environment=places)
    assert (done.returncode, done.stderr) == (0, b"")
    assert list(home.iterdir()) == list(temporary.iterdir()) == []


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


def test_a_folder_named_train_hides_nothing(run_python: Run, tmp_path: Path) -> None:
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
def test_name_that_is_not_utf8_is_classified(
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
    assert done.returncode == 0
    assert re.fullmatch(rb"2 images: 2 fractured, 0 not fractured, 0 uncertain; \d+\.\d s\n", done.stderr)
    assert text.count(b"a.png") == 1
    assert len(text.splitlines()) == (3 if style == "--csv" else 2)


@pytest.mark.parametrize("options", [[], ["--json"]])
def test_reader_that_closes_the_pipe(options: list[str], tmp_path: Path, repository: Path) -> None:
    reader, writer = os.pipe()
    os.close(reader)
    done = subprocess.run(
        [sys.executable, "-m", "fracture_edge", "classify", save(tmp_path / "a.png"), *options],
        stdout=writer,
        stderr=subprocess.PIPE,
        env={**os.environ, "PYTHONPATH": os.fspath(repository)},
        check=False,
        timeout=120,
    )
    os.close(writer)
    assert (done.returncode, done.stderr) == (1, b"")


def test_interrupted_during_imports(run_python: Run) -> None:
    # The signal may come while numpy is being imported.
    script = (
        "import builtins, sys\nfrom fracture_edge.cli import run\nimport_ = builtins.__import__\n"
        "def interrupted(name, *rest):\n    if name == 'numpy': raise KeyboardInterrupt\n"
        "    return import_(name, *rest)\nbuiltins.__import__ = interrupted\n"
        "sys.argv[1:] = ['classify', 'x.png']\nrun()"
    )
    done = run_python("-c", script)
    assert (done.returncode, done.stdout, done.stderr) == (130, b"", b"")


# If tests run in the background, SIGINT is ignored, and children inherit that.
SLOW_AT_B = """
import signal, time
signal.signal(signal.SIGINT, signal.default_int_handler)
from fracture_edge import preprocess
load = preprocess.ImageFile
def slow(source, **options):
    if str(source).endswith("b.png"):
        time.sleep(60)
    return load(source, **options)
preprocess.ImageFile = slow
from fracture_edge.cli import run
run()
"""


@pytest.mark.parametrize("to_file", [False, True])
def test_interrupted(to_file: bool, tiny_model: Path, tmp_path: Path, repository: Path) -> None:
    first, second = save(tmp_path / "a.png"), save(tmp_path / "b.png")
    arguments = ["classify", first, second, "--model", tiny_model, "--jobs", "2"]
    target = tmp_path / "answers.jsonl"
    partial = tmp_path / "answers.jsonl.partial"
    if to_file:
        arguments += ["--jsonl", "-o", target]
    with subprocess.Popen(
        [sys.executable, "-c", SLOW_AT_B, *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env={**os.environ, "PYTHONPATH": os.fspath(repository)},
    ) as process:
        assert process.stdout is not None
        if to_file:
            deadline = time.monotonic() + 60
            while not (partial.exists() and partial.stat().st_size) and time.monotonic() < deadline:
                time.sleep(0.01)
        else:
            assert ANSWER in process.stdout.readline()
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=30)
    assert (process.returncode, out) == (130, b"")
    assert not target.exists()
    if to_file:
        note = f"fracture-edge: {partial} has the records of 1 of 2 files; continue with --resume\n"
        assert err.decode() == note
        assert json.loads(partial.read_text())["path"] == str(first)
    else:
        assert err == b""
