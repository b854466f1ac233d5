"""Whether a picture can be a radiograph at all, and whether it is good enough to be answered.

Simple measures of the model's own input, each with a limit. What looks like a radiograph by these measures may
still be unlike the training images: a model with an ``atypicality`` output tells that by its own features.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from fracture_edge.errors import ModelError
from fracture_edge.policy import Reason, ReasonCode


class Doubt(StrEnum):
    """Kind of a reason that is about the picture; the sentence begins with it."""

    NOT_LIKE_TRAINING = "not_like_training_images"
    LOW_QUALITY = "low_image_quality"


class Measures(NamedTuple):
    """What is measured of one picture, without white borders; grey levels are the model input's, 0 to 255.

    Attributes:
        side: Pixels of the shorter side before the picture was resized.
        colour: Share of coloured pixels, 0 to 1; see `fracture_edge.images.colour`.
        contrast: Standard deviation.
        correlation: Of horizontal and vertical neighbours, -1 to 1.
        median: Median.
        bright: 99th percentile.
        clipped: Share of pixels at 255.
        sharpness: Mean absolute difference of neighbours by that of pixels eight apart: 1/8 on a ramp.
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
    """What is taken for a radiograph of use; see `Measures` for the quantities and their units.

    The defaults were set by FracAtlas's training part, of which the study `unlike` says how many images lie
    beyond; `train.evaluation.suitability` widens them for data that need it.

    Attributes:
        least_side: Enlarging a smaller picture adds nothing.
        most_colour: Marks and the frames of viewers stay under it.
        least_contrast: With less there is nothing to see.
        least_correlation: Noise has next to none; bones are larger than a pixel.
        most_median: The air around a limb is dark. Paper is white, and so is a radiograph whose grey scale was
            turned round.
        least_bright: A picture that is darker has lost most of its levels.
        most_clipped: A bone that is burnt out shows no fracture.
        least_sharpness: Of a blurred picture the fine lines are gone.
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
        """The inverse of `dataclasses.asdict`; what is missing has its default.

        Raises:
            ModelError: A name is unknown, or a value is no number.
        """
        try:
            return cls(**{name: float(value) for name, value in values.items()})
        except (TypeError, ValueError) as error:
            raise ModelError(f"suitability: {error}") from error

    def doubt(self, found: Measures) -> Reason | None:
        """Name the first measure beyond its limit, as the reason of a decision; ``None`` if there is none."""
        unlike, poor = Doubt.NOT_LIKE_TRAINING, Doubt.LOW_QUALITY
        bright = "mostly bright, as a page or an inverted radiograph is"
        dark = f"too dark, 99 % of it at most {found.bright:.0f} of 255"
        for beyond, code, doubt, words in (
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
                return Reason(code, f"{doubt}: {words}")
        return None


def unlike_features(distance: float, limit: float) -> Reason | None:
    """Doubt a picture whose features lie far from those of the training images.

    Args:
        distance: Output ``atypicality`` of the model, a squared distance; NaN counts as far.
        limit: Largest usual distance.
    """
    if distance <= limit:
        return None
    return Reason(
        ReasonCode.UNLIKE_FEATURES,
        f"{Doubt.NOT_LIKE_TRAINING}: the network's features lie far from those of the training images "
        f"(squared distance {distance:.3g}, usual is up to {limit:.3g})",
    )


#: A row or column belongs to a white border when this share of its pixels is at least this bright: the parts of a
#: film that a collimator left unexposed are, but for letters and scratches.
_WHITE_SHARE, _WHITE = 0.9, 250
#: Pixels between two that are compared for `Measures.sharpness`.
_APART = 8


def measure(content: npt.NDArray[np.uint8], *, side: int, colour: float) -> Measures:
    """Measure a picture.

    Args:
        content: uint8 [h, w]: the model's input without the bars of the letterbox.
        side: Pixels of the shorter side before the picture was resized.
        colour: Share of coloured pixels.
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
        # E(difference squared) = 2 variance (1 - correlation), where both pixels have the picture's variance.
        correlation=1 - sum(squares) / len(squares) / (2 * variance) if squares and variance else 1.0,
        # A hair below, so that rounding does not lead to the next level.
        median=float(np.searchsorted(shares, 0.5 - 1e-9)),
        bright=float(np.searchsorted(shares, 0.99 - 1e-9)),
        clipped=float(levels[255]),
        sharpness=_mean_size(near) / wide if wide else 0.0,
    )


def without_white_borders(content: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint8]:
    """The part of a picture within its white borders, [h, w]; all of it where it is white throughout."""
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
