import io
import re
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from fracture_edge import machine
from fracture_edge.batch import classify
from fracture_edge.batch.progress import with_progress
from fracture_edge.runtimes import threads as batch
from fracture_edge.runtimes.threads import default_jobs, map_ahead, map_in_threads


def test_slow_first_items_do_not_change_the_order() -> None:
    def work(number: int) -> int:
        time.sleep(0.03 if number % 4 == 0 else 0.001)
        return number * number

    assert list(map_in_threads(work, range(40), jobs=4)) == [number * number for number in range(40)]


def test_runs_concurrently_with_bounded_lookahead() -> None:
    lock, active, most, taken = threading.Lock(), 0, 0, 0
    # Each call waits until three have started, so there must be three threads.
    together = threading.Barrier(3)

    def items() -> Iterator[int]:
        nonlocal taken
        for number in range(60):
            taken += 1
            yield number

    def work(number: int) -> int:
        nonlocal active, most
        with lock:
            active += 1
            most = max(most, active)
        together.wait(timeout=30)
        with lock:
            active -= 1
        return number

    for yielded, result in enumerate(map_in_threads(work, items(), jobs=3, ahead=6), 1):
        assert result == yielded - 1
        assert taken - yielded <= 6
    assert most == 3


def test_exception_is_raised_in_order() -> None:
    def work(number: int) -> int:
        if number == 2:
            raise KeyError(number)
        return number

    results = map_in_threads(work, range(5), jobs=2)
    assert [next(results), next(results)] == [0, 1]
    with pytest.raises(KeyError):
        next(results)


def test_finished_results_do_not_wait_for_the_next_item() -> None:
    answered = threading.Event()

    def items() -> Iterator[int]:
        yield 0
        time.sleep(0.2)
        yield 1
        # The third item appears only after the first result.
        assert answered.wait(timeout=30)
        yield 2

    results = map_in_threads(lambda number: number, items(), jobs=4)
    assert next(results) == 0
    answered.set()
    assert list(results) == [1, 2]


def test_no_work_starts_after_the_iterator_is_closed() -> None:
    begun = []

    def work(number: int) -> int:
        begun.append(number)
        time.sleep(0.02)
        return number

    results = map_in_threads(work, range(1000), jobs=2)
    assert next(results) == 0
    results.close()  # type: ignore[attr-defined]
    time.sleep(0.1)
    assert len(begun) <= 6


@pytest.mark.parametrize(
    ("cores", "memory", "expected"),
    [(1, 8.0, 1), (2, 8.0, 2), (64, 8.0, 4), (64, None, 4), (4, 0.9, 1), (4, 1.8, 3), (4, 0.4, 1)],
)
def test_jobs_by_default(cores: int, memory: float | None, expected: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(machine, "usable_cores", lambda: cores)
    monkeypatch.setattr(batch, "memory_gb", lambda: memory)
    assert default_jobs() == expected


@pytest.mark.parametrize(("cores", "expected"), [(1, [1]), (3, [3])])
def test_no_more_jobs_than_cores(cores: int, expected: list[int], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(machine, "usable_cores", lambda: cores)
    started = []

    def in_threads(work: Callable[[int], int], items: range, *, jobs: int) -> Iterator[int]:
        started.append(jobs)
        return map(work, items)

    monkeypatch.setattr(batch, "map_in_threads", in_threads)
    assert list(map_ahead(lambda number: 2 * number, range(5), 100_000)) == [0, 2, 4, 6, 8]
    # With one core the work is done without a thread.
    assert started == [count for count in expected if count > 1]


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_progress_bar(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stderr", Terminal())
    counts = []
    for item in with_progress("abcd", 4):
        counts.append((item, re.findall(r"(\d)/4", sys.stderr.getvalue())[-1]))  # type: ignore[attr-defined]
    # An item counts as done when the next one is requested.
    assert counts == [("a", "0"), ("b", "1"), ("c", "2"), ("d", "3")]
    assert re.findall(r"(\d)/4", sys.stderr.getvalue())[-1] == "4"  # type: ignore[attr-defined]


def test_no_progress_bar_without_a_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stderr", io.StringIO())
    assert list(with_progress("abcd", 4)) == list("abcd")
    assert "4/4" not in sys.stderr.getvalue()  # type: ignore[attr-defined]


MEMORY = """
import sys
from fracture_edge import FractureClassifier
from fracture_edge.machine import peak_memory_mb
classifier = FractureClassifier(sys.argv[1])
def run(times):
    files = sys.argv[2:] * times
    assert sum(answer.ok for answer in classifier.predict_many(files, jobs=3)) == len(files)
run(1)
few = peak_memory_mb()
run(20)
print(few, peak_memory_mb())
"""


@pytest.mark.skipif(sys.platform != "linux", reason="peak memory comes from /proc")
def test_memory_does_not_grow_with_the_number_of_images(
    run_python: Callable[..., subprocess.CompletedProcess[bytes]], tiny_model: Path, tmp_path: Path
) -> None:
    files = [tmp_path / f"{number}.png" for number in range(20)]
    for number, path in enumerate(files):
        Image.fromarray(np.full((512, 512), number, np.uint8)).save(path)
    done = run_python("-c", MEMORY, tiny_model, *files)
    assert done.stderr == b""
    few, many = map(float, done.stdout.split())
    # 400 images of 0.26 MB decoded would be 105 MB; the allocator's arenas take a few.
    assert many - few < 8


def test_one_image_needs_no_threads(
    run_python: Callable[..., subprocess.CompletedProcess[bytes]], tiny_model: Path, tmp_path: Path
) -> None:
    path = tmp_path / "x.png"
    Image.fromarray(np.full((64, 64), 192, np.uint8)).save(path)
    script = (
        "import sys\nfrom fracture_edge.cli import main\ntry: main()\nexcept SystemExit: pass\n"
        "names = 'batch.journal batch.resume batch.watch batch.progress files doctor commands.info'.split()\n"
        "early = {f'fracture_edge.{name}' for name in names} | {'concurrent.futures', 'csv'}\n"
        "print(sorted(early & set(sys.modules)))"
    )
    done = run_python("-c", script, "classify", path, "--model", tiny_model, "--csv")
    assert done.stdout.splitlines()[-1] == b"[]"


@pytest.mark.parametrize(
    ("options", "images", "threads"),
    [
        ({}, 1, None),
        ({}, 63, None),
        ({}, 64, 1),
        # Chosen by the user, or images one after the other.
        ({"threads": 2}, 64, 2),
        ({"jobs": 1}, 64, None),
    ],
)
def test_many_images_get_one_thread_for_each_inference(
    options: dict[str, Any], images: int, threads: int | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[int | None] = []
    monkeypatch.setattr(classify, "FractureClassifier", lambda model, threads, **_: asked.append(threads))
    classify.ClassifyOptions(**options).classifier(images)
    assert asked == [threads]
