import json
import os
import signal
import subprocess
import sys
from contextlib import nullcontext
from pathlib import Path

import pytest

from fracture_edge.errors import FractureEdgeError
from train.lock import exclusive_lock
from train.runs.run_folder import check_target, open_folder, publish, read_settings, unfinished
from train.trainer.callbacks import State

SETTINGS = {"seed": 3, "recipe": {"batch_size": 8, "phases": ({"epochs": 2},), "options": {}}}


@pytest.fixture
def target(tmp_path: Path) -> Path:
    return tmp_path / "artifacts" / "edge"


def _open(target: Path, settings: dict[str, object], *, resume: bool) -> Path:
    """Working folder of a successful run."""
    with open_folder(target, settings, resume=resume) as folder:
        return folder


def _half_done(target: Path, epochs: int = 2) -> Path:
    """Unfinished run with a history."""
    folder = _open(target, SETTINGS, resume=False)
    State(0, [{"epoch": n + 1, "phase": 1} for n in range(epochs)], 1).write(folder)
    return folder


def _finished(target: Path) -> None:
    target.mkdir(parents=True)
    (target / "model.keras").write_text("old")


def test_a_new_run(target: Path) -> None:
    check_target(target, resume=False, force=False)
    assert not target.parent.exists()
    folder = _open(target, SETTINGS, resume=False)
    assert folder == unfinished(target) == target.parent / ".edge.unfinished"
    assert json.loads((folder / "run.json").read_text()) == json.loads(json.dumps(SETTINGS))


def test_a_finished_run_is_replaced_by_force_only(target: Path) -> None:
    _finished(target)
    with pytest.raises(FractureEdgeError, match=r"artifacts/edge exists already; give --force to replace it"):
        check_target(target, resume=False, force=False)
    check_target(target, resume=False, force=True)
    assert (target / "model.keras").read_text() == "old"


def test_an_unfinished_run_is_not_overwritten_by_default(target: Path) -> None:
    folder = _half_done(target)
    with pytest.raises(FractureEdgeError) as caught:
        check_target(target, resume=False, force=False)
    assert str(caught.value) == (f"{folder} holds an unfinished run: --resume continues it, --force starts over")
    check_target(target, resume=True, force=False)
    check_target(target, resume=False, force=True)
    assert State.read(folder) is not None


def test_a_run_without_a_complete_epoch_may_be_started_over(target: Path) -> None:
    (_open(target, SETTINGS, resume=False) / "half").write_text("")
    check_target(target, resume=False, force=False)
    assert [path.name for path in _open(target, SETTINGS, resume=False).iterdir()] == ["run.json"]


@pytest.mark.parametrize("resume", [False, True])
@pytest.mark.parametrize("fails", [True, False])
def test_only_a_complete_epoch_is_worth_keeping(target: Path, *, resume: bool, fails: bool) -> None:
    def interrupted(epochs: int) -> None:
        with open_folder(target, SETTINGS, resume=resume) as folder:
            (folder / "history.csv").write_text("rows")
            if epochs:
                State(0, [{"epoch": 1, "phase": 1}], 1).write(folder)
            if fails:
                raise KeyboardInterrupt

    for epochs in (0, 1):
        with pytest.raises(KeyboardInterrupt) if fails else nullcontext():
            interrupted(epochs)
        assert (unfinished(target) / "history.csv").is_file() is (epochs == 1 or not fails)


def test_nothing_to_resume(target: Path) -> None:
    message = "artifacts/edge: no unfinished run to resume; leave --resume out to start one"
    with pytest.raises(FractureEdgeError, match=message):
        check_target(target, resume=True, force=False)
    # Nor is a finished one.
    _finished(target)
    with pytest.raises(FractureEdgeError, match=message):
        check_target(target, resume=True, force=False)


def test_resuming_keeps_what_is_there(target: Path) -> None:
    folder = _half_done(target)
    (folder / "history.csv").write_text("rows")
    assert _open(target, SETTINGS, resume=True) == folder
    assert (folder / "history.csv").read_text() == "rows"


def test_starting_anew_clears_what_is_there(target: Path) -> None:
    folder = _half_done(target)
    (folder / "history.csv").write_text("rows")
    assert _open(target, SETTINGS | {"seed": 4}, resume=False) == folder
    assert [path.name for path in folder.iterdir()] == ["run.json"]
    assert json.loads((folder / "run.json").read_text())["seed"] == 4


@pytest.mark.parametrize(
    ("change", "difference"),
    [
        ({"seed": 4}, "seed (3, now 4)"),
        ({"precision": "float32"}, "precision (None, now 'float32')"),
        ({"recipe": SETTINGS["recipe"] | {"batch_size": 16}}, "recipe.batch_size (8, now 16)"),
        ({"recipe": SETTINGS["recipe"] | {"options": {"units": 3}}}, "recipe.options.units (None, now 3)"),
        (
            {"recipe": SETTINGS["recipe"] | {"phases": ({"epochs": 5},)}},
            "recipe.phases ([{'epochs': 2}], now [{'epochs': 5}])",
        ),
        # The first in order.
        ({"seed": 1, "recipe": SETTINGS["recipe"] | {"batch_size": 1}}, "seed (3, now 1)"),
    ],
)
def test_other_settings_are_refused(target: Path, change: dict[str, object], difference: str) -> None:
    folder = _half_done(target)
    with pytest.raises(FractureEdgeError) as caught:
        _open(target, SETTINGS | change, resume=True)
    assert str(caught.value) == f"{folder}: was started with another {difference}"
    assert State.read(folder) is not None


def test_a_run_of_before_distillation_left_can_be_resumed(target: Path) -> None:
    off = {"share": 0.0, "folds": 3, "phases": []}
    folder = _half_done(target)
    held = json.loads((folder / "run.json").read_text())
    held["recipe"]["distillation"] = off
    (folder / "run.json").write_text(json.dumps(held))
    assert _open(target, SETTINGS, resume=True) == folder
    held["recipe"]["distillation"] = off | {"share": 0.7}
    (folder / "run.json").write_text(json.dumps(held))
    with pytest.raises(FractureEdgeError, match=r"was started with another recipe\.distillation"):
        _open(target, SETTINGS, resume=True)


def test_settings_of_before_distillation_left_are_those_of_now() -> None:
    off = {"share": 0.0, "folds": 3, "phases": []}
    assert read_settings(json.dumps({"seed": 1, "recipe": {"patience": 5, "distillation": off}})) == {
        "seed": 1,
        "recipe": {"patience": 5},
    }
    assert read_settings('{"seed": 1}') == {"seed": 1}


def test_one_run_at_a_time(target: Path) -> None:
    with exclusive_lock(target):
        with (
            pytest.raises(FractureEdgeError, match=r"artifacts/edge: in use by another run"),
            exclusive_lock(target),
        ):
            pytest.fail("two at once")
        # Another model has another lock.
        with exclusive_lock(target.with_name("vgg16")):
            pass
    with exclusive_lock(target):
        pass
    # The lock is not kept there.
    assert not target.parent.exists()


def test_a_killed_process_releases_the_lock(target: Path, repository: Path) -> None:
    program = (
        "import sys, time; from pathlib import Path; from train.lock import exclusive_lock\n"
        "with exclusive_lock(Path(sys.argv[1])):\n    print('held', flush=True)\n    time.sleep(600)"
    )
    environment = {**os.environ, "PYTHONPATH": os.fspath(repository), "TF_CPP_MIN_LOG_LEVEL": "3"}
    process = subprocess.Popen(
        [sys.executable, "-c", program, os.fspath(target)], env=environment, stdout=subprocess.PIPE
    )
    with process:
        try:
            assert process.stdout is not None
            assert process.stdout.readline() == b"held\n"
            with pytest.raises(FractureEdgeError, match="in use by another run"), exclusive_lock(target):
                pytest.fail("two at once")
        finally:
            process.send_signal(signal.SIGKILL)
    with exclusive_lock(target):
        pass


def test_publishing(target: Path) -> None:
    folder = _half_done(target)
    for name in ("kept-0001.weights.h5", "state-0002.weights.h5", "model.keras", "history.csv"):
        (folder / name).write_text(name)
    publish(target)
    # What only a resumed run needs is gone.
    assert sorted(path.name for path in target.iterdir()) == ["history.csv", "model.keras"]
    assert [path.name for path in target.parent.iterdir()] == ["edge"]


def test_publishing_replaces_the_old_folder(target: Path) -> None:
    _finished(target)
    (target / "edge-int8.onnx").write_text("of the old model")
    (_open(target, SETTINGS, resume=False) / "model.keras").write_text("new")
    publish(target)
    assert {path.name: path.read_text() for path in target.iterdir()} == {"model.keras": "new"}
    assert [path.name for path in target.parent.iterdir()] == ["edge"]


def test_a_failed_rename_leaves_the_old_folder_in_place(target: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    _finished(target)
    folder = _open(target, SETTINGS, resume=False)
    (folder / "model.keras").write_text("new")
    rename = Path.rename

    def refuse(self: Path, new: Path) -> Path:
        if self == folder:
            raise OSError(28, "No space left on device")
        return rename(self, new)

    monkeypatch.setattr(Path, "rename", refuse)
    with pytest.raises(FractureEdgeError) as caught:
        publish(target)
    assert str(caught.value) == f"{target}: No space left on device; the result is in {folder}"
    assert (target / "model.keras").read_text() == "old"
    assert (folder / "model.keras").read_text() == "new"
