import numpy as np
import pytest
from scipy import ndimage

from fracture_edge.errors import FractureEdgeError
from train.data.augment import Augmentation, RandomAffine, RandomGreyLevels, augmented_copies

#: All augmentations at once, for properties that hold for every sample.
ALL = Augmentation(
    rotation=20.0,
    scale=0.2,
    shift=0.1,
    flip_horizontal=True,
    flip_vertical=True,
    contrast=0.5,
    brightness=0.3,
    gamma=0.5,
    noise=0.1,
)
LAYERS = (RandomAffine, RandomGreyLevels)


def _images(count: int = 3, height: int = 20, width: int = 24, channels: int = 1) -> np.ndarray:
    return np.random.default_rng(0).uniform(0, 255, (count, height, width, channels)).astype(np.float32)


def _dot(row: int, column: int, side: int = 21) -> np.ndarray:
    image = np.zeros((1, side, side, 1), np.float32)
    image[0, row, column, 0] = 200.0
    return image


def _fixed(monkeypatch: pytest.MonkeyPatch, share: float) -> None:
    """Replace random numbers by the value at `share` of the way from the lower to the upper limit."""
    for layer in LAYERS:
        monkeypatch.setattr(
            layer,
            "_between",
            lambda _, count, low, high: np.full(int(count), low + share * (high - low), np.float32),
        )


def _apply(layer: type, limits: Augmentation, images: np.ndarray, seed: int = 0) -> np.ndarray:
    return np.asarray(layer(limits, seed)(images, training=True))


@pytest.mark.parametrize("layer", LAYERS)
def test_nothing_happens_outside_training(layer: type) -> None:
    images = _images()
    np.testing.assert_array_equal(np.asarray(layer(ALL, 0)(images, training=False)), images)
    np.testing.assert_array_equal(np.asarray(layer(ALL, 0)(images)), images)


@pytest.mark.parametrize("layer", LAYERS)
def test_zero_limits_change_nothing(layer: type) -> None:
    images = _images()
    # float32 coordinates of up to 24 and levels of up to 255: 24 * 6e-8 * 255 is below 1e-3.
    np.testing.assert_allclose(_apply(layer, Augmentation(), images), images, atol=1e-3)


@pytest.mark.parametrize("layer", LAYERS)
def test_seeds(layer: type) -> None:
    images = _images()
    first = _apply(layer, ALL, images, seed=1)
    np.testing.assert_array_equal(first, _apply(layer, ALL, images, seed=1))
    assert np.abs(first - _apply(layer, ALL, images, seed=2)).max() > 1.0
    again = layer(ALL, 1)
    again(images, training=True)
    assert np.abs(first - np.asarray(again(images, training=True))).max() > 1.0


@pytest.mark.parametrize("layer", LAYERS)
def test_every_image_is_augmented_independently(layer: type) -> None:
    same = np.repeat(_images(1), 4, axis=0)
    out = _apply(layer, ALL, same)
    assert all(np.abs(out[0] - out[k]).max() > 1.0 for k in (1, 2, 3))


def test_grey_levels_stay_in_range() -> None:
    extremes = np.concatenate([_images(20), np.zeros((1, 20, 24, 1)), np.full((1, 20, 24, 1), 255.0)])
    out = _apply(RandomGreyLevels, ALL, _apply(RandomAffine, ALL, extremes.astype(np.float32)))
    assert np.isfinite(out).all()
    assert out.min() >= 0.0
    assert out.max() <= 255.0


@pytest.mark.parametrize(("name", "axis"), [("flip_horizontal", 2), ("flip_vertical", 1)])
def test_flips_alone_are_exact_and_half_as_often(name: str, axis: int) -> None:
    images = np.repeat(_images(1), 64, axis=0)
    out = _apply(RandomAffine, Augmentation(**{name: True}), images)
    mirrored = np.flip(images, axis)
    # Interpolation at whole pixels, as above.
    flipped = [np.allclose(a, b, atol=1e-3) for a, b in zip(out, mirrored, strict=True)]
    kept = [np.allclose(a, b, atol=1e-3) for a, b in zip(out, images, strict=True)]
    assert all(a != b for a, b in zip(flipped, kept, strict=True))
    # 64 tosses: 32 with a standard deviation of 4; four of them.
    assert 16 <= sum(flipped) <= 48


@pytest.mark.parametrize("degrees", [90.0, 30.0, 7.0])
def test_rotation_is_that_of_scipy(monkeypatch: pytest.MonkeyPatch, degrees: float) -> None:
    _fixed(monkeypatch, 1.0)
    smooth = ndimage.gaussian_filter(_images(1, 41, 41)[0, ..., 0], 2)
    out = _apply(RandomAffine, Augmentation(rotation=degrees), smooth[np.newaxis, ..., np.newaxis])[0, ..., 0]
    expected = ndimage.rotate(smooth, degrees, reshape=False, order=1, mode="grid-constant")
    # The same bilinear formula in float32: coordinates of 40 err by 4e-6, times steps of up to 255 at the rim.
    np.testing.assert_allclose(out, expected, atol=0.02)


def test_a_quarter_turn_moves_a_dot_counter_clockwise(monkeypatch: pytest.MonkeyPatch) -> None:
    _fixed(monkeypatch, 1.0)
    # Six to the right of the centre (10, 10) goes to six above it.
    out = _apply(RandomAffine, Augmentation(rotation=90.0), _dot(10, 16))
    np.testing.assert_allclose(out, _dot(4, 10), atol=1e-2)


def test_shift_moves_by_whole_pixels(monkeypatch: pytest.MonkeyPatch) -> None:
    _fixed(monkeypatch, 1.0)
    images = _images(2, 20, 40)
    out = _apply(RandomAffine, Augmentation(shift=0.1), images)
    # A tenth of 20 rows is 2, of 40 columns 4; black comes in.
    expected = np.zeros_like(images)
    expected[:, 2:, 4:] = images[:, :-2, :-4]
    np.testing.assert_allclose(out, expected, atol=1e-2)


@pytest.mark.parametrize(("share", "column"), [(1.0, 19), (0.0, 14)])
def test_scale_grows_and_shrinks_about_the_centre(
    monkeypatch: pytest.MonkeyPatch, share: float, column: int
) -> None:
    _fixed(monkeypatch, share)
    # A dot 6 from the centre goes to 9 at a factor of 1.5, to 4 at 1 / 1.5 (centre 10 plus or minus).
    blob = ndimage.gaussian_filter(_dot(10, 16)[0, ..., 0], 1.5)[np.newaxis, ..., np.newaxis]
    out = _apply(RandomAffine, Augmentation(scale=0.5), blob)[0, ..., 0]
    assert np.unravel_index(out.argmax(), out.shape) == (10, column)


def test_all_of_it_is_one_affine_map(monkeypatch: pytest.MonkeyPatch) -> None:
    _fixed(monkeypatch, 1.0)
    limits = Augmentation(rotation=25.0, scale=0.25, shift=0.125)
    smooth = ndimage.gaussian_filter(_images(1, 32, 48)[0, ..., 0], 2)
    out = _apply(RandomAffine, limits, smooth[np.newaxis, ..., np.newaxis])[0, ..., 0]
    cos, sin = np.cos(np.radians(25)) / 1.25, np.sin(np.radians(25)) / 1.25
    matrix = np.array([[cos, sin], [-sin, cos]])  # in (row, column)
    centre = np.array([15.5, 23.5])
    offset = centre - matrix @ (centre + np.array([4.0, 6.0]))
    expected = ndimage.affine_transform(smooth, matrix, offset, order=1, mode="grid-constant")
    # float32 coordinates, as for the rotation.
    np.testing.assert_allclose(out, expected, atol=0.02)


def test_the_mask_moves_with_its_image() -> None:
    images = _images(8)
    out = _apply(RandomAffine, ALL, np.concatenate([images, images], axis=-1))
    np.testing.assert_array_equal(out[..., 0], out[..., 1])
    assert np.abs(out[..., :1] - images).max() > 1.0


@pytest.mark.parametrize("share", [0.0, 1.0])
def test_grey_levels_by_hand(monkeypatch: pytest.MonkeyPatch, share: float) -> None:
    _fixed(monkeypatch, share)
    images = _images(2)
    out = _apply(RandomGreyLevels, Augmentation(contrast=0.2, brightness=0.1, gamma=0.25), images)
    sign = 2 * share - 1
    levels = 255 * (images / 255) ** (1.25**sign)
    mean = levels.mean(axis=(1, 2, 3), keepdims=True)
    expected = np.clip((levels - mean) * 1.2**sign + mean + sign * 25.5, 0, 255)
    # float32 of 255 through a power.
    np.testing.assert_allclose(out, expected, atol=1e-2)


@pytest.mark.parametrize("name", ["rotation", "scale", "shift", "contrast", "brightness", "gamma"])
def test_negative_limits_are_refused(name: str) -> None:
    with pytest.raises(FractureEdgeError, match=rf"augmentation\.{name} must not be negative"):
        Augmentation(**{name: -0.1})


def test_noise_has_the_sampled_deviation_for_each_image() -> None:
    images = np.full((3, 64, 64, 1), 128.0, np.float32)
    found = _apply(RandomGreyLevels, Augmentation(noise=0.1), images)
    deviations = found.std(axis=(1, 2, 3))
    # Sampled between 0 and 25.5; 4,096 pixels give a mean to within 5 deviations / 64.
    assert ((deviations > 0) & (deviations < 26)).all()
    assert len({round(float(value), 2) for value in deviations}) == 3
    np.testing.assert_allclose(found.mean(axis=(1, 2, 3)), 128, atol=2)
    # White: neighbours know nothing of each other (1 / 64 is the deviation of a correlation of 4,096).
    first = found[deviations.argmax(), :, :, 0] - 128
    assert abs(np.corrcoef(first[:, 1:].ravel(), first[:, :-1].ravel())[0, 1]) < 5 / 64


def test_noise_stays_within_bytes() -> None:
    found = _apply(RandomGreyLevels, Augmentation(noise=1.0), _images(8))
    assert (found.min(), found.max()) == (0.0, 255.0)


def test_augmented_copies_equal_those_of_training_but_for_rounding() -> None:
    pixels = _images(5).round().astype(np.uint8)
    affine, levels = RandomAffine(ALL, 7), RandomGreyLevels(ALL, 8)
    found = list(augmented_copies(pixels, ALL, 2, seed=7, batch_size=3))
    assert [(copies.shape, copies.dtype) for copies in found] == [(pixels.shape, np.uint8)] * 2
    # Two sets of a batch of three and one of two; the layers continue their random sequence.
    for copies in found:
        for part in (slice(0, 3), slice(3, 5)):
            images = pixels[part].astype(np.float32)
            expected = np.asarray(levels(affine(images, training=True), training=True))
            # Half a level by rounding, and as float32 errs.
            np.testing.assert_allclose(copies[part], expected, atol=0.501)
    assert np.abs(found[0].astype(int) - found[1]).max() > 1
    assert not list(augmented_copies(pixels, ALL, 0, seed=7))
