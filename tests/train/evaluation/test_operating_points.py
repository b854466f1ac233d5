import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fracture_edge.policy import Policy
from train.evaluation.operating_points import AIMS, Aim, choose_threshold, fit_band, fit_operating_points

BALANCED = AIMS["balanced"]


def _simulate(seed: int, count: int) -> tuple[np.ndarray, np.ndarray]:
    """Sample labels of both classes, and scores that are associated with them."""
    random = np.random.default_rng(seed)
    labels = (random.random(count) < 0.4).astype(int)
    labels[:2] = 0, 1
    scores = 1 / (1 + np.exp(-random.normal(2 * labels - 1, random.uniform(0.3, 3))))
    return labels, scores


def _youden(labels: np.ndarray, scores: np.ndarray, threshold: float) -> float:
    predicted = scores >= threshold
    return predicted[labels == 1].mean() - predicted[labels == 0].mean()


def _decided(labels: np.ndarray, scores: np.ndarray, low: float, high: float) -> tuple[float, float, float]:
    """Compute sensitivity and specificity outside the band, and the share inside, as the classifier decides."""
    decisions = [Policy((low + high) / 2, low, high).decide(float(score))[0] for score in scores]
    counts = {
        (decision, label): sum(d == decision and int(t) == label for d, t in zip(decisions, labels, strict=True))
        for decision in ("fractured", "not_fractured")
        for label in (0, 1)
    }
    found, missed = counts["fractured", 1], counts["not_fractured", 1]
    cleared, alarmed = counts["not_fractured", 0], counts["fractured", 0]
    return (
        found / (found + missed) if found + missed else 0.0,
        cleared / (cleared + alarmed) if cleared + alarmed else 0.0,
        decisions.count("uncertain") / len(labels),
    )


@settings(max_examples=40, deadline=None)
@given(seed=st.integers(0, 10_000), count=st.integers(2, 60), decimals=st.sampled_from([1, 2, 9]))
def test_threshold_is_youdens_maximum(seed: int, count: int, decimals: int) -> None:
    labels, scores = _simulate(seed, count)
    scores = scores.round(decimals).clip(0.05, 0.95)
    threshold = choose_threshold(labels, scores)
    best = max(_youden(labels, scores, t) for t in [*scores, 1.0])
    assert _youden(labels, scores, threshold) == pytest.approx(best, abs=1e-12)
    # Halfway between two neighbouring scores, unless every image is predicted fractured.
    below, above = scores[scores < threshold], scores[scores >= threshold]
    if below.size:
        upper = above.min() if above.size else 1.0
        assert threshold == pytest.approx((below.max() + upper) / 2, abs=1e-12)
        assert below.max() < threshold < upper


def test_threshold_by_hand() -> None:
    labels = [0, 0, 1, 1, 0, 1]
    scores = np.array([0.1, 0.2, 0.3, 0.4, 0.6, 0.9])
    # At 0.3: 3/3 - 1/3 = 0.67; at 0.4: 2/3 - 1/3; at 0.9: 1/3 - 0.
    assert choose_threshold(labels, scores) == pytest.approx(0.25, abs=1e-12)


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 10_000), count=st.integers(4, 40), decimals=st.sampled_from([1, 9]))
def test_no_band_decides_more_images_as_well(seed: int, count: int, decimals: int) -> None:
    labels, scores = _simulate(seed, count)
    scores = scores.round(decimals)
    threshold = choose_threshold(labels, scores)
    point = fit_band(labels, scores, threshold, BALANCED)
    assert point.uncertain_low <= threshold <= point.uncertain_high
    figures = _decided(labels, scores, point.uncertain_low, point.uncertain_high)
    assert figures == pytest.approx((point.sensitivity, point.specificity, point.uncertain_share), abs=1e-12)
    ends = [0.0, *np.unique(scores), np.nextafter(1.0, 2)]
    lows = [end for end in [*ends, threshold] if end <= threshold]
    highs = [min(end, 1.0) for end in [*ends, threshold] if end >= threshold]
    all_bands = [_decided(labels, scores, low, high) for low in lows for high in highs]
    good = [band for band in all_bands if band[0] >= 0.95 and band[1] >= 0.95]
    if good:
        assert min(point.sensitivity, point.specificity) >= 0.95
        assert point.uncertain_share == pytest.approx(min(band[2] for band in good), abs=1e-12)
    else:
        short = min(max(0.95 - band[0], 0.95 - band[1]) for band in all_bands)
        assert 0.95 - min(point.sensitivity, point.specificity) == pytest.approx(short, abs=1e-9)


def test_band_by_hand() -> None:
    # Ten of each; the highest two of the others lie among the fractured, and the lowest fractured among them.
    others = np.array([0.05, 0.1, 0.15, 0.2, 0.25, 0.3, 0.35, 0.4, 0.6, 0.8])
    fractured = np.array([0.33, 0.5, 0.55, 0.65, 0.7, 0.75, 0.85, 0.9, 0.95, 0.99])
    labels = np.repeat([0, 1], 10)
    scores = np.concatenate([others, fractured])
    threshold = choose_threshold(labels, scores)
    assert threshold == pytest.approx(0.45)
    # Not one may be wrong among so few: 0.33 and 0.8, and all between them, stay undecided.
    point = fit_band(labels, scores, threshold, Aim(0.95, 0.95))
    assert (point.uncertain_low, point.uncertain_high) == pytest.approx((0.315, 0.825))
    assert (point.sensitivity, point.specificity, point.uncertain_share) == (1.0, 1.0, 10 / 20)
    # A weaker aim for the others: one alarm in nine, and only 0.33 to 0.6 are undecided.
    point = fit_band(labels, scores, threshold, Aim(0.95, 0.85))
    assert (point.uncertain_low, point.uncertain_high) == pytest.approx((0.315, 0.625))
    assert (point.sensitivity, point.specificity) == (1.0, pytest.approx(6 / 7))


def test_no_band_where_the_threshold_suffices() -> None:
    labels = np.repeat([0, 1], 50)
    scores = np.concatenate([np.linspace(0.01, 0.3, 50), np.linspace(0.7, 0.99, 50)])
    point = fit_band(labels, scores, 0.5, BALANCED)
    assert (point.uncertain_low, point.uncertain_high, point.uncertain_share) == (0.5, 0.5, 0.0)


def test_three_points_for_three_purposes() -> None:
    random = np.random.default_rng(3)
    labels = np.repeat([0, 1], [400, 100])
    scores = 1 / (1 + np.exp(-random.normal(3 * labels - 1.5, 1.3)))
    points = fit_operating_points(labels.tolist(), scores)
    assert list(points) == ["balanced", "screening", "specific"]
    for name, aim in AIMS.items():
        assert points[name]["sensitivity"] >= aim.sensitivity
        assert points[name]["specificity"] >= aim.specificity
    predicted = {name: scores >= point["threshold"] for name, point in points.items()}
    # Without a band: 95 of the 100 fractured, and 380 of the 400 others; more of the latter only where it costs
    # none of the former.
    assert predicted["screening"][labels == 1].sum() == 95
    assert (~predicted["specific"])[labels == 0].sum() >= 380
    alarms_allowed = np.sort(scores[labels == 0])[-21]
    assert predicted["specific"][labels == 1].sum() == (scores[labels == 1] > alarms_allowed).sum()
    assert points["screening"]["threshold"] <= points["balanced"]["threshold"] < points["specific"]["threshold"]


def test_many_scores_take_no_more_memory() -> None:
    labels, scores = _simulate(1, 40_000)
    point = fit_band(labels, scores, choose_threshold(labels, scores), BALANCED)
    # 500 edges on each side of 40,000 images: each stands for some 40 of them.
    assert (point.sensitivity, point.specificity) == (pytest.approx(0.95, abs=2e-3), pytest.approx(0.95, abs=2e-3))
