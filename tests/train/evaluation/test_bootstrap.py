import numpy as np
import pytest
from sklearn.metrics import (
    average_precision_score,
    balanced_accuracy_score,
    brier_score_loss,
    f1_score,
    roc_auc_score,
    roc_curve,
)

from train.evaluation.bootstrap import Roc, calibration_error, f1, mean, resample_weights, resampled, share

IMAGES, DRAWS = 120, 40


@pytest.fixture(scope="module")
def sample() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Labels, scores with many ties, and weights of some bootstrap samples, zeros among them."""
    random = np.random.default_rng(0)
    truth = random.random(IMAGES) < 0.3
    scores = np.clip(0.3 * truth + random.normal(0.3, 0.2, IMAGES), 0, 1).round(2)
    weights = random.poisson(1, (DRAWS, IMAGES)).astype(float)
    return truth, scores, weights


def test_every_sample_equals_scikit_learn_with_its_weights(
    sample: tuple[np.ndarray, np.ndarray, np.ndarray],
) -> None:
    truth, scores, weights = sample
    predicted = scores >= 0.4
    curve = Roc.of(truth, scores, weights)
    balanced = (share(predicted, truth, weights) + share(~predicted, ~truth, weights)) / 2
    found = np.stack(
        [
            curve.area(),
            curve.average_precision(),
            curve.sensitivity(false_positive_rate=0.1),
            f1(predicted, truth, weights),
            balanced,
            mean((scores - truth) ** 2, weights),
        ],
        axis=1,
    )
    for row, each in zip(found, weights, strict=True):
        rates, sensitivities, _ = roc_curve(truth, scores, sample_weight=each, drop_intermediate=False)
        expected = [
            roc_auc_score(truth, scores, sample_weight=each),
            average_precision_score(truth, scores, sample_weight=each),
            sensitivities[rates <= 0.1].max(),
            f1_score(truth, predicted, sample_weight=each),
            balanced_accuracy_score(truth, predicted, sample_weight=each),
            brier_score_loss(truth, scores, sample_weight=each),
        ]
        # Sums in another order: rounding only.
        assert row == pytest.approx(expected, abs=1e-12)


def test_calibration_error_of_a_sample_is_that_of_its_images(
    sample: tuple[np.ndarray, np.ndarray, np.ndarray],
) -> None:
    truth, scores, weights = sample
    for found, each in zip(calibration_error(truth, scores, weights), weights.astype(int), strict=True):
        is_fractured, said = np.repeat(truth, each), np.repeat(scores, each)
        expected = 0.0
        for number in range(10):
            inside = (said > number / 10) & (said <= (number + 1) / 10) | ((said == 0) & (number == 0))
            if inside.any():
                expected += inside.mean() * abs(said[inside].mean() - is_fractured[inside].mean())
        assert found == pytest.approx(expected, abs=1e-12)


def test_samples_have_complete_groups_and_both_classes() -> None:
    groups = ["a", "a", "b", "c", "c", "c", "d"]
    labels = np.array([1, 1, 0, 0, 0, 0, 0])
    drawn = np.concatenate(list(resample_weights(labels, groups, resamples=600, seed=1)))
    assert drawn.shape == (600, 7)
    first = drawn[:, [0, 2, 3, 6]]
    assert (first.sum(axis=1) == 4).all()
    assert (drawn == first[:, [0, 0, 1, 2, 2, 2, 3]]).all()
    assert ((first[:, 0] > 0) & (first[:, 0] < 4)).all()
    # "a" comes 1, 2 or 3 times of 4 as the binomial distribution has it: 1.459 times on average.
    shares = np.array([4 * 27, 6 * 9, 4 * 3]) / 256
    expected = (shares * [1, 2, 3]).sum() / shares.sum()
    # The standard error of 600 samples is 0.025.
    assert first[:, 0].mean() == pytest.approx(expected, abs=0.08)


def test_samples_do_not_depend_on_their_number() -> None:
    labels, groups = np.array([1, 0, 0, 1, 0]), list("abcde")
    few = np.concatenate(list(resample_weights(labels, groups, resamples=10, seed=3)))
    many = np.concatenate(list(resample_weights(labels, groups, resamples=700, seed=3)))
    assert (few == many[:10]).all()
    assert (np.concatenate(list(resample_weights(labels, groups, resamples=10, seed=4))) != few).any()


def test_statistics_share_their_samples() -> None:
    labels, groups = np.array([1, 0, 0, 1, 0]), list("abcde")
    found = resampled(
        lambda weights: {"first": weights[:, 0], "rest": weights[:, 1:].sum(axis=1)},
        labels,
        groups,
        resamples=300,
        seed=0,
    )
    assert (found["first"] + found["rest"] == 5).all()
    assert len(found["first"]) == 300
