from dataclasses import asdict

import pytest

from benchmarks.speed.ratio import ratio


def test_median_and_interval_of_the_rounds() -> None:
    seconds = [0.010] * 40 + [0.011] * 20 + [0.020] * 40
    # Ranks 40 and 59 of 100 bound the median: sqrt(100) * 0.98 on either side of the middle.
    assert asdict(ratio(seconds, [0.010] * 100)) == pytest.approx({"value": 1.1, "low": 1.1, "high": 1.1})


def test_it_is_the_median_of_ratios_not_the_ratio_of_medians() -> None:
    # The machine was half as fast in the second half of the rounds; each round says 2.
    assert asdict(ratio([2, 2, 4, 4], [1, 1, 2, 2])) == {"value": 2.0, "low": 2.0, "high": 2.0}


def test_the_interval_of_few_rounds_spans_all_of_them() -> None:
    assert asdict(ratio([1, 2, 3], [1, 1, 1])) == {"value": 2.0, "low": 1.0, "high": 3.0}
