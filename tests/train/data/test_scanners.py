import io

import numpy as np
import numpy.typing as npt
import pytest
from PIL import Image

from fracture_edge.errors import FractureEdgeError
from train.data import scanners
from train.data.augment import Augmentation, augmented_copies
from train.data.batches import Batches
from train.data.scanners import ScannerVariation, as_another_scanner

Pixels = npt.NDArray[np.uint8]


def _images(count: int = 6, height: int = 60, width: int = 48) -> Pixels:
    """Smooth images with an edge, grey levels 40 to 200."""
    rows, columns = np.mgrid[:height, :width]
    smooth = 60 + 60 * rows / height + 20 * np.sin(columns / 5) + 60 * (columns > width // 2)
    return np.repeat(smooth.astype(np.uint8)[np.newaxis, ..., np.newaxis], count, axis=0)


def _after(step: str, seed: int = 0, image: Pixels | None = None) -> Pixels:
    grey = _images(1)[0, ..., 0] if image is None else image
    return np.asarray(getattr(scanners, step)(Image.fromarray(grey), np.random.default_rng(seed)))


def test_the_share_of_the_images_is_changed_and_the_masks_are_not() -> None:
    images = np.concatenate([_images(400), np.full((400, 60, 48, 1), 7, np.uint8)], axis=-1)
    before = images.copy()
    changed = ScannerVariation(0.5, seed=0)(images, epoch=0, batch=0)
    np.testing.assert_array_equal(images, before)
    np.testing.assert_array_equal(changed[..., 1], before[..., 1])
    count = (changed[..., 0] != before[..., 0]).any(axis=(1, 2)).sum()
    # 400 tosses of 0.5, of which 1 in 128 changes nothing: 198 with a standard deviation of 10; four of them.
    assert 158 <= count <= 238


def test_seed_epoch_and_batch_decide() -> None:
    images, vary = _images(), ScannerVariation(1.0, seed=3)
    first = vary(images, 1, 2)
    np.testing.assert_array_equal(first, ScannerVariation(1.0, seed=3)(images, 1, 2))
    for other in (vary(images, 2, 1), vary(images, 1, 3), ScannerVariation(1.0, seed=4)(images, 1, 2)):
        assert (first != other).any()
    # The same image six times, changed each time anew.
    assert len({image.tobytes() for image in first}) > 3


@pytest.mark.parametrize("seed", range(10))
def test_form_and_range_are_kept(seed: int) -> None:
    for grey in (_images(1)[0, ..., 0], np.zeros((9, 500), np.uint8), np.full((200, 7), 255, np.uint8)):
        found = as_another_scanner(grey, np.random.default_rng(seed))
        assert (found.shape, found.dtype) == (grey.shape, np.uint8)


def test_the_curve_keeps_black_white_and_the_order_of_grey_levels() -> None:
    ramp = np.arange(256, dtype=np.uint8)[np.newaxis]
    for seed in range(10):
        found = _after("_curve", seed, ramp)[0]
        assert (found[0], found[-1]) == (0, 255)
        assert (np.diff(found.astype(int)) >= 0).all()


def test_unsharp_masking_steepens_the_edge() -> None:
    grey = _images(1)[0, ..., 0].astype(int)
    found = _after("_unsharp", seed=1).astype(int)
    assert np.ptp(found[30, 22:27]) > np.ptp(grey[30, 22:27])


def test_local_contrast_takes_slow_changes_off() -> None:
    grey = np.linspace(50, 200, 100, dtype=np.uint8)[:, np.newaxis].repeat(100, axis=1)
    found = _after("_local_contrast", seed=0, image=grey)
    assert np.ptp(found[20:80, 50].astype(int)) < 0.8 * np.ptp(grey[20:80, 50].astype(int))
    # About the image's own mean: half a grey level of rounding.
    assert found.mean() == pytest.approx(grey.mean(), abs=0.5)


def test_the_collimator_blackens_borders_only() -> None:
    white = np.full((200, 100), 255, np.uint8)
    for seed in range(10):
        found = _after("_collimator", seed, white)
        # Borders of at most 0.1, blades that are skewed by 0.03, three pixels of penumbra.
        assert (found[30:-30, 18:-18] == 255).all()
        assert found.mean() < 255


def test_a_marker_covers_little() -> None:
    grey = np.full((300, 250), 90, np.uint8)
    for seed in range(10):
        found = _after("_marker", seed, grey)
        assert 0 < (found != grey).mean() < 0.08
        assert found.max() >= 120


def test_resolution_takes_detail_and_keeps_size() -> None:
    checked = (255 * (np.indices((400, 320)).sum(axis=0) % 2)).astype(np.uint8)
    found = _after("_resolution", seed=0, image=checked)
    assert found.shape == checked.shape
    assert found.std() < 0.5 * checked.std()


def test_jpeg_is_that_of_pillow() -> None:
    stream = io.BytesIO()
    grey = _images(1)[0, ..., 0]
    quality = int(np.random.default_rng(0).integers(25, 95))
    Image.fromarray(grey).save(stream, "JPEG", quality=quality)
    np.testing.assert_array_equal(_after("_jpeg"), np.asarray(Image.open(stream)))


def test_batches_apply_it_anew_in_each_epoch_and_only_to_training() -> None:
    images = _images(8)
    batches = Batches(images, [0, 1] * 4, batch_size=4, scanners=ScannerVariation(1.0, 0))
    first = batches[1][0]
    assert (first != images[4:]).any()
    batches.start_epoch(1)
    assert (batches[1][0] != first).any()
    batches.start_epoch(0)
    np.testing.assert_array_equal(batches[1][0], first)
    np.testing.assert_array_equal(Batches(images, [0, 1] * 4, batch_size=4)[1][0], images[4:])


def test_samples_show_it() -> None:
    images = _images(4)
    first, second = augmented_copies(images, Augmentation(scanner=1.0), 2, seed=0)
    assert (first != images).any()
    assert (first != second).any()


def test_share_out_of_range() -> None:
    with pytest.raises(FractureEdgeError, match=r"^augmentation\.scanner must not be above 1$"):
        Augmentation(scanner=1.5)
    with pytest.raises(FractureEdgeError, match=r"^augmentation\.scanner must not be negative$"):
        Augmentation(scanner=-0.1)
