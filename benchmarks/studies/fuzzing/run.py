"""Broken files must get a status, whatever is broken: `python -m benchmarks.studies fuzzing --count 200000`.

Every file is read in a worker process that is watched. A worker that dies, takes over `SECONDS` for a file or lets
an exception escape is reported with the file's number; `--rebuild NUMBER` writes that file.
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
from fracture_edge.machine import peak_memory_mb

app = typer.Typer(add_completion=False, rich_markup_mode=None)
#: What no file may take.
SECONDS = 5.0
#: A worker imports Pillow and pydicom before its first answer.
START_SECONDS = 60.0
_SPAWN = multiprocessing.get_context("spawn")


class Report(NamedTuple):
    """What came of some files: outcomes counted, problems in words, and the largest worker in MB (10^6 bytes)."""

    outcomes: Counter[str]
    problems: list[str]
    peak_mb: float


class _Worker:
    """A process that answers numbers with outcomes."""

    def __init__(self) -> None:
        self._ours, theirs = _SPAWN.Pipe()
        self._process = _SPAWN.Process(target=_work, args=(theirs,), daemon=True)
        self._process.start()
        theirs.close()
        self._answer(START_SECONDS)

    def judge(self, number: int) -> tuple[str, float]:
        """The outcome of a file, and the worker's peak memory in MB so far.

        Raises:
            TimeoutError: The worker was too slow, and is no more.
            EOFError: It died.
        """
        self._ours.send(number)
        return self._answer(SECONDS)

    def _answer(self, seconds: float) -> tuple[str, float]:
        if not self._ours.poll(seconds):
            self.end()
            raise TimeoutError
        word, peak = self._ours.recv()
        return str(word), float(peak)

    def end(self) -> int | None:
        """Kill the process: its exit code, negative for a signal."""
        self._process.kill()
        self._process.join()
        return self._process.exitcode

    def death(self) -> int | None:
        """Wait for a process that has closed its pipe: its exit code, negative for a signal."""
        self._process.join(SECONDS)
        return self._process.exitcode


def _work(connection: Connection) -> None:
    # libtiff prints what it thinks of a file.
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


def judge(numbers: Iterable[int]) -> Report:
    """Read the files of some numbers, one after the other, in one worker and its successors."""
    report = Report(Counter(), [], 0.0)
    worker = _Worker()
    for number in numbers:
        try:
            word, peak = worker.judge(number)
        except (TimeoutError, EOFError, ConnectionError) as error:
            hung = isinstance(error, TimeoutError)
            what = f"over {SECONDS:g} s" if hung else f"the process died with exit code {worker.death()}"
            report.outcomes["hang" if hung else "crash"] += 1
            report.problems.append(f"{number} ({mutant(number)[0]}): {what}")
            worker = _Worker()
            continue
        report = report._replace(peak_mb=max(report.peak_mb, peak))
        report.outcomes["traceback" if word.startswith("!") else word] += 1
        if word.startswith("!"):
            report.problems.append(f"{number} ({mutant(number)[0]}): {word}")
    worker.end()
    return report


def run(first: int, count: int, jobs: int) -> Report:
    """Share the numbers from `first` on among `jobs` workers."""
    shares = [range(first + job, first + count, jobs) for job in range(jobs)]
    with ThreadPoolExecutor(jobs) as threads:
        reports = list(threads.map(judge, shares))
    return Report(
        sum((report.outcomes for report in reports), Counter()),
        [problem for report in reports for problem in report.problems],
        max(report.peak_mb for report in reports),
    )


@app.command()
def fuzzing(
    count: Annotated[int, typer.Option(min=1, help="Number of files.")] = 2000,
    first: Annotated[int, typer.Option(min=0, help="Number of the first file.")] = 0,
    jobs: Annotated[int, typer.Option(min=1, help="Worker processes.")] = 2,
    rebuild: Annotated[
        int | None, typer.Option(metavar="NUMBER", min=0, help="Write the file of this number to --output.")
    ] = None,
    output: Annotated[Path, typer.Option(metavar="FILE", help="Where --rebuild writes.")] = Path("mutant.bin"),
) -> None:
    """Read broken files in watched processes, and count what came of them.

    Exit status: 0 each file has an answer or a status, 1 a process died, hung or let an exception escape.
    """
    if rebuild is not None:
        name, data = mutant(rebuild)
        output.write_bytes(data)
        print(f"{output}: {len(data)} bytes, from {name}")
        return
    report = run(first, count, jobs)
    print(*report.problems, sep="\n", end="\n" if report.problems else "")
    for word, number in report.outcomes.most_common():
        print(f"{number:8} {word}")
    print(f"{len(report.problems)} problems in {count} files; peak memory {report.peak_mb:.0f} MB")
    if report.problems:
        raise typer.Exit(EXIT_FAILED)
