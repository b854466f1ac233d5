"""Latency: percentiles over many runs, runtimes taking turns, so that a drifting machine hurts all alike."""

import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

#: Rounds thrown away: caches, lazy initialisation, clocks that speed up.
WARM_UP = 20
PERCENTILES = (50, 90, 99)


def interleaved(
    contenders: Mapping[str, Callable[[Any], object]], inputs: Sequence[Any], runs: int
) -> dict[str, dict[str, float]]:
    """Time each contender `runs` times, one call of each per round.

    Args:
        contenders: By name, what to call with one input.
        inputs: Used in turn; in one round all contenders get the same.
        runs: Rounds that count, after `WARM_UP` that do not.

    Returns:
        By name, percentiles in milliseconds (``p50``, ``p90``, ``p99``) and ``runs``.
    """
    seconds: dict[str, list[float]] = {name: [] for name in contenders}
    for number in range(WARM_UP + runs):
        value = inputs[number % len(inputs)]
        for name, call in contenders.items():
            started = time.perf_counter()
            call(value)
            taken = time.perf_counter() - started
            if number >= WARM_UP:
                seconds[name].append(taken)
    return {
        name: {f"p{p}": float(np.percentile(values, p)) * 1000 for p in PERCENTILES} | {"runs": runs}
        for name, values in seconds.items()
    }
