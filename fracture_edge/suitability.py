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


_UNLIKE, _POOR = ImageProblem.NOT_LIKE_TRAINING, ImageProblem.LOW_QUALITY
#: Sentences of the limits of `Limits`, with the fields of `Measures`.
SENTENCES = {
    ReasonCode.COLOURED: f"{_UNLIKE}: {{colour:.0%}} of it is coloured",
    ReasonCode.NEARLY_CONSTANT: f"{_UNLIKE}: nearly constant",
    ReasonCode.NOISE: f"{_UNLIKE}: neighbouring pixels differ as in noise",
    ReasonCode.MOSTLY_BRIGHT: f"{_UNLIKE}: mostly bright, as a page or an inverted radiograph is",
    ReasonCode.LOW_RESOLUTION: f"{_POOR}: {{side:.0f}} pixels on the shorter side",
    ReasonCode.TOO_DARK: f"{_POOR}: too dark, 99 % of it at most {{bright:.0f}} of 255",
    ReasonCode.CLIPPED: f"{_POOR}: clipped, {{clipped:.0%}} of it white",
    ReasonCode.BLURRED: f"{_POOR}: blurred",
}
HIGH_PIXELS = f"{_POOR}: pixels {{ratio:.3g}} times as high as wide by the header, so the true shape is not known"
WIDE_PIXELS = f"{_POOR}: pixels {{ratio:.3g}} times as wide as high by the header, so the true shape is not known"
UNLIKE_FEATURES = (
    f"{_UNLIKE}: the network's features lie far from those of the training images "
    "(squared distance {distance:.3g}, usual is up to {limit:.3g})"
)
#: What follows the reason of a decision if the format of the model file cannot have the output ``atypicality``.
NOT_COMPARED = "; not compared with the training images, for which a TFLite file has no output"


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
        for beyond, code in (
            (found.colour > self.most_colour, ReasonCode.COLOURED),
            (found.contrast < self.least_contrast, ReasonCode.NEARLY_CONSTANT),
            (found.correlation < self.least_correlation, ReasonCode.NOISE),
            (found.median > self.most_median, ReasonCode.MOSTLY_BRIGHT),
            (found.side < self.least_side, ReasonCode.LOW_RESOLUTION),
            (found.bright < self.least_bright, ReasonCode.TOO_DARK),
            (found.clipped > self.most_clipped, ReasonCode.CLIPPED),
            (found.sharpness < self.least_sharpness, ReasonCode.BLURRED),
        ):
            if beyond:
                return Reason(code, SENTENCES[code].format(**found._asdict()))
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
    text = HIGH_PIXELS.format(ratio=aspect) if aspect > 1 else WIDE_PIXELS.format(ratio=1 / aspect)
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
    return Reason(ReasonCode.UNLIKE_FEATURES, UNLIKE_FEATURES.format(distance=distance, limit=limit))


#: A row or column belongs to a white border if this share of its pixels has at least this grey level: the parts of
#: a film that a collimator left unexposed do, apart from letters and scratches.
WHITE_SHARE, WHITE = 0.9, 250
#: Distance in pixels of the wider difference in `Measures.sharpness`.
APART = 8


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
    far = (signed[:, APART:] - signed[:, :-APART], signed[APART:] - signed[:-APART])
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
        white = inner >= WHITE
        rows = np.flatnonzero(white.mean(axis=1) < WHITE_SHARE)
        columns = np.flatnonzero(white.mean(axis=0) < WHITE_SHARE)
        if not (rows.size and columns.size):
            return content
        smaller = inner[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
        if smaller.shape == inner.shape:
            return inner
        inner = smaller


def _mean_size(differences: tuple[npt.NDArray[np.int16], npt.NDArray[np.int16]]) -> float:
    return sum(float(np.abs(part).mean()) for part in differences if part.size)
