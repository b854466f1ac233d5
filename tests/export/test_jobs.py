from pathlib import Path

import pytest

from export.jobs import StepError, run_step, working_folder


def test_a_step_that_refuses_says_why() -> None:
    arguments = {"folder": "nowhere", "work": ".", "data": None, "calibration_images": 1, "seed": 0}
    arguments |= {"compression": {}, "training": False}
    with pytest.raises(
        StepError, match=r"^nowhere: no trained model here; `fracture-edge train nowhere` makes one$"
    ):
        run_step("prepare", arguments)


def test_a_step_that_raises_gives_its_last_line() -> None:
    with pytest.raises(StepError, match=r"^sensitive failed: FileNotFoundError: .*calibration\.npy"):
        run_step("sensitive", {"work": "nowhere", "file": "x.onnx"})


def test_arguments_may_be_longer_than_a_command_line() -> None:
    # Linux takes 128 kB in one argument.
    with pytest.raises(StepError, match="sensitive failed: FileNotFoundError"):
        run_step("sensitive", {"work": "nowhere", "file": "x" * 200_000})


def test_a_step_that_is_killed_costs_only_itself(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # Stands for a converter that the kernel kills for its memory.
    (tmp_path / "export").mkdir()
    (tmp_path / "export" / "__init__.py").write_text("")
    (tmp_path / "export" / "steps.py").write_text("import os, signal\nos.kill(os.getpid(), signal.SIGKILL)\n")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    with pytest.raises(StepError, match=r"^convert was killed by SIGKILL: out of memory\?$"):
        run_step("convert", {})


def test_a_users_own_export_py_is_not_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "export.py").write_text("raise SystemExit('the wrong module')\n")
    monkeypatch.chdir(tmp_path)
    with pytest.raises(StepError, match="sensitive failed: FileNotFoundError"):
        run_step("sensitive", {"work": "nowhere", "file": "x.onnx"})


def test_the_working_folder_lies_beside_the_models_and_goes(tmp_path: Path) -> None:
    with working_folder(tmp_path, "edge") as folder:
        assert folder.parent == tmp_path
        assert folder.name.startswith(".edge.export-")
    assert list(tmp_path.iterdir()) == []
