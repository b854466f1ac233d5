"""The study of the container image: an image for this machine, and one that has to be emulated."""

import json
import platform
import sys
from pathlib import Path
from typing import Any

import pytest

if sys.platform != "linux":
    pytest.skip("reads /proc", allow_module_level=True)
pytest.importorskip("starlette")
pytest.importorskip("pydicom")

from benchmarks.studies.serving import container
from benchmarks.studies.serving.container import _Container

CONFIG = {"User": "10001:10001", "Entrypoint": ["fracture-edge"], "Cmd": ["serve"], "Env": ["PATH=/bin"]}


def command_of(monkeypatch: pytest.MonkeyPatch, folder: Path, inspected: object) -> tuple[_Container, list[str]]:
    """Return the container, and the command line that would run ``id -u`` in it, from the script's name on."""
    started: list[list[str]] = []
    monkeypatch.setattr(container.subprocess, "Popen", lambda command, **_options: started.append(command))
    (folder / "image.json").write_text(json.dumps(inspected))
    found = _Container(folder / "root", folder / "image.json", folder)
    found.start("id", "-u", TOKEN="t")
    return found, started[0][started[0].index(container._RUN) + 2 :]


@pytest.fixture
def amd64_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(platform, "machine", lambda: "x86_64")
    monkeypatch.setattr(container, "checked", lambda *words: f"{words[0]} version 7\nCopyright\n")


@pytest.mark.usefixtures("amd64_machine")
def test_an_image_for_this_machine_runs_as_it_is(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    # buildah prints one object.
    inspected: Any = {"OCIv1": {"architecture": "amd64", "config": CONFIG}}
    found, command = command_of(monkeypatch, tmp_path, inspected)
    assert (found.architecture, found.emulator, found.command) == ("amd64", None, ["fracture-edge", "serve"])
    root, data = str(tmp_path / "root"), str(tmp_path / "data")
    assert command == [root, data, "", "10001:10001", "PATH=/bin", "TOKEN=t", "id", "-u"]


@pytest.mark.usefixtures("amd64_machine")
def test_an_image_for_arm64_runs_on_the_core_of_a_pi_4(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    # podman and docker print a list.
    found, command = command_of(monkeypatch, tmp_path, [{"Architecture": "arm64", "Config": CONFIG}])
    assert (found.architecture, found.emulator) == ("arm64", "cortex-a72, qemu-aarch64-static version 7")
    core = tmp_path / "core"
    assert command[2:6] == [str(core), "10001:10001", "PATH=/bin", "QEMU_CPU=cortex-a72"]
    # What onnxruntime reads there is not that of the x86 outside.
    assert "0xd08" in (core / "proc" / "cpuinfo").read_text()
    assert (core / "sys" / "devices" / "system" / "cpu" / "possible").read_text() == "0\n"
