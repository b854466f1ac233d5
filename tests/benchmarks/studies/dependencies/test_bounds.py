from pathlib import Path

import pytest
from typer.testing import CliRunner

from benchmarks.studies.dependencies import bounds


def test_direct_dependencies() -> None:
    assert bounds.direct_dependencies(("heic", "dicom-gpl")) == [
        "numpy",
        "onnxruntime",
        "packaging",
        "pi-heif",
        "pillow",
        "pylibjpeg-libjpeg",
        "typer",
    ]


@pytest.mark.parametrize("failing", ["", "venv", "install", "doctor", "pytest"])
def test_report(failing: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    commands = []

    def succeeds(command: tuple[str, ...]) -> bool:
        commands.append(command)
        return failing not in command or "newest" in " ".join(command)

    monkeypatch.setattr(bounds, "_succeeds", succeeds)
    monkeypatch.setattr(
        bounds, "_versions", lambda python, names: {"numpy": "2.4" if "newest" in str(python) else "2.0"}
    )
    result = CliRunner().invoke(bounds.app, ["--part", "device", "--folder", str(tmp_path)])
    failed = {"": "nothing", "venv": "environment", "install": "installation", "pytest": "tests"}.get(
        failing, failing
    )
    assert result.exit_code == (1 if failing else 0)
    assert result.stdout.splitlines()[0] == "| dependency | device, oldest | device, newest |"
    installed = "" if failing in ("venv", "install") else "2.0"
    assert result.stdout.splitlines()[2:] == [f"| numpy | {installed} | 2.4 |", f"| failed | {failed} | nothing |"]
    resolutions = [command[command.index("--resolution") + 1] for command in commands if "--resolution" in command]
    assert resolutions == (["highest"] if failing == "venv" else ["lowest-direct", "highest"])


def test_every_part_names_tests_that_are_there(repository: Path) -> None:
    for part in bounds.PARTS.values():
        assert [path for path in part.tests if not (repository / path).exists()] == []


def test_unknown_part() -> None:
    result = CliRunner().invoke(bounds.app, ["--part", "none"])
    assert result.exit_code == 2
