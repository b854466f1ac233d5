"""Latency and memory of classification on a device."""

import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from statistics import median
from typing import Any

from fracture_edge.doctor.known_answers import phantom
from fracture_edge.errors import FractureEdgeError

WARM_UP, RUNS = 10, 100
FRESH_PROCESSES = 5
_PERCENTILES = (50, 90, 99)
#: Program that runs the command to its end, and then prints the peak memory of the process.
_FRESH = (
    "import sys\nfrom fracture_edge.cli import main\n"
    "try: main(own_process=True)\nexcept SystemExit: pass\n"
    "from fracture_edge.machine import peak_memory_mb\nprint(peak_memory_mb(), file=sys.stderr)"
)


def measure() -> dict[str, Any]:
    """Measure the latency in this process, and the start-up time and memory of new processes.

    Returns:
        ``inference_ms`` and ``file_to_decision_ms``: percentiles in milliseconds over `RUNS` runs after `WARM_UP`;
        ``first_answer_ms``: median over `FRESH_PROCESSES` of the time from the start of `classify` to its first
        record, in milliseconds; ``peak_memory_mb``: median of its peak memory in MB (10^6 bytes), or ``None`` if
        the system does not report it; ``threads`` of one inference, and ``runs``.

    Raises:
        FractureEdgeError: A new process failed to classify the image.
    """
    from fracture_edge.classifier import FractureClassifier
    from fracture_edge.runtimes.threads import inference_threads

    with tempfile.TemporaryDirectory() as folder, FractureClassifier() as classifier:
        path = Path(folder) / "phantom.png"
        path.write_bytes(phantom(0))
        pixels = classifier.info.preprocessing.load(path)[None]
        inference = _timed(lambda: classifier.probabilities(pixels))
        file_to_decision = _timed(lambda: classifier.predict(path))
        fresh = [fresh_process("classify", str(path), "--jsonl") for _ in range(FRESH_PROCESSES)]
    memory = [peak for _, peak in fresh if peak is not None]
    return {
        "inference_ms": _percentiles(inference),
        "file_to_decision_ms": _percentiles(file_to_decision),
        "first_answer_ms": round(median([taken for taken, _ in fresh]), 1),
        "peak_memory_mb": round(median(memory), 1) if memory else None,
        "threads": inference_threads(None),
        "runs": RUNS,
    }


def _timed(work: Callable[[], object]) -> list[float]:
    """Measure the milliseconds of each run after the warm-up."""
    milliseconds = []
    for number in range(WARM_UP + RUNS):
        started = time.perf_counter()
        work()
        if number >= WARM_UP:
            milliseconds.append((time.perf_counter() - started) * 1000)
    return milliseconds


def _percentiles(values: Sequence[float]) -> dict[str, float]:
    import numpy as np

    # The smallest measured value that this share of the runs does not exceed.
    found = np.percentile(values, _PERCENTILES, method="inverted_cdf")
    return {f"p{share}": round(float(value), 3) for share, value in zip(_PERCENTILES, found, strict=True)}


def fresh_process(*arguments: str) -> tuple[float, float | None]:
    """Run `fracture-edge` in a new process.

    Args:
        *arguments: Arguments of the command; they must include ``--jsonl``, and an image that can be classified.

    Returns:
        Time from the start of the process to its first record in milliseconds, and its peak memory in MB (10^6
        bytes), or ``None`` if the system does not report it.

    Raises:
        FractureEdgeError: The process failed to classify the first image.
    """
    home = str(Path(__file__).resolve().parents[2])
    inherited = os.environ.get("PYTHONPATH")
    environment = {**os.environ, "PYTHONPATH": f"{home}{os.pathsep}{inherited}" if inherited else home}
    started = time.perf_counter()
    with subprocess.Popen(  # noqa: S603
        [sys.executable, "-P", "-c", _FRESH, *arguments],
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdout is not None  # noqa: S101
        line = process.stdout.readline()
        taken = (time.perf_counter() - started) * 1000
        _, errors = process.communicate()
    if process.returncode or '"status": "ok"' not in line:
        raise FractureEdgeError(f"a new process failed to classify: {' '.join(errors.split())[-200:]}")
    peak = errors.split()[-1]
    return taken, None if peak == "None" else float(peak)
