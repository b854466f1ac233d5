import time
from dataclasses import asdict

import pytest

from benchmarks.speed.latency import WARM_UP, interleaved, summary


def test_functions_take_turns_on_the_same_inputs() -> None:
    calls: list[tuple[str, int]] = []
    interleaved({"a": lambda x: calls.append(("a", x)), "b": lambda x: calls.append(("b", x))}, [7, 8, 9], 4)
    rounds = WARM_UP + 4
    assert calls == [(name, (7, 8, 9)[k % 3]) for k in range(rounds) for name in ("a", "b")]


def test_a_known_sleep_is_measured() -> None:
    result = interleaved({"slow": lambda _: time.sleep(0.004), "quick": lambda _: None}, [0], 30)
    # A sleep is never shorter than asked for; an idle system adds well under a millisecond at the median,
    # a busy one more, so only the lower bound and the order are certain.
    assert result["slow"].p50 >= 4.0
    assert result["slow"].p50 <= result["slow"].p90 <= result["slow"].p99
    assert result["quick"].p50 < 4.0
    assert result["slow"].runs == 30


def test_percentiles_of_known_times() -> None:
    # 1 to 101 ms, unsorted: the k-th percentile of 101 sorted values is the (k + 1)-th.
    milliseconds = [(k * 37) % 101 + 1 for k in range(101)]
    found = summary([value / 1000 for value in milliseconds])
    assert asdict(found) == pytest.approx({"p50": 51, "p90": 91, "p99": 100, "runs": 101})
