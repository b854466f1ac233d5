"""One classifier in many threads, in forked children and in pools of processes."""

import subprocess
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest

from fracture_edge import FractureClassifier

Run = Callable[..., subprocess.CompletedProcess[bytes]]
THREADS = 8


def in_threads(pictures: list[npt.NDArray[np.uint8]], each: int) -> None:
    classifier = FractureClassifier()
    alone = [classifier.predict(picture).probability for picture in pictures]
    assert len(set(alone)) == len(pictures)

    def work(first: int) -> list[float | None]:
        # Each thread starts at another image, so that different images run at the same time.
        return [classifier.predict(pictures[(first + step) % len(pictures)]).probability for step in range(each)]

    with ThreadPoolExecutor(THREADS) as pool:
        for first, found in enumerate(pool.map(work, range(THREADS))):
            # Equal, not only close: bit-identical.
            assert found == [alone[(first + step) % len(pictures)] for step in range(each)]


@pytest.fixture(scope="module")
def pictures(bone: Callable[..., npt.NDArray[np.uint8]]) -> list[npt.NDArray[np.uint8]]:
    return [bone(seed, seed % 2 == 0, height=300, width=200 + 20 * seed) for seed in range(8)]


def test_bit_identical_to_one_thread(pictures: list[npt.NDArray[np.uint8]]) -> None:
    in_threads(pictures, 60)


@pytest.mark.endurance
def test_bit_identical_to_one_thread_long(pictures: list[npt.NDArray[np.uint8]]) -> None:
    in_threads(pictures, 500)


# os._exit, because onnxruntime cannot be shut down in a forked child.
FORK = """
import os, sys
import numpy as np
from fracture_edge import FractureClassifier
picture = np.full((64, 64), 192, np.uint8)
classifier = FractureClassifier(sys.argv[1], threads=3)
other = FractureClassifier(sys.argv[1], threads=2)
here = classifier.predict(picture).probability
child = os.fork()
if child == 0:
    del other
    same = all(classifier.predict(picture).probability == here for _ in range(20))
    classifier.close()
    os._exit(0 if same else 1)
assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
assert classifier.predict(picture).probability == here
"""
POOL = """
import multiprocessing, sys
import numpy as np
from fracture_edge import FractureClassifier
pictures = [np.full((64, 64), grey, np.uint8) for grey in range(0, 256, 8)]
if __name__ == "__main__":
    classifier = FractureClassifier(sys.argv[2], threads=2)
    here = [classifier.predict(picture).probability for picture in pictures]
    with multiprocessing.get_context(sys.argv[1]).Pool(2) as pool:
        assert [answer.probability for answer in pool.map(classifier.predict, pictures)] == here
"""


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no fork")
def test_after_a_fork(run_python: Run, tiny_model: Path) -> None:
    done = run_python("-c", FORK, tiny_model)
    assert (done.returncode, done.stderr) == (0, b"")


@pytest.mark.parametrize(
    "method",
    [
        pytest.param("fork", marks=pytest.mark.skipif(sys.platform == "win32", reason="Windows has no fork")),
        "spawn",
    ],
)
def test_pool_of_processes(method: str, run_python: Run, tiny_model: Path, tmp_path: Path) -> None:
    script = tmp_path / "pool.py"
    script.write_text(POOL)
    done = run_python(script, method, tiny_model)
    assert (done.returncode, done.stderr) == (0, b"")
