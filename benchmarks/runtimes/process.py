"""A `benchmarks.runtimes.worker` as the coordinator sees it: asked one thing at a time, and stopped in between."""

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

#: A line of the protocol between coordinator and worker, which `benchmarks.runtimes.worker` describes.
Message = dict[str, Any]
_COMMAND = (sys.executable, "-P", "-m", "benchmarks.runtimes.worker")


class WorkerError(FractureEdgeError):
    """A worker failed, died or took too long; the text says which."""


class WorkerProcess:
    """One model file in one runtime, in a process of its own that is pinned to as many cores as it has threads.

    While it is not asked it is stopped (SIGSTOP, where there is such a thing): the threads of some runtimes spin
    for a while after each inference and would take the processor from the next one.

    Attributes:
        cores: Cores that the worker may use; ``None`` where processes cannot be pinned.
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
        """Start it and wait until the model is loaded.

        Args:
            runtime: See `benchmarks.runtimes.runners.load_runner`; or ``idle`` or ``sleep``.
            path: Of the model file.
            threads: Of one inference.
            images: What it shall be timed on; read and preprocessed now.
            timeout_s: Of every answer, the first one included.

        Raises:
            FractureEdgeError: More threads than cores.
            WorkerError: It failed to load the model.
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
        """Have a command of `benchmarks.runtimes.worker` done, and wait for it.

        Raises:
            WorkerError: It failed, died or took too long.
        """
        self._resume()
        try:
            return self._exchange({"command": command, **arguments})
        finally:
            self._stop()

    def _exchange(self, message: Message) -> Message:
        if self._process.stdin is None or self._process.stdout is None:  # never: both are pipes
            raise WorkerError("has no pipes")
        # Killed, it ends its output, and the reading below ends; a timeout that works on every system.
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
            raise WorkerError(self._epitaph())
        answer: Message = json.loads(line)
        if "error" in answer:
            raise WorkerError(answer["error"])
        return answer

    def _expire(self) -> None:
        self._timed_out = True
        self._process.kill()

    def _epitaph(self) -> str:
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
            # What a dead worker was not told any more cannot be flushed.
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
    """The cores of a worker: as many of ours as it has threads; ``None`` where processes cannot be pinned.

    Raises:
        FractureEdgeError: More threads than cores.
    """
    if not hasattr(os, "sched_setaffinity"):
        return None
    ours = sorted(os.sched_getaffinity(0))
    if threads > len(ours):
        raise FractureEdgeError(f"{threads} threads: this process may use {len(ours)} cores only")
    return ours[:threads]


def _environment(threads: int) -> dict[str, str]:
    ours = dict(os.environ)
    # An installed package has its bytecode; without it every start would compile our modules anew.
    ours.pop("PYTHONDONTWRITEBYTECODE", None)
    return ours | {
        "OPENBLAS_NUM_THREADS": str(threads),
        "KERAS_BACKEND": "tensorflow",
        "TF_CPP_MIN_LOG_LEVEL": "3",
        # All runtimes are compared on the processor.
        "CUDA_VISIBLE_DEVICES": "-1",
    }


#: From Linux's sys/prctl.h.
_PR_SET_PDEATHSIG = 1


def die_with(parent: int) -> None:
    """Have Linux kill this process when the one that started it dies, even by SIGKILL.

    Args:
        parent: Its process id; if it is dead already, this process ends here, on every system with such ids.
    """
    if sys.platform == "linux":
        import ctypes

        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:
        raise SystemExit(1)
