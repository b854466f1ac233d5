"""The service unit and the Containerfile."""

import re
import shutil
import subprocess
from pathlib import Path

import pytest

SYSTEMD = shutil.which("systemd-analyze")
#: Highest exposure that systemd-analyze may find, of 10.
MOST_EXPOSED = 2.0
#: Units of the system that the service names.
TARGETS = ("sysinit", "basic", "shutdown", "network", "multi-user")


@pytest.fixture
def root(tmp_path: Path, repository: Path) -> Path:
    """A root with the units, and a program where they expect it."""
    units = tmp_path / "etc" / "systemd" / "system"
    shutil.copytree(repository / "packaging", units)
    program = tmp_path / "opt" / "fracture-edge" / "bin" / "fracture-edge"
    program.parent.mkdir(parents=True)
    program.write_text("#!/bin/sh\n")
    program.chmod(0o755)
    for target in TARGETS:
        (units / f"{target}.target").write_text(f"[Unit]\nDescription={target}\n")
    return tmp_path


def analyse(root: Path, *words: str) -> "subprocess.CompletedProcess[str]":
    assert SYSTEMD is not None
    return subprocess.run(
        [SYSTEMD, words[0], f"--root={root}", *words[1:]], capture_output=True, check=False, text=True
    )


@pytest.mark.skipif(SYSTEMD is None, reason="needs systemd-analyze")
@pytest.mark.parametrize("instance", ["serve", "watch", "gateway"])
def test_the_unit_is_valid_and_exposes_little(instance: str, root: Path) -> None:
    name = f"fracture-edge@{instance}.service"
    verified = analyse(root, "verify", name)
    assert (verified.returncode, verified.stderr) == (0, "")
    found = analyse(root, "security", "--offline=true", name).stdout
    exposure = re.search(rf"Overall exposure level for {re.escape(name)}: ([\d.]+)", found)
    assert exposure, found
    assert float(exposure[1]) < MOST_EXPOSED, found


@pytest.mark.skipif(SYSTEMD is None, reason="needs systemd-analyze")
def test_a_wrong_unit_is_noticed(root: Path) -> None:
    unit = root / "etc" / "systemd" / "system" / "fracture-edge@.service"
    text = unit.read_text()
    unit.write_text(text.replace("PrivateUsers=yes", "PrivateUser=yes"))
    assert "'PrivateUser'" in analyse(root, "verify", "fracture-edge@serve.service").stderr
    unit.write_text(text.partition("# A user of its own")[0])
    found = analyse(root, "security", "--offline=true", "fracture-edge@serve.service").stdout
    assert float(found.rpartition("service: ")[2].split()[0]) > MOST_EXPOSED


def test_the_unit_does_what_its_comments_say(repository: Path) -> None:
    unit = (repository / "packaging" / "fracture-edge@.service").read_text()
    # It has a minute to finish, and some seconds to end.
    from fracture_edge.commands.registry import COMMANDS

    stop = re.search(r"^TimeoutStopSec=(\d+)$", unit, flags=re.MULTILINE)
    assert stop
    assert int(stop[1]) > 60
    named = re.findall(r"fracture-edge@(\w+)", unit.partition("[Unit]")[0])
    assert named == ["serve", "watch", "gateway"]
    assert set(named) <= COMMANDS.keys()


def test_the_container_has_a_user_and_carries_what_the_wheel_needs(repository: Path) -> None:
    build, _, final = (repository / "Containerfile").read_text().partition("\nFROM ${BASE}\n")
    steps = final.splitlines()
    assert "USER 10001:10001" in steps
    assert 'ENTRYPOINT ["fracture-edge"]' in steps
    # Every file that the build copies is let through to it.
    copied = {
        word.rstrip("/") for line in build.splitlines() if line.startswith("COPY ") for word in line.split()[1:-1]
    }
    ignored = (repository / ".dockerignore").read_text().splitlines()
    assert ignored[0] == "*"
    assert {line[1:] for line in ignored if line.startswith("!")} == copied
    assert all((repository / name).exists() for name in copied)
