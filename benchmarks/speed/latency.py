"""Latency: percentiles over many runs, runtimes taking turns, so that a drifting machine hurts all alike."""

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

#: Rounds thrown away: caches, lazy initialisation, clocks that speed up.
WARM_UP = 20


@dataclass(frozen=True, slots=True)
class Percentiles:
    """How long something takes over many runs.

    Attributes:
        p50: Median; milliseconds, like the next two.
        p90: 90th percentile.
        p99: 99th percentile.
        runs: Number of runs.
    """

    p50: float
    p90: float
    p99: float
    runs: int


def interleaved(
    contenders: Mapping[str, Callable[[Any], object]], inputs: Sequence[Any], runs: int
) -> dict[str, Percentiles]:
    """Time each contender `runs` times, one call of each per round.

    Args:
        contenders: By name, what to call with one input.
        inputs: Used in turn; in one round all contenders get the same.
        runs: Rounds that count, after `WARM_UP` that do not.

    Returns:
        Percentiles by name.
    """
    return {name: summary(seconds) for name, seconds in rounds(contenders, inputs, runs).items()}


def rounds(
    contenders: Mapping[str, Callable[[Any], object]], inputs: Sequence[Any], runs: int
) -> dict[str, list[float]]:
    """What `interleaved` summarises: the seconds of every counted round by name; arguments as there."""
    seconds: dict[str, list[float]] = {name: [] for name in contenders}
    for number in range(WARM_UP + runs):
        value = inputs[number % len(inputs)]
        for name, call in contenders.items():
            started = time.perf_counter()
            call(value)
            taken = time.perf_counter() - started
            if number >= WARM_UP:
                seconds[name].append(taken)
    return seconds


def summary(seconds: Sequence[float]) -> Percentiles:
    """Summarise the runs in milliseconds."""
    p50, p90, p99 = (float(np.percentile(seconds, p)) * 1000 for p in (50, 90, 99))
    return Percentiles(p50, p90, p99, len(seconds))
