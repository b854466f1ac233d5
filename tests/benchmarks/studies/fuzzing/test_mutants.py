"""Broken files are read or refused with a status: a small part of the study `fuzzing`."""

import subprocess
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from random import Random

import pytest

from benchmarks.studies.fuzzing import mutants, run
from benchmarks.studies.fuzzing.mutants import MUTATIONS, SEEDS, mutant, outcome
from fracture_edge.errors import ImageError
from fracture_edge.images import image_file as images

Run = Callable[..., subprocess.CompletedProcess[bytes]]

COUNT = 2000
STATUSES = {"ok", "corrupt", "truncated", "unsupported_format", "too_large", "too_small", "decoder_not_installed"}


@pytest.mark.parametrize("name", SEEDS)
def test_seeds_are_valid_files(name: str) -> None:
    data = SEEDS[name]()
    assert outcome(data) == "ok"
    assert SEEDS[name]() == data


def test_a_number_always_gives_the_same_file() -> None:
    assert [mutant(number) for number in range(200)] == [mutant(number) for number in range(200)]
    assert len({mutant(number)[1] for number in range(200)}) == 200
    assert {mutant(number)[0] for number in range(len(SEEDS))} == set(SEEDS)


@pytest.mark.parametrize("mutate_it", dict.fromkeys(MUTATIONS), ids=lambda mutation: mutation.__name__)
def test_mutations_change_a_file(mutate_it: Callable[[bytearray, Random], None]) -> None:
    original = bytes(range(256)) * 4
    changed = 0
    for number in range(50):
        data = bytearray(original)
        mutate_it(data, Random(number))
        changed += data != original
    # Two flips of one bit, or overwriting bytes with themselves, occasionally change nothing.
    assert changed >= 40


def test_broken_files_get_a_status(capfd: pytest.CaptureFixture[str]) -> None:
    outcomes: Counter[str] = Counter()
    for number in range(COUNT):
        started = time.perf_counter()
        outcomes[outcome(mutant(number)[1])] += 1
        assert time.perf_counter() - started < run.SECONDS, number
    assert outcomes.keys() <= STATUSES
    # Neither are all files refused, nor is most of the damage ignored.
    assert 0.2 * COUNT < outcomes["ok"] < 0.6 * COUNT
    assert "Traceback" not in capfd.readouterr().err


def test_a_patient_name_in_a_message_is_detected(monkeypatch: pytest.MonkeyPatch) -> None:
    def leak(*arguments: object, **options: object) -> None:
        raise ImageError("x", f"of {mutants.PATIENT}")

    monkeypatch.setattr(images, "load_frames", leak)
    with pytest.raises(AssertionError, match="the message contains the patient's name"):
        outcome(b"")


def test_command_reports_crashes_hangs_and_tracebacks(tmp_path: Path, run_python: Run) -> None:
    # Replacements of the reader that fail in each of the three ways; workers import them through this module.
    (tmp_path / "failing.py").write_text(
        "import os, time\nfrom benchmarks.studies.__main__ import main\n"
        "from benchmarks.studies.fuzzing import run\n"
        "names = {1: lambda: os._exit(9), 2: lambda: time.sleep(60), 3: lambda: 1 / 0}\n"
        "run.SECONDS = 1.0\n"
        "run.mutant = lambda number: (str(number), bytes([number]))\n"
        "run.outcome = lambda data: 'ok' if names.get(data[0], int)() is not None else 'never'\n"
        "if __name__ == '__main__': main()\n"
    )
    done = run_python(tmp_path / "failing.py", "fuzzing", "--count", 5, "--jobs", 1)
    lines = done.stdout.decode().splitlines()
    assert done.returncode == 1, done.stderr
    assert lines[0] == "1 (1): the process died with exit code 9"
    assert lines[1] == "2 (2): over 1 s"
    assert lines[2].startswith("3 (3): ! Traceback")
    assert any(line.endswith("ZeroDivisionError: division by zero") for line in lines)
    assert {line.strip() for line in lines if line[:1] == " " and line.split()[0].isdigit()} == {
        "2 ok",
        "1 crash",
        "1 hang",
        "1 traceback",
    }
    assert lines[-1].startswith("3 problems in 5 files; peak memory ")


def test_rebuilding_a_file(tmp_path: Path, run_python: Run) -> None:
    path = tmp_path / "seven.bin"
    done = run_python("-m", "benchmarks.studies", "fuzzing", "--rebuild", 7, "--output", path)
    name, data = mutant(7)
    assert path.read_bytes() == data
    assert done.stdout.decode() == f"{path}: {len(data)} bytes, from {name}\n"
