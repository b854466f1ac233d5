"""Latency percentiles of functions that take turns, so that changes of the machine's speed affect all equally."""

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

#: Number of uncounted first rounds: caches fill, lazy initialisation happens, the CPU clock rises.
WARM_UP = 20


@dataclass(frozen=True, slots=True)
class Percentiles:
    """Percentiles of a duration over many runs.

    Attributes:
        p50: Median, in milliseconds (microseconds for the overhead of the timing code).
        p90: 90th percentile, in the same unit.
        p99: 99th percentile, in the same unit.
        runs: Number of runs.
    """

    p50: float
    p90: float
    p99: float
    runs: int


def interleaved(
    functions: Mapping[str, Callable[[Any], object]], inputs: Sequence[Any], runs: int
) -> dict[str, Percentiles]:
    """Time functions in turns, one call of each per round, and summarise their latency.

    Args:
        functions: Functions of one argument by name.
        inputs: Arguments, used in turn; in one round all functions get the same one.
        runs: Number of timed rounds, after `WARM_UP` uncounted ones.

    Returns:
        Latency percentiles by name.
    """
    return {name: summary(seconds) for name, seconds in rounds(functions, inputs, runs).items()}


def rounds(
    functions: Mapping[str, Callable[[Any], object]], inputs: Sequence[Any], runs: int
) -> dict[str, list[float]]:
    """Time functions in turns, one call of each per round; arguments as in `interleaved`.

    Returns:
        Seconds of each timed round by name.
    """
    seconds: dict[str, list[float]] = {name: [] for name in functions}
    for number in range(WARM_UP + runs):
        value = inputs[number % len(inputs)]
        for name, call in functions.items():
            started = time.perf_counter()
            call(value)
            taken = time.perf_counter() - started
            if number >= WARM_UP:
                seconds[name].append(taken)
    return seconds


def summary(seconds: Sequence[float]) -> Percentiles:
    """Compute percentiles in milliseconds of durations in seconds."""
    p50, p90, p99 = (float(np.percentile(seconds, p)) * 1000 for p in (50, 90, 99))
    return Percentiles(p50, p90, p99, len(seconds))
