"""Processes that work on one task together: time, processor time and memory of all."""

import os
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from fracture_edge.errors import FractureEdgeError

_ROOT = Path(__file__).resolve().parents[3]
_POLL_SECONDS = 0.005


class Member(NamedTuple):
    """Process of a group.

    Attributes:
        arguments: Arguments of Python.
        cores: Numbers of the cores that it may use.
        files: Paths of the images, which it reads from stdin.
    """

    arguments: Sequence[str]
    cores: frozenset[int]
    files: Sequence[Path]


@dataclass(frozen=True, slots=True)
class GroupCost:
    """Cost of a group of processes.

    Attributes:
        seconds: Time from the start of the first process to the end of the last, in seconds.
        cpu_seconds: Processor time of all, user and system, in seconds.
        memory_mb: Sum of the peak memory of all, read until shortly before they end, in MB (10^6 bytes).
    """

    seconds: float
    cpu_seconds: float
    memory_mb: float


def run_group(members: Sequence[Member]) -> GroupCost:
    """Run processes at the same time, each on its cores, and wait for all.

    Raises:
        FractureEdgeError: A process failed.
    """
    started = time.perf_counter()
    processes = [_start(member) for member in members]
    for process, member in zip(processes, members, strict=True):
        assert process.stdin is not None  # noqa: S101
        process.stdin.write(b"".join(os.fsencode(file) + b"\0" for file in member.files))
        process.stdin.close()
    ended: dict[int, tuple[int, float]] = {}
    peaks = dict.fromkeys((process.pid for process in processes), 0.0)
    while len(ended) < len(processes):
        for pid in peaks.keys() - ended.keys():
            peaks[pid] = max(peaks[pid], _peak_mb(pid))
            found, status, usage = os.wait4(pid, os.WNOHANG)
            if found:
                ended[pid] = status, usage.ru_utime + usage.ru_stime
        time.sleep(_POLL_SECONDS)
    seconds = time.perf_counter() - started
    for process, member in zip(processes, members, strict=True):
        process.returncode = os.waitstatus_to_exitcode(ended[process.pid][0])
        if process.returncode:
            raise FractureEdgeError(f"{' '.join(member.arguments)} failed: exit status {process.returncode}")
    cpu_seconds = sum(used for _, used in ended.values())
    return GroupCost(round(seconds, 3), round(cpu_seconds, 3), round(sum(peaks.values()), 1))


def _peak_mb(pid: int) -> float:
    """Read the peak memory of a process so far; 0 if it has ended.

    Not the peak that `wait4` reports, which begins with the memory of the process that started it.
    """
    for line in Path(f"/proc/{pid}/status").read_text(encoding="utf-8").splitlines():
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) * 1024 / 1e6
    return 0.0


def _start(member: Member) -> "subprocess.Popen[bytes]":
    cores = ",".join(map(str, sorted(member.cores)))
    return subprocess.Popen(  # noqa: S603
        ["taskset", "--cpu-list", cores, sys.executable, "-P", *member.arguments],  # noqa: S607
        stdin=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        env={**os.environ, "PYTHONPATH": str(_ROOT), "OPENBLAS_NUM_THREADS": "1"},
    )
