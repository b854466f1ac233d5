import re
from typing import Any

import matplotlib as mpl
import numpy as np
import pytest

from benchmarks.report.labels import place_labels
from benchmarks.report.svg import INK, SERIES, inline
from train.evaluation.metrics import BINS, reliability


def _plot(figure: Any) -> None:
    axes = figure.subplots()
    (line,) = axes.plot([1, 2], [3, 4], "o-", color=SERIES[1])
    line.set_gid("line-0")
    axes.set_title("AUROC < 1 & $x$")


def test_css_variables_ids_titles_and_text() -> None:
    svg = inline("one", 'two "quotes" <b>', (4, 3), _plot, {"line-0": "3 < 4"})
    assert svg.startswith(
        '<svg role="img" aria-labelledby="one-title" viewBox="0 0 288 216">'
        '<title id="one-title">two &quot;quotes&quot; &lt;b&gt;</title>'
    )
    assert svg.endswith("</svg>")
    assert '<g id="one-line-0"><title>3 &lt; 4</title>' in svg
    assert "var(--series-2)" in svg
    assert "AUROC &lt; 1 &amp; $x$</text>" in svg
    assert all(name.startswith("one-") for name in re.findall(r'(?:id="|url\(#|href="#)([^")]+)', svg))
    assert "http" not in svg


def test_equal_plots_differ_only_in_their_ids() -> None:
    one, other = (inline(name, "t", (4, 3), _plot) for name in ("one", "two"))
    assert one == inline("one", "t", (4, 3), _plot)
    assert one.replace("one-", "two-") == other


def test_rcparams_are_neither_used_nor_changed() -> None:
    before = inline("one", "t", (4, 3), _plot)
    with mpl.rc_context({"axes.facecolor": "red", "font.size": 30}):
        assert inline("one", "t", (4, 3), _plot) == before
        assert mpl.rcParams["font.size"] == 30


def test_labels_do_not_cover_each_other() -> None:
    found: list[Any] = []

    def plot(figure: Any) -> None:
        axes = figure.subplots()
        points = [(1.0, 1.0)] * 5 + [(3.0, 3.0)]
        axes.scatter(*zip(*points, strict=True), color=INK)
        place_labels(figure, axes, points, list("123456"), [36.0] * 6)
        found.extend(axes.texts)

    inline("one", "t", (4, 3), plot)
    assert [text.get_text() for text in found] == list("123456")
    spots = [text.xyann for text in found[:5]]
    for number, spot in enumerate(spots):
        # Outside the marker, whose radius is 3.4 points, and 14 points from the other labels, each of radius 7.
        assert np.hypot(*spot) > 10
        assert all(np.hypot(spot[0] - x, spot[1] - y) >= 13.9 for x, y in spots[:number])
    # Alone, the first direction is free.
    assert found[5].xyann == pytest.approx(found[0].xyann)


def test_reliability_of_calibrated_predictions() -> None:
    scores = np.repeat([0.1, 0.5, 0.9, 0.3], 20)
    labels = np.concatenate([np.arange(20) < 20 * score for score in (0.1, 0.5, 0.9, 0.3)])
    order = np.random.default_rng(0).permutation(80)
    mean, share, low, high = reliability(labels[order], scores[order])
    assert len(mean) == BINS
    # Two bins of ten for each score.
    np.testing.assert_allclose(mean, np.repeat([0.1, 0.3, 0.5, 0.9], 2))
    np.testing.assert_allclose(share.reshape(4, 2).mean(axis=1), [0.1, 0.3, 0.5, 0.9])
    assert (low <= share).all()
    assert (share <= high).all()
