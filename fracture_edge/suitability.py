"""Checks whether an image can be a radiograph and whether its quality is sufficient for classification.

They compare simple statistics of the model's input with limits. An image that passes may still be unlike the
training images: a model with an ``atypicality`` output detects that from its own features.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from fracture_edge.errors import ModelError
from fracture_edge.images.aspect import is_plausible
from fracture_edge.policy import Reason, ReasonCode


class ImageProblem(StrEnum):
    """Kind of problem with an image; the sentence of its `Reason` begins with it."""

    NOT_LIKE_TRAINING = "not_like_training_images"
    LOW_QUALITY = "low_image_quality"


class Measures(NamedTuple):
    """Statistics of one image without its white borders; grey levels are those of the model's input, 0 to 255.

    Attributes:
        side: Length of the shorter side before resizing, in pixels.
        colour: Share of coloured pixels, 0 to 1; see `fracture_edge.images.colour`.
        contrast: Standard deviation of the grey levels.
        correlation: Correlation of horizontally and vertically neighbouring pixels, -1 to 1.
        median: Median grey level.
        bright: 99th percentile of the grey levels.
        clipped: Share of pixels at grey level 255, 0 to 1.
        sharpness: Mean absolute difference of neighbouring pixels, divided by that of pixels eight apart; 1/8 on a
            linear ramp.
    """

    side: float
    colour: float
    contrast: float
    correlation: float
    median: float
    bright: float
    clipped: float
    sharpness: float


@dataclass(frozen=True, slots=True)
class Limits:
    """Limits of the image statistics within which an image is classified; see `Measures` for their units.

    The defaults were chosen on the training split of FracAtlas; the study `unlike` reports how many of its images
    exceed them. `train.evaluation.suitability` widens them for a dataset that needs it.

    Attributes:
        least_side: Minimum of the shorter side; enlarging a smaller image adds no detail.
        most_colour: Maximum share of coloured pixels; markers and the frames of viewers stay below it.
        least_contrast: Minimum standard deviation; with less there is nothing to see.
        least_correlation: Minimum correlation of neighbours; that of noise is near 0, and bones are larger than a
            pixel.
        most_median: Maximum median; the air around a limb is dark, while paper and radiographs with an inverted
            grey scale are bright.
        least_bright: Minimum 99th percentile; a darker image has lost most of its grey levels.
        most_clipped: Maximum share of white pixels; an overexposed bone shows no fracture.
        least_sharpness: Minimum sharpness; a blurred image has lost its fine lines.
    """

    least_side: float = 96
    most_colour: float = 0.1
    least_contrast: float = 5
    least_correlation: float = 0.85
    most_median: float = 128
    least_bright: float = 64
    most_clipped: float = 0.25
    least_sharpness: float = 0.14

    @classmethod
    def from_dict(cls, values: Mapping[str, float]) -> "Limits":
        """Make limits from a dictionary of its fields, the inverse of `dataclasses.asdict`.

        Args:
            values: Limits by name; missing ones have their defaults.

        Raises:
            ModelError: A name is unknown, or a value is not a number.
        """
        try:
            return cls(**{name: float(value) for name, value in values.items()})
        except (TypeError, ValueError) as error:
            raise ModelError(f"suitability: {error}") from error

    def find_problem(self, found: Measures) -> Reason | None:
        """Return the first limit that an image exceeds, as the reason for a decision.

        Args:
            found: Statistics of the image, from `measure`.

        Returns:
            Reason why the image cannot be relied on, or ``None`` if it is within all limits.
        """
        unlike, poor = ImageProblem.NOT_LIKE_TRAINING, ImageProblem.LOW_QUALITY
        bright = "mostly bright, as a page or an inverted radiograph is"
        dark = f"too dark, 99 % of it at most {found.bright:.0f} of 255"
        for beyond, code, problem, words in (
            (
                found.colour > self.most_colour,
                ReasonCode.COLOURED,
                unlike,
                f"{found.colour:.0%} of it is coloured",
            ),
            (found.contrast < self.least_contrast, ReasonCode.NEARLY_CONSTANT, unlike, "nearly constant"),
            (
                found.correlation < self.least_correlation,
                ReasonCode.NOISE,
                unlike,
                "neighbouring pixels differ as in noise",
            ),
            (found.median > self.most_median, ReasonCode.MOSTLY_BRIGHT, unlike, bright),
            (
                found.side < self.least_side,
                ReasonCode.LOW_RESOLUTION,
                poor,
                f"{found.side:.0f} pixels on the shorter side",
            ),
            (found.bright < self.least_bright, ReasonCode.TOO_DARK, poor, dark),
            (
                found.clipped > self.most_clipped,
                ReasonCode.CLIPPED,
                poor,
                f"clipped, {found.clipped:.0%} of it white",
            ),
            (found.sharpness < self.least_sharpness, ReasonCode.BLURRED, poor, "blurred"),
        ):
            if beyond:
                return Reason(code, f"{problem}: {words}")
        return None


def check_aspect(aspect: float) -> Reason | None:
    """Check whether the shape of an image's pixels can be believed.

    Args:
        aspect: Height of a pixel divided by its width, as the file states it.

    Returns:
        Reason why the image cannot be relied on, or ``None`` if the ratio is plausible.
    """
    if is_plausible(aspect):
        return None
    higher = f"{aspect:.3g} times as high as wide" if aspect > 1 else f"{1 / aspect:.3g} times as wide as high"
    text = f"{ImageProblem.LOW_QUALITY}: pixels {higher} by the header, so the true shape is not known"
    return Reason(ReasonCode.PIXEL_ASPECT, text)


def check_atypicality(distance: float, limit: float) -> Reason | None:
    """Check whether the features of an image lie close to those of the training images.

    Args:
        distance: Squared distance from the model's output ``atypicality``; NaN counts as far.
        limit: Largest accepted squared distance.

    Returns:
        Reason why the image cannot be relied on, or ``None`` if it is within the limit.
    """
    if distance <= limit:
        return None
    return Reason(
        ReasonCode.UNLIKE_FEATURES,
        f"{ImageProblem.NOT_LIKE_TRAINING}: the network's features lie far from those of the training images "
        f"(squared distance {distance:.3g}, usual is up to {limit:.3g})",
    )


#: A row or column belongs to a white border if this share of its pixels has at least this grey level: the parts of
#: a film that a collimator left unexposed do, apart from letters and scratches.
_WHITE_SHARE, _WHITE = 0.9, 250
#: Distance in pixels of the wider difference in `Measures.sharpness`.
_APART = 8


def measure(content: npt.NDArray[np.uint8], *, side: int, colour: float) -> Measures:
    """Compute the statistics that `Limits` apply to.

    Args:
        content: Model input without the letterbox bars, uint8 [h, w].
        side: Length of the shorter side before resizing, in pixels.
        colour: Share of coloured pixels, 0 to 1.

    Returns:
        Statistics of the image without its white borders.
    """
    content = without_white_borders(content)
    levels = np.bincount(content.reshape(-1), minlength=256) / content.size
    values = np.arange(256)
    variance = float(levels @ (values - levels @ values) ** 2)
    shares = np.cumsum(levels)
    signed = content.astype(np.int16)
    near = (signed[:, 1:] - signed[:, :-1], signed[1:] - signed[:-1])
    far = (signed[:, _APART:] - signed[:, :-_APART], signed[_APART:] - signed[:-_APART])
    squares = [float(np.square(part, dtype=np.int32).mean()) for part in near if part.size]
    wide = _mean_size(far)
    return Measures(
        side=side,
        colour=colour,
        contrast=variance**0.5,
        # E(difference squared) = 2 variance (1 - correlation) if both pixels have the variance of the image.
        correlation=1 - sum(squares) / len(squares) / (2 * variance) if squares and variance else 1.0,
        # Slightly below the quantile, so that rounding does not select the next grey level.
        median=float(np.searchsorted(shares, 0.5 - 1e-9)),
        bright=float(np.searchsorted(shares, 0.99 - 1e-9)),
        clipped=float(levels[255]),
        sharpness=_mean_size(near) / wide if wide else 0.0,
    )


def without_white_borders(content: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint8]:
    """Crop the white borders of an image.

    Args:
        content: Image, uint8 [h, w].

    Returns:
        View of the part within the borders, or of the complete image if all of it is white.
    """
    inner = content
    while True:
        white = inner >= _WHITE
        rows = np.flatnonzero(white.mean(axis=1) < _WHITE_SHARE)
        columns = np.flatnonzero(white.mean(axis=0) < _WHITE_SHARE)
        if not (rows.size and columns.size):
            return content
        smaller = inner[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
        if smaller.shape == inner.shape:
            return inner
        inner = smaller


def _mean_size(differences: tuple[npt.NDArray[np.int16], npt.NDArray[np.int16]]) -> float:
    return sum(float(np.abs(part).mean()) for part in differences if part.size)
