"""Control worker processes (`benchmarks.runtimes.worker`): one command at a time, paused in between."""

import json
import os
import signal
import subprocess
import sys
import tempfile
import threading
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Any

from fracture_edge.errors import FractureEdgeError

#: A message of the protocol between coordinator and worker, see `benchmarks.runtimes.worker`.
Message = dict[str, Any]
_COMMAND = (sys.executable, "-P", "-m", "benchmarks.runtimes.worker")


class WorkerError(FractureEdgeError):
    """A worker failed, died or timed out, as the message says."""


class WorkerProcess:
    """One model file in one runtime, in a separate process that is pinned to as many cores as it has threads.

    Between commands the process is stopped with SIGSTOP, where the system has it: the threads of some runtimes
    spin for a while after each inference and would slow down the next worker.

    Attributes:
        cores: Numbers of the cores that the worker may use; ``None`` if the system cannot pin processes.
    """

    def __init__(
        self,
        runtime: str,
        path: Path | None,
        *,
        threads: int,
        images: Sequence[Path] = (),
        timeout_s: float = 600,
    ) -> None:
        """Start the process and wait until the model is loaded.

        Args:
            runtime: Runtime, one of `benchmarks.runtimes.runners.Runtime`, or ``idle`` or ``sleep`` for a
                `benchmarks.runtimes.stand_in.StandIn`.
            path: Path of the model file; ``None`` for the embedded model.
            threads: Number of threads of one inference.
            images: Image files for the timing; they are read and preprocessed at once.
            timeout_s: Time limit in seconds of loading and of each command.

        Raises:
            FractureEdgeError: More threads than cores.
            WorkerError: The model could not be loaded.
        """
        cores = cores_for(threads)
        self._timeout_s, self._timed_out = timeout_s, False
        self._messages = tempfile.TemporaryFile()  # noqa: SIM115 (as long as the process)
        self._process = subprocess.Popen(  # noqa: S603
            _COMMAND,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._messages,
            env=_environment(threads),
            encoding="utf-8",
        )
        self._stopped = False
        job = {"runtime": runtime, "path": str(path) if path else None, "threads": threads, "cores": cores}
        try:
            self.cores: list[int] | None = self._exchange(job | {"images": list(map(str, images))})["cores"]
        except BaseException:
            self.close()
            raise
        self._stop()

    @property
    def pid(self) -> int:
        """Id of the process."""
        return self._process.pid

    def ask(self, command: str, **arguments: object) -> Message:
        """Send a command of `benchmarks.runtimes.worker` and wait for its reply.

        Args:
            command: Name of the command.
            **arguments: Arguments of the command.

        Raises:
            WorkerError: The worker failed, died or timed out.
        """
        self._resume()
        try:
            return self._exchange({"command": command, **arguments})
        finally:
            self._stop()

    def _exchange(self, message: Message) -> Message:
        if self._process.stdin is None or self._process.stdout is None:  # for mypy: both are pipes
            raise WorkerError("has no pipes")
        # Killing the process ends its output and so `readline`: a timeout that works on every system.
        timer = threading.Timer(self._timeout_s, self._expire)
        timer.start()
        try:
            self._process.stdin.write(json.dumps(message) + "\n")
            self._process.stdin.flush()
            line = self._process.stdout.readline()
        except BrokenPipeError:
            line = ""
        finally:
            timer.cancel()
        if not line:
            raise WorkerError(self._cause_of_death())
        reply: Message = json.loads(line)
        if "error" in reply:
            raise WorkerError(reply["error"])
        return reply

    def _expire(self) -> None:
        self._timed_out = True
        self._process.kill()

    def _cause_of_death(self) -> str:
        status = self._process.wait()
        if self._timed_out:
            return f"no answer within {self._timeout_s:g} s"
        if status < 0:
            name = signal.Signals(-status).name
            return f"was killed by {name}" + (": out of memory?" if name == "SIGKILL" else "")
        self._messages.seek(0)
        last = self._messages.read().decode(errors="replace").strip().splitlines()
        return f"ended with {status}" + (f": {last[-1]}" if last else "")

    def _stop(self) -> None:
        if hasattr(signal, "SIGSTOP") and self._process.poll() is None:
            self._process.send_signal(signal.SIGSTOP)
            self._stopped = True

    def _resume(self) -> None:
        if self._stopped:
            self._process.send_signal(signal.SIGCONT)
            self._stopped = False

    def close(self) -> None:
        """End the process."""
        self._process.kill()
        self._process.wait()
        for stream in (self._process.stdin, self._process.stdout, self._messages):
            # Data that a dead worker has not read cannot be flushed.
            with suppress(BrokenPipeError):
                if stream is not None:
                    stream.close()

    def __enter__(self) -> "WorkerProcess":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def cores_for(threads: int) -> list[int] | None:
    """Return the cores for a worker, as many as it has threads; ``None`` if the system cannot pin processes.

    Args:
        threads: Number of threads of the worker.

    Raises:
        FractureEdgeError: More threads than cores that this process may use.
    """
    if not hasattr(os, "sched_setaffinity"):
        return None
    ours = sorted(os.sched_getaffinity(0))
    if threads > len(ours):
        raise FractureEdgeError(f"{threads} threads: this process may only use {len(ours)} cores")
    return ours[:threads]


def _environment(threads: int) -> dict[str, str]:
    ours = dict(os.environ)
    # Installed packages come with bytecode; with this variable every start would compile our modules again.
    ours.pop("PYTHONDONTWRITEBYTECODE", None)
    return ours | {
        "OPENBLAS_NUM_THREADS": str(threads),
        "KERAS_BACKEND": "tensorflow",
        "TF_CPP_MIN_LOG_LEVEL": "3",
        # All runtimes are compared on the CPU.
        "CUDA_VISIBLE_DEVICES": "-1",
    }


#: From Linux's sys/prctl.h.
_PR_SET_PDEATHSIG = 1


def die_with(parent: int) -> None:
    """Let Linux kill this process when its parent process dies, even by SIGKILL.

    On every system, exit at once if the parent is dead already.

    Args:
        parent: Process id of the parent.
    """
    if sys.platform == "linux":
        import ctypes

        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:
        raise SystemExit(1)
