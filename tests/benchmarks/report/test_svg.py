import re
from typing import Any

import matplotlib as mpl
import numpy as np
import pytest

from benchmarks.report.labels import place_labels
from benchmarks.report.svg import INK, SERIES, inline
from train.evaluation.metrics import BINS, reliability


def _draw(figure: Any) -> None:
    axes = figure.subplots()
    (line,) = axes.plot([1, 2], [3, 4], "o-", color=SERIES[1])
    line.set_gid("line-0")
    axes.set_title("AUROC < 1 & $x$")


def test_variables_ids_names_and_text() -> None:
    drawing = inline("one", 'two "quotes" <b>', (4, 3), _draw, {"line-0": "3 < 4"})
    assert drawing.startswith(
        '<svg role="img" aria-labelledby="one-title" viewBox="0 0 288 216">'
        '<title id="one-title">two &quot;quotes&quot; &lt;b&gt;</title>'
    )
    assert drawing.endswith("</svg>")
    assert '<g id="one-line-0"><title>3 &lt; 4</title>' in drawing
    assert "var(--series-2)" in drawing
    assert "AUROC &lt; 1 &amp; $x$</text>" in drawing
    assert all(name.startswith("one-") for name in re.findall(r'(?:id="|url\(#|href="#)([^")]+)', drawing))
    assert "http" not in drawing


def test_equal_drawings_are_equal_but_for_their_ids() -> None:
    one, other = (inline(name, "t", (4, 3), _draw) for name in ("one", "two"))
    assert one == inline("one", "t", (4, 3), _draw)
    assert one.replace("one-", "two-") == other


def test_settings_of_matplotlib_neither_matter_nor_change() -> None:
    before = inline("one", "t", (4, 3), _draw)
    with mpl.rc_context({"axes.facecolor": "red", "font.size": 30}):
        assert inline("one", "t", (4, 3), _draw) == before
        assert mpl.rcParams["font.size"] == 30


def test_labels_do_not_cover_each_other() -> None:
    found: list[Any] = []

    def draw(figure: Any) -> None:
        axes = figure.subplots()
        points = [(1.0, 1.0)] * 5 + [(3.0, 3.0)]
        axes.scatter(*zip(*points, strict=True), color=INK)
        place_labels(figure, axes, points, list("123456"), [36.0] * 6)
        found.extend(axes.texts)

    inline("one", "t", (4, 3), draw)
    assert [text.get_text() for text in found] == list("123456")
    spots = [text.xyann for text in found[:5]]
    for number, spot in enumerate(spots):
        # Outside the mark, whose radius is 3.4 points, and 14 points from the other labels, each of radius 7.
        assert np.hypot(*spot) > 10
        assert all(np.hypot(spot[0] - x, spot[1] - y) >= 13.9 for x, y in spots[:number])
    # Alone, the first direction is free.
    assert found[5].xyann == pytest.approx(found[0].xyann)


def test_reliability_of_what_is_right_by_design() -> None:
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
