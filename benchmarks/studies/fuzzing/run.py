"""Check that every broken file gets a status: `python -m benchmarks.studies fuzzing --count 200000`.

Each file is read in a monitored worker process. If the worker dies, takes longer than `SECONDS` or raises an
unexpected exception, the number of the file is reported; `--rebuild NUMBER` writes that file.
"""

import multiprocessing
import os
import traceback
from collections import Counter
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Annotated, NamedTuple

import typer

from benchmarks.studies.fuzzing.mutants import mutant, outcome
from fracture_edge.errors import EXIT_FAILED
from fracture_edge.machine import at_most_cores, peak_memory_mb

app = typer.Typer(add_completion=False, rich_markup_mode=None)
#: Time limit for one file, in seconds.
SECONDS = 5.0
#: Time limit for the start of a worker, which imports Pillow and pydicom, in seconds.
START_SECONDS = 60.0
_SPAWN = multiprocessing.get_context("spawn")


class Report(NamedTuple):
    """Outcomes of reading some files.

    Attributes:
        outcomes: Number of files by outcome: ``ok``, a status, ``hang``, ``crash`` or ``traceback``.
        problems: Descriptions of hangs, crashes and tracebacks.
        peak_mb: Largest peak memory of the workers, in MB (10^6 bytes).
    """

    outcomes: Counter[str]
    problems: list[str]
    peak_mb: float


class _Worker:
    """Process that reads the files of given numbers."""

    def __init__(self) -> None:
        self._ours, theirs = _SPAWN.Pipe()
        self._process = _SPAWN.Process(target=_work, args=(theirs,), daemon=True)
        self._process.start()
        theirs.close()
        self._receive(START_SECONDS)

    def read(self, number: int) -> tuple[str, float]:
        """Read the file of a number.

        Returns:
            Outcome, and peak memory of the worker so far in MB.

        Raises:
            TimeoutError: The worker took too long and was killed.
            EOFError: The worker died.
        """
        self._ours.send(number)
        return self._receive(SECONDS)

    def _receive(self, seconds: float) -> tuple[str, float]:
        if not self._ours.poll(seconds):
            self.kill()
            raise TimeoutError
        word, peak = self._ours.recv()
        return str(word), float(peak)

    def kill(self) -> int | None:
        """Kill the process and return its exit code, negative for a signal."""
        self._process.kill()
        self._process.join()
        return self._process.exitcode

    def wait(self) -> int | None:
        """Wait for a process that has closed its pipe, and return its exit code, negative for a signal."""
        self._process.join(SECONDS)
        return self._process.exitcode


def _work(connection: Connection) -> None:
    # libtiff prints warnings about broken files.
    os.dup2(os.open(os.devnull, os.O_WRONLY), 2)
    outcome(mutant(0)[1])
    connection.send(("ready", 0.0))
    while True:
        number = connection.recv()
        try:
            word = outcome(mutant(number)[1])
        except Exception:
            word = f"! {traceback.format_exc()}"
        connection.send((word, peak_memory_mb() or 0.0))


def read_files(numbers: Iterable[int]) -> Report:
    """Read the files of some numbers, one after the other, in a worker that is replaced when it dies."""
    report = Report(Counter(), [], 0.0)
    worker = _Worker()
    for number in numbers:
        try:
            word, peak = worker.read(number)
        except (TimeoutError, EOFError, ConnectionError) as error:
            hung = isinstance(error, TimeoutError)
            what = f"over {SECONDS:g} s" if hung else f"the process died with exit code {worker.wait()}"
            report.outcomes["hang" if hung else "crash"] += 1
            report.problems.append(f"{number} ({mutant(number)[0]}): {what}")
            worker = _Worker()
            continue
        report = report._replace(peak_mb=max(report.peak_mb, peak))
        report.outcomes["traceback" if word.startswith("!") else word] += 1
        if word.startswith("!"):
            report.problems.append(f"{number} ({mutant(number)[0]}): {word}")
    worker.kill()
    return report


def run(first: int, count: int, jobs: int) -> Report:
    """Read `count` files, starting with number `first`, in `jobs` workers."""
    shares = [range(first + job, first + count, jobs) for job in range(jobs)]
    with ThreadPoolExecutor(jobs) as threads:
        reports = list(threads.map(read_files, shares))
    return Report(
        sum((report.outcomes for report in reports), Counter()),
        [problem for report in reports for problem in report.problems],
        max(report.peak_mb for report in reports),
    )


@app.command()
def fuzzing(
    count: Annotated[int, typer.Option(min=1, help="Number of files.")] = 2000,
    first: Annotated[int, typer.Option(min=0, help="Number of the first file.")] = 0,
    jobs: Annotated[int, typer.Option(min=1, help="Number of worker processes.")] = 2,
    rebuild: Annotated[
        int | None, typer.Option(metavar="NUMBER", min=0, help="Write the file of this number to --output.")
    ] = None,
    output: Annotated[Path, typer.Option(metavar="FILE", help="File that --rebuild writes.")] = Path("mutant.bin"),
) -> None:
    """Read broken files in monitored processes, and count the outcomes.

    Exit status: 0 if every file was read or refused with a status; 1 if a process died, hung or raised an
    unexpected exception.
    """
    if rebuild is not None:
        name, data = mutant(rebuild)
        output.write_bytes(data)
        print(f"{output}: {len(data)} bytes, from {name}")
        return
    report = run(first, count, at_most_cores(jobs))
    print(*report.problems, sep="\n", end="\n" if report.problems else "")
    for word, number in report.outcomes.most_common():
        print(f"{number:8} {word}")
    print(f"{len(report.problems)} problems in {count} files; peak memory {report.peak_mb:.0f} MB")
    if report.problems:
        raise typer.Exit(EXIT_FAILED)
