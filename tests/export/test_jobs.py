import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from export.jobs import StepError, run_step, working_folder
from export.recipes import Rung
from export.results import Converted, Prepared, SensitiveLayers
from train.export_record import MANIFEST
from train.json_records import to_plain


def test_a_step_that_refuses_says_why(tmp_path: Path) -> None:
    arguments: dict[str, Any] = {
        "folder": "nowhere",
        "work": str(tmp_path),
        "data": None,
        "calibration_images": 1,
        "seed": 0,
    }
    arguments |= {"compression": None, "training": False, "fidelity_images": 1, "learning_rate": 1e-4}
    with pytest.raises(
        StepError, match=r"^nowhere: no trained model here; `fracture-edge train nowhere` makes one$"
    ):
        run_step("prepare", arguments, Prepared)


def _sensitive(work: Path, why: str = "A reason.") -> dict[str, Any]:
    """Arguments of a step that finds no images in its working folder."""
    rung = Rung(name="minmax", runtime="onnx", why=why, calibration="minmax")
    return {"work": str(work), "format_name": "onnx_int8_static_x86", "rung": to_plain(rung)}


def test_a_step_that_raises_gives_its_last_line(tmp_path: Path) -> None:
    with pytest.raises(StepError, match=r"^sensitive failed: FileNotFoundError: .*calibration\.npy"):
        run_step("sensitive", _sensitive(tmp_path), SensitiveLayers)


def test_arguments_may_be_longer_than_a_command_line(tmp_path: Path) -> None:
    # Linux takes 128 kB in one argument.
    with pytest.raises(StepError, match="sensitive failed: FileNotFoundError"):
        run_step("sensitive", _sensitive(tmp_path, why="x" * 200_000), SensitiveLayers)


def test_a_step_that_is_killed_costs_only_itself(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # Stands for a converter that the kernel kills for its memory.
    (tmp_path / "export").mkdir()
    (tmp_path / "export" / "__init__.py").write_text("")
    (tmp_path / "export" / "steps.py").write_text("import os, signal\nos.kill(os.getpid(), signal.SIGKILL)\n")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    with pytest.raises(StepError, match=r"^convert was killed by SIGKILL: out of memory\?$"):
        run_step("convert", {"work": str(tmp_path)}, Converted)


def test_a_users_own_export_py_is_not_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "export.py").write_text("raise SystemExit('the wrong module')\n")
    monkeypatch.chdir(tmp_path)
    with pytest.raises(StepError, match="sensitive failed: FileNotFoundError"):
        run_step("sensitive", _sensitive(tmp_path), SensitiveLayers)


def test_the_working_folder_lies_beside_the_models_and_goes(tmp_path: Path) -> None:
    with working_folder(tmp_path, "edge") as folder:
        assert folder.parent == tmp_path
        assert folder.name.startswith(".edge.export-")
    assert list(tmp_path.iterdir()) == []


def test_the_working_folder_tidies_up_after_an_export_that_was_killed(tmp_path: Path) -> None:
    model, unique = tmp_path / "edge", "123-0a1b2c3d.tmp"
    left = [model / f".export.{unique}.json", model / f".edge-int8.{unique}.onnx"]
    left += [model / "rejected" / f".edge-int8.{unique}.tflite", tmp_path / ".edge.export-x" / "float32.onnx"]
    kept = [model / MANIFEST, model / "edge-int8.onnx", model / f".evaluation-test.{unique}.json"]
    kept += [tmp_path / ".edge2.export-x" / "float32.onnx"]
    for path in left + kept:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    with working_folder(tmp_path, "edge"):
        assert [path.exists() for path in left] == [False] * len(left)
        assert [path.exists() for path in kept] == [True] * len(kept)


# Stands for a converter: says who it is, leaves a temporary file, and would go on for long.
SLEEPER = """
import os, sys, tempfile, time
from pathlib import Path
from benchmarks.runtimes.process import die_with
import json
job = json.loads(Path(sys.argv[1]).read_text())
die_with(job["parent"])
Path(tempfile.mkdtemp()).joinpath("large").touch()
Path(job["arguments"]["work"], "pid").write_text(str(os.getpid()))
time.sleep(600)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells a process that its parent has died")
def test_a_step_ends_with_the_export_and_leaves_nothing_elsewhere(
    tmp_path: Path, repository: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    work, elsewhere, package = (tmp_path / name for name in ("work", "tmp", "package/export"))
    for folder in (work, elsewhere, package):
        folder.mkdir(parents=True)
    (package / "steps.py").write_text(SLEEPER)
    (package / "__init__.py").write_text("")
    code = (
        "import sys; sys.path.insert(0, sys.argv[1]); from export.jobs import run_step; "
        "from export.results import Converted; run_step('convert', {'work': sys.argv[2]}, Converted)"
    )
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(map(str, (package.parent, repository))))
    monkeypatch.setenv("TMPDIR", str(elsewhere))
    with subprocess.Popen([sys.executable, "-c", code, repository, work]) as parent:
        _wait(lambda: (work / "pid").is_file() and (work / "pid").read_text() != "")
        parent.kill()
    child = Path("/proc") / (work / "pid").read_text()
    _wait(lambda: not child.exists() or (child / "stat").read_text().rpartition(")")[2].split()[0] == "Z")
    assert len(list(work.rglob("large"))) == 1
    assert list(elsewhere.iterdir()) == []


def test_a_step_whose_export_has_died_does_not_begin(
    tmp_path: Path, run_python: Callable[..., subprocess.CompletedProcess[bytes]]
) -> None:
    job = tmp_path / "job.json"
    job.write_text(f'{{"step": "nosuch", "parent": {os.getpid() + 1}}}')
    done = run_python("-m", "export.steps", job)
    assert (done.returncode, done.stdout, done.stderr) == (1, b"", b"")


def _wait(until: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 30
    while not until():
        assert time.monotonic() < deadline
        time.sleep(0.02)
