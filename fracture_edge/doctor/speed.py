"""How fast a device answers, and how much memory it needs for that."""

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
#: Runs the command as it is, up to its end, then tells the peak memory of the process.
_FRESH = (
    "import sys\nfrom fracture_edge.cli import main\n"
    "try: main(own_process=True)\nexcept SystemExit: pass\n"
    "from fracture_edge.machine import peak_memory_mb\nprint(peak_memory_mb(), file=sys.stderr)"
)


def measure() -> dict[str, Any]:
    """Measure latency here, and the first answer and the memory of processes of their own.

    Returns:
        Percentiles of `RUNS` runs after `WARM_UP` in milliseconds, of inference alone and from a file to its
        decision; the median over `FRESH_PROCESSES` of the milliseconds from the start of `classify` to its answer,
        and of its peak memory in MB (10^6 bytes; ``None`` outside Linux); threads of one inference.

    Raises:
        FractureEdgeError: A process of its own gave no answer.
    """
    from fracture_edge.classifier import FractureClassifier
    from fracture_edge.session import session_options

    with tempfile.TemporaryDirectory() as folder, FractureClassifier() as classifier:
        path = Path(folder) / "phantom.png"
        path.write_bytes(phantom(0))
        pixels = classifier.info.preprocessing.load(path)[None]
        inference = _timed(lambda: classifier.probabilities(pixels))
        whole = _timed(lambda: classifier.predict(path))
        fresh = [fresh_process("classify", str(path), "--jsonl") for _ in range(FRESH_PROCESSES)]
    memory = [peak for _, peak in fresh if peak is not None]
    return {
        "inference_ms": _percentiles(inference),
        "file_to_decision_ms": _percentiles(whole),
        "first_answer_ms": round(median([taken for taken, _ in fresh]), 1),
        "peak_memory_mb": round(median(memory), 1) if memory else None,
        "threads": session_options(None).intra_op_num_threads,
        "runs": RUNS,
    }


def _timed(work: Callable[[], object]) -> list[float]:
    """Milliseconds of each run."""
    milliseconds = []
    for number in range(WARM_UP + RUNS):
        started = time.perf_counter()
        work()
        if number >= WARM_UP:
            milliseconds.append((time.perf_counter() - started) * 1000)
    return milliseconds


def _percentiles(values: Sequence[float]) -> dict[str, float]:
    import numpy as np

    # The smallest value that this share of the runs does not exceed.
    found = np.percentile(values, _PERCENTILES, method="inverted_cdf")
    return {f"p{share}": round(float(value), 3) for share, value in zip(_PERCENTILES, found, strict=True)}


def fresh_process(*arguments: str) -> tuple[float, float | None]:
    """Run `fracture-edge` in a process of its own.

    Args:
        *arguments: Of the command; with ``--jsonl``, and its first picture gets an answer.

    Returns:
        Milliseconds from its start to its first line, and its peak memory in MB (10^6 bytes; ``None`` where the
        system does not tell).

    Raises:
        FractureEdgeError: It gave no answer.
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
        raise FractureEdgeError(f"a process of its own gave no answer: {' '.join(errors.split())[-200:]}")
    peak = errors.split()[-1]
    return taken, None if peak == "None" else float(peak)
