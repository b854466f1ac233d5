import numpy as np
import pytest

from train.data.augment import Augmentation
from train.data.batches import Batches
from train.data.mixing import Mixing

#: Classes weigh 0.5 and 2.
LABELS = np.array([0, 1, 1, 0, 1, 0, 0, 1], np.float32)
WEIGHTS = np.where(LABELS == 1, 2.0, 0.5).astype(np.float32)
SIDE = 64


def _levels(channels: int = 1) -> np.ndarray:
    """Images of one grey level each, 30 apart."""
    levels = np.arange(10, 250, 30, np.uint8)
    return np.broadcast_to(levels[:, None, None, None], (8, SIDE, SIDE, channels)).copy()


def _mix(augmentation: Augmentation, epoch: int = 0, *, seed: int = 1) -> tuple[np.ndarray, ...]:
    mixing = Mixing(augmentation, seed)
    mixing.start_epoch(epoch)
    return mixing(_levels(), LABELS[:, None], WEIGHTS)


MIXUP, CUTMIX = Augmentation(mixup=1.0), Augmentation(cutmix=1.0)


def test_off_by_default() -> None:
    assert Mixing.of(Augmentation(rotation=9.0, gamma=0.2), 0) is None
    assert Mixing.of(MIXUP, 0) is not None
    assert Mixing.of(CUTMIX, 0) is not None


@pytest.mark.parametrize("augmentation", [MIXUP, CUTMIX, Augmentation(mixup=0.4, cutmix=1.0)])
def test_shapes_and_types(augmentation: Augmentation) -> None:
    images, targets, weights = _mix(augmentation)
    assert (images.shape, images.dtype) == ((8, SIDE, SIDE, 1), np.uint8)
    assert (targets.shape, targets.dtype) == ((8, 1), np.float32)
    assert (weights.shape, weights.dtype) == ((8,), np.float32)
    assert ((targets >= 0) & (targets <= 1)).all()
    assert ((weights >= 0.5) & (weights <= 2)).all()
    # float32 of a few products.
    expected = _share_of_positive(weights)
    np.testing.assert_allclose(targets[:, 0], expected, atol=1e-5)


def _share_of_positive(weights: np.ndarray) -> np.ndarray:
    """With w = 0.5 (1 - s) + 2 s the blended product w y is 2 s."""
    share = (weights - 0.5) / 1.5
    return 2 * share / weights


def test_the_loss_of_a_blend_is_the_blend_of_losses() -> None:
    _, targets, weights = _mix(MIXUP)
    share = (weights.astype(np.float64) - 0.5) / 1.5
    assert np.unique(share.round(4)).size > 3
    for p in (0.1, 0.7):
        positive, negative = -2.0 * np.log(p), -0.5 * np.log(1 - p)
        y = targets[:, 0].astype(np.float64)
        loss = weights * -(y * np.log(p) + (1 - y) * np.log(1 - p))
        np.testing.assert_allclose(loss, share * positive + (1 - share) * negative, rtol=1e-5)


def test_mixup_blends_grey_levels_as_it_blends_labels() -> None:
    images, _, weights = _mix(MIXUP)
    # One grey level again, between two of the batch.
    assert (images == images[:, :1, :1]).all()
    before = _levels()[:, 0, 0, 0].astype(float)
    after, share = images[:, 0, 0, 0].astype(float), (weights - 0.5) / 1.5
    assert (after != before).sum() >= 4
    for k in range(8):
        # Some partner j explains both: after = s before_k + (1 - s) before_j, and the same s for the label.
        found = False
        for j in range(8):
            if before[j] == before[k]:
                found |= abs(after[k] - before[k]) <= 1
                continue
            s = (after[k] - before[j]) / (before[k] - before[j])
            # Half a grey level of rounding.
            slack = 0.51 / abs(before[k] - before[j])
            label = s * LABELS[k] + (1 - s) * LABELS[j]
            found |= -slack <= s <= 1 + slack and abs(label - share[k]) <= slack
        assert found, k


def test_cutmix_labels_follow_the_area() -> None:
    boxes = 0
    for epoch in range(6):
        images, _, weights = _mix(CUTMIX, epoch)
        before = _levels()[:, 0, 0, 0]
        share = (weights - 0.5) / 1.5
        for k in range(8):
            inside = images[k, ..., 0] != before[k]
            if not inside.any():
                # An image mixed with itself, or by less than a pixel.
                continue
            boxes += 1
            rows, columns = np.flatnonzero(inside.any(axis=1)), np.flatnonzero(inside.any(axis=0))
            height, width = np.ptp(rows) + 1, np.ptp(columns) + 1
            # A rectangle of one other image.
            assert inside.sum() == height * width
            (level,) = np.unique(images[k, ..., 0][inside])
            (partner,) = np.flatnonzero(before == level)
            area = height * width / SIDE**2
            expected = (1 - area) * LABELS[k] + area * LABELS[partner]
            # Height and width each lie within a pixel of the sampled box.
            slack = (height + width + 1) / SIDE**2
            assert share[k] == pytest.approx(expected, abs=slack + 1e-5)
    assert boxes > 20


def test_masks_are_mixed_with_their_images() -> None:
    for augmentation in (MIXUP, CUTMIX):
        images, *_ = Mixing(augmentation, 3)(_levels(2), LABELS[:, None], WEIGHTS)
        np.testing.assert_array_equal(images[..., 0], images[..., 1])
        assert (images != _levels(2)).any()


@pytest.mark.parametrize("augmentation", [MIXUP, CUTMIX, Augmentation(mixup=0.4, cutmix=1.0)])
def test_the_mixing_of_an_epoch_depends_on_seed_and_number(augmentation: Augmentation) -> None:
    def epoch(mixing: Mixing, number: int) -> list[bytes]:
        mixing.start_epoch(number)
        batches = [mixing(_levels(), LABELS[:, None], WEIGHTS) for _ in range(3)]
        return [part.tobytes() for batch in batches for part in batch]

    mixing = Mixing(augmentation, 1)
    first, second = epoch(mixing, 0), epoch(mixing, 1)
    assert first != second
    # Batches of one epoch differ too.
    assert len({first[0], first[3], first[6]}) == 3
    # Whatever was sampled before, in this process or another.
    assert epoch(mixing, 0) == first
    assert epoch(Mixing(augmentation, 1), 1) == second
    assert epoch(Mixing(augmentation, 2), 0) != first


def test_each_batch_gets_one_of_both() -> None:
    mixing = Mixing(Augmentation(mixup=1.0, cutmix=1.0), 0)
    plain = []
    for _ in range(12):
        images, *_ = mixing(_levels(), LABELS[:, None], WEIGHTS)
        # MixUp leaves one grey level in an image, CutMix two.
        plain.append(bool((images == images[:, :1, :1]).all()))
    assert 0 < sum(plain) < 12


def test_batches_mix() -> None:
    pixels = _levels()
    labels = LABELS.astype(int).tolist()
    batches = Batches(pixels, labels, batch_size=5, weights={0: 0.5, 1: 2.0}, seed=1, mixing=Mixing.of(CUTMIX, 1))
    first = [part.tobytes() for index in range(2) for part in batches[index]]
    images, targets, weights = batches[1]
    assert (images.shape, targets.shape, weights.shape) == ((3, SIDE, SIDE, 1), (3, 1), (3,))
    batches.start_epoch(1)
    assert [part.tobytes() for index in range(2) for part in batches[index]] != first
    batches.start_epoch(0)
    assert [part.tobytes() for index in range(2) for part in batches[index]] == first
    # The images in memory stay as they were.
    np.testing.assert_array_equal(pixels, _levels())
