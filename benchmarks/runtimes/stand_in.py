"""Runner with a known latency, to measure and test the timing code itself."""

import json
import math
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from benchmarks.runtimes.runners import Runner
from fracture_edge.modelfile import ModelInfo
from fracture_edge.policy import Policy
from fracture_edge.preprocess import Preprocessing

IDLE, SLEEP = "idle", "sleep"
_INFO = ModelInfo("stand-in", "none", "none", Preprocessing(64, 64), Policy(0.5, 0.5, 0.5))


@dataclass(frozen=True, slots=True)
class _Behaviour:
    """Contents of the JSON model file of a stand-in.

    Attributes:
        seconds: Duration of each call.
        calls: Number of calls after which it fails.
        log: Path of a file to which every call appends a line: the model file's stem, and start and end time by
            `time.perf_counter`, a clock that all processes share on Linux.
    """

    seconds: float = 0
    calls: float = math.inf
    log: str = ""


class StandIn(Runner):
    """Runner that sleeps for the time in its model file, or does nothing."""

    runtime = SLEEP

    def __init__(self, path: Path | None, threads: int) -> None:
        """Read the model file; without one, calls return immediately."""
        super().__init__(path, _INFO, SLEEP if path else IDLE)
        behaviour = _Behaviour(**json.loads(path.read_text(encoding="utf-8"))) if path else _Behaviour()
        self._seconds, self._calls = behaviour.seconds, behaviour.calls
        self._log = Path(behaviour.log) if behaviour.log else None

    def probabilities(self, pixels: npt.NDArray[np.uint8]) -> npt.NDArray[np.floating[Any]]:
        """Return zeros, [N]."""
        if self._calls < 1:
            raise RuntimeError("no calls left")
        self._calls -= 1
        if self._seconds:
            started = time.perf_counter()
            time.sleep(self._seconds)
            if self._log and self.path:
                with self._log.open("a") as stream:
                    stream.write(f"{self.path.stem} {started} {time.perf_counter()}\n")
        return np.zeros(len(pixels))

    def close(self) -> None:
        """Do nothing."""
