"""Tests of the timing code with runners of known behaviour, each in a real process."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from benchmarks.rows import BenchmarkRow
from benchmarks.runtimes.process import WorkerError, WorkerProcess, cores_for
from benchmarks.speed.first_answer import first_answers
from benchmarks.speed.speed import SpeedOptions, Speeds, measure_speed
from fracture_edge.errors import FractureEdgeError

SLEEP_S = 0.004
linux = pytest.mark.skipif(sys.platform != "linux", reason="asks /proc")


@pytest.fixture(scope="module")
def images(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    folder = tmp_path_factory.mktemp("images")
    paths = [folder / f"{grey}.png" for grey in (64, 192)]
    for path in paths:
        Image.fromarray(np.full((80, 80), int(path.stem), np.uint8)).save(path)
    return paths


def _row(name: str, runtime: str = "sleep", path: Path | None = None) -> BenchmarkRow:
    return BenchmarkRow(
        model="test", format=name, runtime=runtime, precision="", path=path, file="", bytes=0, sha256=""
    )


def _sleeper(folder: Path, name: str, seconds: float = SLEEP_S, **more: Any) -> BenchmarkRow:
    path = folder / f"{name}.json"
    path.write_text(json.dumps({"seconds": seconds} | more))
    return _row(name, path=path)


@pytest.fixture
def start(images: list[Path]) -> Any:
    """Start workers that the test need not close."""
    workers = []

    def begin(row: BenchmarkRow, threads: int = 1, **options: Any) -> WorkerProcess:
        workers.append(WorkerProcess(row.runtime, row.path, threads=threads, images=images, **options))
        return workers[-1]

    yield begin
    for worker in workers:
        worker.close()


def _state(pid: int) -> str:
    """Return the state of a process, as ps shows it."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except FileNotFoundError:
        return "gone"


def _wait_for(pid: int, states: set[str]) -> str:
    for _ in range(100):
        if _state(pid) in states:
            break
        time.sleep(0.05)
    return _state(pid)


def test_a_known_sleep_is_measured(start: Any, tmp_path: Path) -> None:
    worker = start(_sleeper(tmp_path, "a"))
    for command in ({"command": "inference", "batch": 1}, {"command": "decisions"}):
        seconds = worker.ask(**command, warm_up=2, runs=20)["seconds"]
        assert len(seconds) == 20
        # No sleep is shorter than asked for. A busy machine wakes the process late now and then, so that only
        # the quickest of the runs has an upper bound, and that a wide one.
        assert SLEEP_S <= min(seconds) < 5 * SLEEP_S


@pytest.mark.skipif(not hasattr(os, "sched_getaffinity"), reason="no pinning here")
def test_it_is_pinned_to_as_many_cores_as_it_has_threads(start: Any) -> None:
    ours = sorted(os.sched_getaffinity(0))
    for threads in {1, len(ours)}:
        worker = start(_row("idle", "idle"), threads=threads)
        assert worker.cores == ours[:threads] == sorted(os.sched_getaffinity(worker.pid))
    assert sorted(os.sched_getaffinity(0)) == ours
    with pytest.raises(FractureEdgeError, match=f"this process may only use {len(ours)} cores"):
        cores_for(len(ours) + 1)


@linux
def test_it_is_stopped_between_commands(start: Any) -> None:
    worker = start(_row("idle", "idle"))
    assert _wait_for(worker.pid, {"T"}) == "T"
    worker.ask("inference", warm_up=0, runs=1, batch=1)
    assert _wait_for(worker.pid, {"T"}) == "T"


def test_a_killed_worker_is_reported(start: Any) -> None:
    worker = start(_row("idle", "idle"))
    os.kill(worker.pid, signal.SIGKILL)
    with pytest.raises(WorkerError, match=r"was killed by SIGKILL: out of memory\?"):
        worker.ask("inference", warm_up=0, runs=1, batch=1)


def test_a_worker_that_times_out_is_killed(start: Any, tmp_path: Path) -> None:
    worker = start(_sleeper(tmp_path, "slow", seconds=60))
    worker._timeout_s = 0.2
    with pytest.raises(WorkerError, match=r"no answer within 0\.2 s"):
        worker.ask("inference", warm_up=0, runs=1, batch=1)


def test_an_exception_is_reported_and_the_worker_continues(start: Any, images: list[Path]) -> None:
    worker = start(_row("idle", "idle"))
    with pytest.raises(WorkerError, match=r"missing\.png: no such file"):
        worker.ask("answer", image="missing.png")
    assert worker.ask("answer", image=str(images[0]))["probability"] == 0


def test_a_model_that_cannot_be_loaded(start: Any, tmp_path: Path) -> None:
    with pytest.raises(WorkerError, match=r"absent\.onnx: No such file"):
        start(_row("absent", "onnxruntime", tmp_path / "absent.onnx"))


@linux
def test_it_ends_with_the_process_that_started_it(
    run_python: Callable[..., subprocess.CompletedProcess[bytes]],
) -> None:
    code = (
        "import os; from benchmarks.runtimes.process import WorkerProcess; "
        "print(WorkerProcess('idle', None, threads=1).pid, flush=True); os.kill(os.getpid(), 9)"
    )
    done = run_python("-c", code)
    assert done.returncode == -signal.SIGKILL, done.stderr.decode()
    assert _wait_for(int(done.stdout), {"Z", "gone"}) in {"Z", "gone"}


def test_output_of_a_runtime_does_not_disturb_the_protocol(
    run_python: Callable[..., subprocess.CompletedProcess[bytes]],
) -> None:
    code = (
        "import os; from benchmarks.runtimes.worker import _private_channel; answer = _private_channel(); "
        "print('Python talks', flush=True); os.write(1, b'so does C'); answer({'a': 1})"
    )
    done = run_python("-c", code)
    assert done.stdout == b'{"a": 1}\n'
    assert done.stderr == b"Python talks\nso does C"


def _quick(**changes: Any) -> SpeedOptions:
    return SpeedOptions(**{"runs": 6, "rounds": 3, "batches": (1, 4), "first_answers": 0} | changes)


@pytest.fixture(scope="module")
def measured(images: list[Path], tmp_path_factory: pytest.TempPathFactory) -> tuple[Speeds, list[list[str]]]:
    """Measure two sleeping rows; return their speeds and the lines of their common log."""
    folder = tmp_path_factory.mktemp("sleepers")
    log = folder / "log"
    rows = [_sleeper(folder, name, log=str(log)) for name in ("a", "b")]
    speeds = measure_speed(rows, images, _quick(), say=lambda text: None)
    return speeds, [line.split() for line in log.read_text().splitlines()]


def test_rows_take_turns(measured: tuple[Speeds, list[list[str]]]) -> None:
    names = "".join(name for name, *_ in measured[1])
    warming_up = "a" * 20 + "b" * 20
    # Of a turn, one run that does not count and then two of the six; the same again from file to decision.
    turns = ("aaa" + "bbb") * 3
    assert names.startswith(warming_up + turns + turns)
    # Batches: one run that does not count, then three turns of as many runs as last about a second.
    batches = names.removeprefix(warming_up + turns + turns)
    assert batches.startswith("ab")
    assert [batches.count(name) > 1 + 3 for name in "ab"] == [True, True]


def test_only_one_worker_computes_at_a_time(measured: tuple[Speeds, list[list[str]]]) -> None:
    calls = [(float(started), float(ended)) for _, started, ended in measured[1]]
    assert all(one[1] <= other[0] for one, other in pairwise(calls))


def test_speeds_of_sleeping_rows(measured: tuple[Speeds, list[list[str]]]) -> None:
    rows = measured[0].rows
    assert list(rows) == ["test/a", "test/b"]
    for row in rows.values():
        assert (row.speed_error, row.first_answer_ms, row.peak_memory_mb) == (None, None, None)
        assert list(row.speed) == ["1"]
        speed = row.speed["1"]
        for taken in (speed.inference_ms, speed.file_to_decision_ms):
            # On a busy machine only the lower bound is certain.
            assert 1000 * SLEEP_S <= taken.p50 <= taken.p90 <= taken.p99
            assert taken.runs == 6
        # Four images at once take as long as one.
        assert 0 < speed.images_per_second["1"] <= 1 / SLEEP_S
        assert speed.images_per_second["1"] < speed.images_per_second["4"] <= 4 / SLEEP_S


def test_the_harness_itself_costs_under_2_percent_of_3_ms(measured: tuple[Speeds, list[list[str]]]) -> None:
    assert measured[0].harness is not None
    overhead = measured[0].harness.overhead_us
    assert overhead.runs == 6
    assert 0 < overhead.p50 < 0.02 * 3000


def test_failed_rows_have_an_error_and_the_others_continue(images: list[Path], tmp_path: Path) -> None:
    (tmp_path / "broken.onnx").write_bytes(b"no graph")
    rows = [
        _row("unloadable", "onnxruntime", tmp_path / "broken.onnx"),
        _sleeper(tmp_path, "raises", seconds=-1),
        _sleeper(tmp_path, "fine", seconds=0.001),
    ]
    said: list[str] = []
    options = _quick(first_answers=1, batches=(1,))
    found = measure_speed(rows, images, options, said.append).rows
    assert "broken.onnx: onnxruntime cannot load it" in found["test/unloadable"].speed_error
    assert found["test/raises"].speed_error == "sleep length must be non-negative"
    for failed in ("test/unloadable", "test/raises"):
        assert found[failed].speed == {}
        assert found[failed].first_answer_ms is found[failed].peak_memory_mb is None
    assert "test/raises: FAILED, sleep length must be non-negative" in said
    fine = found["test/fine"]
    assert (fine.speed_error, fine.speed["1"].inference_ms.runs) == (None, 6)
    assert fine.first_answer_ms.runs == 1


@pytest.mark.parametrize(
    ("calls", "finished"),
    [
        # 20 to warm up and three turns of three: inference. Three turns more: file to decision, and batch 1 again
        # is the inference. Then batches of 4.
        (28, None),
        (29, (False, ["1"])),
        (38, (True, ["1"])),
    ],
)
def test_a_failed_row_keeps_its_earlier_measurements(
    images: list[Path], tmp_path: Path, calls: int, finished: tuple[bool, list[str]] | None
) -> None:
    rows = [_sleeper(tmp_path, "fails", seconds=0.001, calls=calls), _sleeper(tmp_path, "fine", seconds=0.001)]
    found = measure_speed(rows, images, _quick(), lambda text: None).rows
    assert found["test/fails"].speed_error == "no calls left"
    speed = found["test/fails"].speed
    if finished is None:
        assert speed == {}
    else:
        whole, batches = finished
        assert speed["1"].inference_ms.runs == 6
        assert (speed["1"].file_to_decision_ms is not None) == whole
        assert list(speed["1"].images_per_second) == batches
    fine = found["test/fine"].speed["1"]
    assert fine.file_to_decision_ms.runs == 6
    assert list(fine.images_per_second) == ["1", "4"]


def test_the_embedded_model(images: list[Path]) -> None:
    row = _row("onnx", "onnxruntime")
    found = measure_speed([row], images, _quick(batches=(1,), first_answers=1), lambda text: None)
    result = found.rows[row.id]
    assert result.speed_error is None
    speed = result.speed["1"]
    assert speed.file_to_decision_ms.p50 > 0
    # A process with imports and a session cannot be quicker than an inference.
    assert result.first_answer_ms.p50 > speed.inference_ms.p50
    # numpy, Pillow and onnxruntime alone need 50 MB.
    assert 50 < result.peak_memory_mb < 1000


def test_first_answer_of_a_known_sleep(images: list[Path], tmp_path: Path) -> None:
    ballast = np.ones(50_000_000)
    errors: dict[str, str] = {}
    row = _sleeper(tmp_path, "a", seconds=0.5)
    found = first_answers([row], images[0], threads=1, runs=2, timeout_s=60, errors=errors)[row.id]
    assert errors == {}
    # The sleep, and on top what starting Python and importing numpy takes: 20 ms at the very least.
    assert found.milliseconds.p50 > 520
    assert found.milliseconds.runs == 2
    # Of the child alone; this process holds 400 MB more.
    assert 10 < found.peak_memory_mb < ballast.nbytes / 1e6


def test_a_first_answer_that_fails(images: list[Path], tmp_path: Path) -> None:
    errors: dict[str, str] = {}
    row = _sleeper(tmp_path, "raises", seconds=-1)
    assert first_answers([row], images[0], threads=1, runs=2, timeout_s=60, errors=errors) == {}
    assert errors == {row.id: "sleep length must be non-negative"}
