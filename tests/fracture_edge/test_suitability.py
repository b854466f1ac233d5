"""Checks of images that are not radiographs, or of low quality."""

from collections.abc import Callable

import numpy as np
import numpy.typing as npt
import pytest
from PIL import Image, ImageFilter

from fracture_edge.classifier import FractureClassifier
from fracture_edge.errors import ModelError
from fracture_edge.policy import Decision
from fracture_edge.suitability import Limits, Measures, measure, without_white_borders

Grey = npt.NDArray[np.uint8]
USUAL = Measures(
    side=373, colour=0, contrast=40, correlation=0.98, median=30, bright=200, clipped=0, sharpness=0.24
)


def test_measures_of_a_checkerboard() -> None:
    board = (np.indices((16, 16)).sum(axis=0) % 2 * 200).astype(np.uint8)
    found = measure(board, side=500, colour=0.25)
    # Neighbours always differ by 200; pixels eight apart never do.
    assert found == Measures(
        side=500, colour=0.25, contrast=100, correlation=-1, median=0, bright=200, clipped=0, sharpness=0
    )


def test_measures_of_a_ramp() -> None:
    ramp = np.tile(np.arange(100, dtype=np.uint8), (100, 1))
    found = measure(ramp, side=100, colour=0)
    # Horizontally, neighbours differ by 1 and pixels eight apart by 8; vertically, all are equal.
    assert found.sharpness == pytest.approx(1 / 8)
    assert (found.median, found.bright, found.clipped) == (49, 98, 0)
    # Variance of 0 to 99 is (100 ** 2 - 1) / 12; the mean square of a difference is 1 across and 0 down.
    assert found.contrast**2 == pytest.approx(9999 / 12)
    assert found.correlation == pytest.approx(1 - 0.5 / (2 * 9999 / 12))


def test_correlation_of_noise_is_zero() -> None:
    noise = np.random.default_rng(0).integers(0, 256, (200, 200), np.uint8)
    # Its standard error is about 1 / sqrt(2 * 40000).
    assert measure(noise, side=200, colour=0).correlation == pytest.approx(0, abs=0.02)


def test_clipped_is_the_share_of_white() -> None:
    half = np.zeros((40, 40), np.uint8)
    half[10:20] = 255
    assert measure(half, side=40, colour=0).clipped == 0.25


def test_white_borders_are_cut_off(bone: Callable[..., Grey]) -> None:
    inner = bone(1, fractured=False)
    framed = np.pad(inner, ((0, 40), (120, 120)), constant_values=255)
    # A letter on the border, and a border that is not quite white.
    framed[-30:-22, 4:10] = 0
    framed[:, -60:] = 251
    assert measure(framed, side=200, colour=0) == measure(inner, side=200, colour=0)
    assert np.median(framed) == 255
    assert Limits().find_problem(measure(framed, side=200, colour=0)) is None
    white = np.full((30, 30), 255, np.uint8)
    assert measure(white, side=200, colour=0).median == 255
    # Grey borders, and white within, stay.
    inside = np.zeros((30, 30), np.uint8)
    inside[10:12] = 255
    np.testing.assert_array_equal(without_white_borders(inside), inside)
    grey = np.full((30, 30), 249, np.uint8)
    np.testing.assert_array_equal(without_white_borders(grey), grey)


@pytest.mark.parametrize("shape", [(1, 1), (1, 50), (50, 1), (8, 8), (9, 9)])
@pytest.mark.parametrize("level", [0, 7])
def test_small_and_constant_pictures(shape: tuple[int, int], level: int) -> None:
    found = measure(np.full(shape, level, np.uint8), side=1, colour=0)
    assert (found.contrast, found.correlation, found.median, found.sharpness) == (0, 1, level, 0)


def test_a_typical_radiograph_has_no_problem() -> None:
    assert Limits().find_problem(USUAL) is None


@pytest.mark.parametrize(
    ("other", "code", "reason"),
    [
        ({"colour": 0.42}, "coloured", "not_like_training_images: 42% of it is coloured"),
        ({"contrast": 2}, "nearly_constant", "not_like_training_images: nearly constant"),
        ({"correlation": 0.5}, "noise", "not_like_training_images: neighbouring pixels differ as in noise"),
        (
            {"median": 225},
            "mostly_bright",
            "not_like_training_images: mostly bright, as a page or an inverted radiograph is",
        ),
        ({"side": 60}, "low_resolution", "low_image_quality: 60 pixels on the shorter side"),
        ({"bright": 40}, "too_dark", "low_image_quality: too dark, 99 % of it at most 40 of 255"),
        ({"clipped": 0.5}, "clipped", "low_image_quality: clipped, 50% of it white"),
        ({"sharpness": 0.13}, "blurred", "low_image_quality: blurred"),
    ],
)
def test_each_limit(other: dict[str, float], code: str, reason: str) -> None:
    assert Limits().find_problem(USUAL._replace(**other)) == (code, reason)


@pytest.mark.parametrize(
    "name", ["most_colour", "least_contrast", "least_correlation", "most_median", "least_side", "least_bright"]
)
def test_an_image_at_a_limit_has_no_problem(name: str) -> None:
    quantity = name.partition("_")[2]
    assert Limits().find_problem(USUAL._replace(**{quantity: getattr(Limits(), name)})) is None


def test_limits_of_a_model_file() -> None:
    assert Limits.from_dict({"most_colour": 0.5}) == Limits(most_colour=0.5)
    for wrong in ({"most_red": 0.5}, {"most_colour": "much"}):
        with pytest.raises(ModelError, match="suitability"):
            Limits.from_dict(wrong)  # type: ignore[arg-type]


def _coloured(bone: Grey) -> npt.NDArray[np.uint8]:
    picture = np.repeat(bone[..., np.newaxis], 3, axis=2)
    picture[: len(bone) // 2, :, 0] = 255
    return picture


@pytest.mark.parametrize(
    ("spoil", "reason"),
    [
        (_coloured, "not_like_training_images"),
        (np.invert, "not_like_training_images"),
        (lambda grey: np.full_like(grey, 90), "not_like_training_images"),
        (lambda grey: grey[::2, ::2], "low_image_quality"),
        (lambda grey: grey // 8, "low_image_quality"),
        (
            lambda grey: np.asarray(Image.fromarray(grey).filter(ImageFilter.GaussianBlur(9))),
            "low_image_quality: blurred",
        ),
    ],
)
def test_images_with_a_problem_are_uncertain_and_keep_their_probability(
    spoil: Callable[[Grey], Grey], reason: str, bone: Callable[..., Grey]
) -> None:
    picture = spoil(bone(3, fractured=True))
    with FractureClassifier() as careful, FractureClassifier(check_images=False) as careless:
        doubted, plain = careful.predict(picture), careless.predict(picture)
    assert doubted.decision is Decision.UNCERTAIN
    assert doubted.reason.startswith(reason)
    assert doubted.probability == plain.probability
    assert not plain.reason.startswith(("not_like", "low_image"))


def test_a_synthetic_bone_has_no_problem(bone: Callable[..., Grey]) -> None:
    with FractureClassifier() as classifier:
        limits = Limits.from_dict(classifier.info.suitability)
        found = [
            classifier.info.preprocessing.load_framed(bone(seed, fractured=seed % 2 == 0)) for seed in range(20)
        ]
    doubts = [limits.find_problem(measure(each.content, side=each.side, colour=each.colour)) for each in found]
    assert doubts == [None] * 20
