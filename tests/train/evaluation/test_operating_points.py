import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fracture_edge.modelfile import OPERATING_POINTS
from fracture_edge.policy import Policy
from train.evaluation.operating_points import (
    AIMS,
    DEFAULT,
    RULES,
    Aim,
    choose_threshold,
    fit_band,
    fit_operating_points,
    nested_decisions,
)

CERTAIN = AIMS["certain"]


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
    point = fit_band(labels, scores, threshold, CERTAIN)
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
    point = fit_band(labels, scores, 0.5, CERTAIN)
    assert (point.uncertain_low, point.uncertain_high, point.uncertain_share) == (0.5, 0.5, 0.0)


def _two_normals(seed: int = 3) -> tuple[np.ndarray, np.ndarray]:
    """400 images that are not fractured and 100 that are; their log-odds are normal with d' = 3 / 1.3."""
    random = np.random.default_rng(seed)
    labels = np.repeat([0, 1], [400, 100])
    return labels, 1 / (1 + np.exp(-random.normal(3 * labels - 1.5, 1.3)))


def test_four_points_for_four_purposes() -> None:
    labels, scores = _two_normals()
    points = fit_operating_points(labels.tolist(), scores)
    assert (tuple(points), DEFAULT) == (OPERATING_POINTS, OPERATING_POINTS[0])
    assert {name: (aim.sensitivity, aim.specificity) for name, aim in AIMS.items()} == {
        "balanced": (0.90, 0.90),
        "certain": (0.95, 0.95),
        "screening": (0.95, 0.80),
        "specific": (0.80, 0.95),
    }
    for name, aim in AIMS.items():
        point = points[name]
        assert (point.images, point.nested) == ("validation", None)
        assert (point.sensitivity_margin, point.specificity_margin) == (0, 0)
        figures = _decided(labels, scores, point.uncertain_low, point.uncertain_high)
        assert figures == pytest.approx((point.sensitivity, point.specificity, point.uncertain_share), abs=1e-12)
        assert point.sensitivity >= aim.sensitivity
        assert point.specificity >= aim.specificity
    assert points["certain"].uncertain_share > points["balanced"].uncertain_share
    predicted = {name: scores >= point.threshold for name, point in points.items()}
    # Without a band: 95 of the 100 fractured, and 380 of the 400 others; more of the latter only where it costs
    # none of the former.
    assert predicted["screening"][labels == 1].sum() == 95
    assert (~predicted["specific"])[labels == 0].sum() >= 380
    alarms_allowed = np.sort(scores[labels == 0])[-21]
    assert predicted["specific"][labels == 1].sum() == (scores[labels == 1] > alarms_allowed).sum()
    assert points["screening"].threshold <= points["balanced"].threshold < points["specific"].threshold
    assert points["balanced"].threshold == points["certain"].threshold


def test_intervals_hold_the_values_and_follow_the_groups() -> None:
    random = np.random.default_rng(2)
    labels = np.repeat([0, 1], [350, 150])
    scores = 1 / (1 + np.exp(-random.normal(2 * labels - 1, 1.5)))
    alone = fit_operating_points(labels.tolist(), scores)["balanced"]
    # Every image four times, all copies in one group: no more is known, and the intervals stay as wide.
    copies = [name for name in map(str, range(len(labels))) for _ in range(4)]
    four = fit_operating_points(np.repeat(labels, 4).tolist(), np.repeat(scores, 4), copies)["balanced"]
    for name in ("sensitivity", "specificity", "uncertain_share"):
        low, high = getattr(alone, f"{name}_interval")
        assert low <= getattr(alone, name) <= high
        assert getattr(four, f"{name}_interval") == pytest.approx((low, high), abs=1e-9)
    # By the normal approximation, 2 x 1.96 standard errors of a share of 500 independent images.
    low, high = alone.uncertain_share_interval
    share = alone.uncertain_share
    assert high - low == pytest.approx(3.92 * np.sqrt(share * (1 - share) / 500), rel=0.1)


def test_each_fold_is_decided_by_the_others() -> None:
    labels, scores = _two_normals(5)
    folds = np.arange(500) % 5
    rule = RULES["balanced"]
    decided = nested_decisions(rule, labels, scores, folds)
    for fold in range(5):
        others = folds != fold
        threshold = choose_threshold(labels[others], scores[others])
        band = fit_band(labels[others], scores[others], threshold, rule.aim)
        expected = [
            Policy(threshold, band.uncertain_low, band.uncertain_high).decide(s)[0] for s in scores[~others]
        ]
        names = {1: "fractured", 0: "uncertain", -1: "not_fractured"}
        assert [names[value] for value in decided[folds == fold].tolist()] == expected
    # What a fold's own labels are makes no difference to its decisions.
    changed = np.where(folds == 2, 1 - labels, labels)
    assert (nested_decisions(rule, changed, scores, folds)[folds == 2] == decided[folds == 2]).all()


@pytest.mark.parametrize("seed", range(3))
def test_a_margin_is_added_until_the_other_folds_meet_the_aim(seed: int) -> None:
    random = np.random.default_rng(seed)
    labels = np.repeat([0, 1], [800, 200])
    folds = np.tile(np.arange(5), 200)
    # Each fold has a model of its own, whose scores are shifted: a point of the others fits it badly.
    shift = np.array([-0.8, 0.5, 0.0, 0.6, -0.3])[folds]
    scores = 1 / (1 + np.exp(-random.normal(2.4 * labels - 1.5 + shift, 1.3)))
    points = fit_operating_points(labels.tolist(), scores, folds=folds.tolist())
    raised = 0
    for name, point in points.items():
        aim, nested = AIMS[name], point.nested
        assert point.images == "out-of-fold"
        assert nested is not None
        margins = (point.sensitivity_margin, point.specificity_margin)
        # Whole steps of 0.005, none above 0.04; the fit reaches the raised aim, or is the closest.
        assert all(0 <= margin <= 0.04 and round(margin / 0.005, 6).is_integer() for margin in margins)
        assert point.sensitivity >= min(0.99, aim.sensitivity + margins[0]) - 1e-9
        assert point.specificity >= min(0.99, aim.specificity + margins[1]) - 1e-9
        for value, wanted, margin in zip(
            (nested.sensitivity, nested.specificity), (aim.sensitivity, aim.specificity), margins, strict=True
        ):
            assert value >= wanted or margin == pytest.approx(0.04)
        raised += max(margins) > 0
    assert raised > 0


def test_many_scores_take_no_more_memory() -> None:
    labels, scores = _simulate(1, 40_000)
    point = fit_band(labels, scores, choose_threshold(labels, scores), CERTAIN)
    # 500 edges on each side of 40,000 images: each stands for some 40 of them.
    assert (point.sensitivity, point.specificity) == (pytest.approx(0.95, abs=2e-3), pytest.approx(0.95, abs=2e-3))
