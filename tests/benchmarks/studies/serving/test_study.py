"""Broken requests, slow clients, picture bombs and equality: shorter runs than those whose results are stored."""

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

if sys.platform != "linux":
    pytest.skip("reads /proc", allow_module_level=True)
pytest.importorskip("starlette")
pytest.importorskip("uvicorn")
pytest.importorskip("pydicom")

Run = Callable[..., "subprocess.CompletedProcess[bytes]"]


def study(run_python: Run, path: Path, *arguments: object) -> dict[str, Any]:
    done = run_python("-m", "benchmarks.studies", "serving", *arguments, "-o", path)
    # The seed is on stderr.
    assert done.returncode == 0, done.stderr
    found: dict[str, Any] = json.loads(path.read_text())
    return found


def assert_withstood(found: dict[str, Any], bombs: int) -> None:
    assert sum(found["answers"].values()) == found["mutated"], found
    assert [status for status in found["answers"] if status.startswith("5")] == [], found
    assert (found["defects"], found["secrets"], found["slow_left"], found["exit_status"]) == (0, 0, 0, 0), found
    # A promise, and no measure of speed: without limits a normal request would wait for slow ones for ever.
    assert max(found["after_slow"]) < 10, found
    assert found["files_after"] <= found["files_before"] + 1, found
    refused, decoded = found["bombs"]
    assert refused["statuses"] == {"too_large": bombs}
    assert decoded["statuses"] == {"ok": bombs}
    # A decoded bomb takes 100 MB, and as much for a copy; there is a worker for each core.
    assert refused["peak_memory_mb"] < refused["memory_before_mb"] + 100, found
    workers = found["environment"]["cores"]
    assert decoded["peak_memory_mb"] < decoded["memory_before_mb"] + 250 * workers, found


@pytest.mark.slow
def test_abuse_brings_no_error_and_keeps_nobody_out(run_python: Run, tmp_path: Path) -> None:
    options = ("--mutated", 100, "--slow", 60, "--bombs", 6)
    assert_withstood(study(run_python, tmp_path / "abuse.json", "abuse", *options), 6)


@pytest.mark.endurance
def test_much_abuse_brings_no_error_and_keeps_nobody_out(run_python: Run, tmp_path: Path) -> None:
    found = study(run_python, tmp_path / "abuse.json", "abuse", "--mutated", 5000)
    assert_withstood(found, 64)


@pytest.mark.slow
def test_records_are_those_of_the_command_line(run_python: Run, tmp_path: Path) -> None:
    found = study(run_python, tmp_path / "equal.json", "equal", "--files", 29)
    assert found["records"] >= 29
    assert found["same_probability"] == found["same_record"] == found["records"]
    assert found["same_text"]


@pytest.mark.slow
def test_load_is_measured(run_python: Run, tmp_path: Path) -> None:
    found = study(run_python, tmp_path / "load.json", "load", "--requests", 10, "--rounds", 1, "--seconds", 1)
    assert [entry["clients"] for entry in found["throughput"]] == [1, 2, 8]
    assert all(entry["per_second"] > 0 for entry in found["throughput"])
    assert found["post"]["p50"] <= found["post"]["p99"]
