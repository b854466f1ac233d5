"""kill -9 at random moments of `fracture-edge export`: no file is half, none is lost, another run completes."""

import os
import random
import re
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from typing import Any

import onnxruntime
import pytest
from ai_edge_litert.interpreter import Interpreter

from train.artifacts import sha256
from train.export_record import MANIFEST, ExportEntry, read_manifest

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="asks /proc which processes are left")

FEW, MANY = 3, 50
#: In the endurance form a run is left to complete after so many others.
COMPLETE_EVERY = 10
FILES = ("custom_cnn-float32.onnx", "custom_cnn-float16.onnx", "custom_cnn-float32.tflite")
DONE = re.compile(r"^(custom_cnn-\S+): [\d.]+ MB; ", re.MULTILINE)


@dataclass
class Export:
    """An artefact folder, and the command that exports into it.

    Attributes:
        artifacts: Holds ``custom_cnn``.
        repository: Where the packages under test are.
        temporary: The command's folder for temporary files.
        runs: Made so far.
    """

    artifacts: Path
    repository: Path
    temporary: Path
    runs: int = 0

    @property
    def folder(self) -> Path:
        """``artifacts/custom_cnn``."""
        return self.artifacts / "custom_cnn"

    def start(self) -> "subprocess.Popen[bytes]":
        """Export in a process group of its own. Each run writes other bytes: its number is in the files."""
        self.runs += 1
        formats = [word for file in FILES for word in ("--recipe", _recipe(file))]
        arguments = ["--artifacts", self.artifacts, "--licence", f"run {self.runs}", "--force"]
        return subprocess.Popen(
            [sys.executable, "-m", "fracture_edge", "export", "custom_cnn", *formats, *arguments],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env=os.environ | {"PYTHONPATH": os.fspath(self.repository), "TMPDIR": os.fspath(self.temporary)},
            start_new_session=True,
        )

    def complete(self) -> float:
        """Export to the end; the seconds that it took."""
        started = time.monotonic()
        process = self.start()
        out, err = process.communicate(timeout=600)
        seconds = time.monotonic() - started
        assert process.returncode == 0, err.decode()
        assert out.decode().splitlines() == [str(self.folder / file) for file in FILES]
        assert sorted(DONE.findall(err.decode())) == sorted(self.check(FILES)) == sorted(FILES)
        assert [path.name for path in self.artifacts.iterdir()] == ["custom_cnn"]
        assert not list(self.folder.rglob(".*"))
        return seconds

    def kill(self, seed: int, seconds: float) -> tuple[bool, int]:
        """Kill a run within so many seconds, every other time the command alone and not its step.

        Returns:
            Whether it was still at work, and how many files it had reported.
        """
        before = read_manifest(self.folder).files
        process = self.start()
        time.sleep(random.Random(seed).uniform(0, seconds))
        at_work = process.poll() is None
        if at_work and seed % 2:
            process.kill()
        elif at_work:
            os.killpg(process.pid, signal.SIGKILL)
        out, err = process.communicate(timeout=60)
        _wait_for_the_end_of(process.pid)
        reported = DONE.findall(err.decode())
        after = self.check(reported)
        assert {Path(line).name for line in out.decode().splitlines()} <= set(after)
        # Between two renames the file that is being replaced has no entry; it is there all the same.
        assert len(before.keys() - after.keys()) <= 1
        for file in before:
            _open(self.folder / file)
        # What was not reported may be new already, but then it is whole.
        assert not [file for file in reported if file in before and after[file].sha256 == before[file].sha256]
        # The next run clears them, so that there is never more than one run's.
        assert len(list(self.artifacts.glob(".*"))) <= 1
        assert len(list(self.folder.rglob(".*.tmp*"))) <= 1
        assert not [path for path in self.temporary.iterdir() if path.suffix != ".lock"]
        return at_work, len(reported)

    def check(self, reported: Any) -> dict[str, ExportEntry]:
        """The manifest's files: each is whole and opens, and those reported are among them."""
        files = read_manifest(self.folder).files
        for file, entry in files.items():
            assert sha256(self.folder / file) == entry.sha256, file
            _open(self.folder / file)
        assert set(reported) <= set(files)
        return files


@pytest.fixture
def export(oracle: Any, repository: Path, tmp_path: Path) -> Export:
    shutil.copytree(oracle.artifacts, tmp_path / "artifacts")
    (tmp_path / "tmp").mkdir()
    return Export(tmp_path / "artifacts", repository, tmp_path / "tmp")


def _recipe(file: str) -> str:
    """``onnx_float32`` of ``custom_cnn-float32.onnx``."""
    return "_".join(reversed(file.removeprefix("custom_cnn-").split(".")))


def _open(path: Path) -> None:
    if path.suffix == ".onnx":
        onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    else:
        Interpreter(model_path=str(path)).allocate_tensors()


def _wait_for_the_end_of(group: int) -> None:
    deadline = time.monotonic() + 10
    while left := _members(group):
        assert time.monotonic() < deadline, f"still at work: {left}"
        time.sleep(0.02)


def _members(group: int) -> list[str]:
    """What the processes of a group were started with; dead ones that nobody has waited for do not count."""
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        try:
            state, _, its_group, *_ = (process / "stat").read_text().rpartition(")")[2].split()
            if int(its_group) == group and state not in "ZX":
                found.append((process / "cmdline").read_text().replace("\0", " "))
        except (FileNotFoundError, ProcessLookupError):
            pass
    return found


@pytest.mark.slow
def test_a_few_kills(export: Export) -> None:
    seconds = export.complete()
    for seed in range(FEW):
        export.kill(seed, seconds)
    export.complete()


@pytest.mark.endurance
def test_fifty_kills(export: Export) -> None:
    seconds = export.complete()
    # The first kills find nothing exported yet.
    for file in (*FILES, MANIFEST):
        (export.folder / file).unlink()
    reported: list[int] = []
    for number in count(1):
        at_work, files = export.kill(FEW + number, seconds)
        # A run may be quicker than the one that the moments are spread over, and end before its moment.
        reported += [files] * at_work
        if len(reported) == MANY:
            break
        assert number < 2 * MANY
        if number % COMPLETE_EVERY == 0:
            seconds = export.complete()
    export.complete()
    # The moments are spread: before the first file was reported and after each of them.
    assert set(reported) >= set(range(len(FILES)))
