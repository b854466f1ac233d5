"""The gateway between Orthanc and dcmtk, in a network namespace of its own."""

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from benchmarks.studies.gateway.abuse import SENDING_THREADS
from benchmarks.studies.gateway.processes import missing_programs

if sys.platform != "linux" or missing_programs():
    pytest.skip(
        "needs Linux, root, orthanc, dcmtk and dicom3tools: apt-get install orthanc dcmtk dicom3tools",
        allow_module_level=True,
    )
pytest.importorskip("pynetdicom")
pytest.importorskip("highdicom")

Run = Callable[..., "subprocess.CompletedProcess[bytes]"]


def study(run_python: Run, path: Path, *arguments: object) -> dict[str, Any]:
    done = run_python("-m", "benchmarks.studies", "gateway", *arguments, "-o", path)
    # The seed is on stderr.
    assert done.returncode == 0, done.stderr
    found: dict[str, Any] = json.loads(path.read_text())
    return found


def assert_nothing_lost(found: dict[str, Any]) -> None:
    images = found["images"]
    kept = {name: found[name] for name in ("captures", "reports", "reports_found")}
    assert kept == {"captures": images, "reports": images, "reports_found": images}, found
    assert found["kills_at_work"] > 0, found
    # A capture and a report came back and made nothing new.
    assert (found["came_back"], found["other"]) == (2, 0), found
    assert (found["misfiled"], found["wrong"], found["secrets_in_messages"]) == (0, 0, 0), found
    assert (found["left_in_spool"], found["exit_status"]) == ([], 0), found


@pytest.mark.slow
def test_kills_lose_and_double_nothing(run_python: Run, tmp_path: Path) -> None:
    options = ("--images", 8, "--kills", 2, "--outage", 3)
    assert_nothing_lost(study(run_python, tmp_path / "kills.json", "kills", *options))


@pytest.mark.slow
def test_orthanc_and_the_gateway_over_tls(run_python: Run, tmp_path: Path) -> None:
    options = ("--images", 6, "--kills", 2, "--outage", 3, "--tls")
    found = study(run_python, tmp_path / "kills.json", "kills", *options)
    assert found["encrypted"]
    assert_nothing_lost(found)


@pytest.mark.endurance
def test_many_kills_lose_and_double_nothing(run_python: Run, tmp_path: Path) -> None:
    options = ("--images", 50, "--kills", 10, "--outage", 30)
    assert_nothing_lost(study(run_python, tmp_path / "kills.json", "kills", *options))


def assert_answers(found: dict[str, Any]) -> None:
    # A promise, and no measure of speed: pynetdicom alone would wait 30 seconds for silent peers.
    for moment in ("after_silent", "after_wrong_titles", "after_mutated"):
        assert found[moment] < 10, found
    assert (found["answered"], found["exit_status"]) == (10, 0), found
    assert found["threads_after"] <= found["threads_before"] + SENDING_THREADS, found


@pytest.mark.slow
def test_abuse_keeps_no_sender_out(run_python: Run, tmp_path: Path) -> None:
    options = ("--silent", 100, "--wrong-titles", 20, "--mutated", 60)
    found = study(run_python, tmp_path / "abuse.json", "abuse", *options)
    assert found["wrong_titles"] == 20
    assert_answers(found)


@pytest.mark.endurance
def test_much_abuse_keeps_no_sender_out(run_python: Run, tmp_path: Path) -> None:
    found = study(run_python, tmp_path / "abuse.json", "abuse")
    assert found["wrong_titles"] == 200
    assert_answers(found)
