"""Decision policy: turn a probability into a decision and its reason."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from enum import StrEnum
from typing import Any, NamedTuple

from fracture_edge.errors import FractureEdgeError, ModelError


class Decision(StrEnum):
    """Decision about one image; ``fractured`` is the positive class.

    A member is equal to its string: ``Decision.FRACTURED == "fractured"``.

    Attributes:
        FRACTURED: The probability is at or above the threshold.
        NOT_FRACTURED: The probability is below the threshold.
        UNCERTAIN: The probability lies in the uncertain band, or the image is unlike the training images or of low
            quality; a person has to look at the image.
    """

    FRACTURED = "fractured"
    NOT_FRACTURED = "not_fractured"
    UNCERTAIN = "uncertain"


class ReasonCode(StrEnum):
    """Machine-readable reason for a decision. The sentence in `Prediction.reason` may change, the code does not.

    With the codes from ``PIXEL_ASPECT`` on, the decision is ``uncertain`` whatever the probability; the limits are
    those of `fracture_edge.suitability.Limits`.

    Attributes:
        BELOW_THRESHOLD: The probability is below the threshold.
        ABOVE_THRESHOLD: The probability is at or above the threshold.
        WITHIN_BAND: The probability lies within the uncertain band.
        PIXEL_ASPECT: The file states that pixels are much higher than wide, or wider than high.
        COLOURED: Too many pixels are coloured for a radiograph.
        NEARLY_CONSTANT: The image has almost no contrast.
        NOISE: Neighbouring pixels are not correlated.
        MOSTLY_BRIGHT: The median is bright, as in a page of text or an inverted radiograph.
        UNLIKE_FEATURES: The network's features lie far from those of the training images.
        LOW_RESOLUTION: The shorter side has too few pixels.
        TOO_DARK: The 99th percentile is dark.
        CLIPPED: Too many pixels are white.
        BLURRED: Fine detail is missing.
    """

    BELOW_THRESHOLD = "below_threshold"
    ABOVE_THRESHOLD = "above_threshold"
    WITHIN_BAND = "within_band"
    # From here on the reason is the image itself: the decision is "uncertain", whatever the probability.
    PIXEL_ASPECT = "pixel_aspect"
    COLOURED = "coloured"
    NEARLY_CONSTANT = "nearly_constant"
    NOISE = "noise"
    MOSTLY_BRIGHT = "mostly_bright"
    UNLIKE_FEATURES = "unlike_features"
    LOW_RESOLUTION = "low_resolution"
    TOO_DARK = "too_dark"
    CLIPPED = "clipped"
    BLURRED = "blurred"

    @property
    def is_about_picture(self) -> bool:
        """Whether the decision rests on the image itself and not on its probability."""
        return self not in (ReasonCode.BELOW_THRESHOLD, ReasonCode.ABOVE_THRESHOLD, ReasonCode.WITHIN_BAND)


#: Sentences of the decisions that the probability makes, with the fields of `Policy`.
SENTENCES = {
    ReasonCode.BELOW_THRESHOLD: "probability below the threshold",
    ReasonCode.ABOVE_THRESHOLD: "probability at or above the threshold",
    ReasonCode.WITHIN_BAND: "probability within the uncertain band {uncertain_low:.3f} to {uncertain_high:.3f}",
}
#: What follows the sentence if only the first of several pictures was classified.
FIRST_OF = "; the first of {pictures} frames in the file"


class Reason(NamedTuple):
    """Reason for a decision.

    Attributes:
        code: Machine-readable reason.
        text: Reason as a sentence.
    """

    code: ReasonCode
    text: str


@dataclass(frozen=True, slots=True)
class Policy:
    """Operating point of a model: decision threshold and uncertain band, chosen on validation or out of fold.

    The decision is ``uncertain`` for ``uncertain_low <= probability < uncertain_high``. An empty band, with both
    ends equal to the threshold, never gives ``uncertain``.

    Attributes:
        threshold: Decision threshold, 0 to 1; images with P(fractured) at or above it are ``fractured``.
        uncertain_low: Lower end of the uncertain band, 0 to `threshold`.
        uncertain_high: Upper end of the uncertain band, `threshold` to 1.

    Raises:
        ModelError: The values are not in the order 0 <= uncertain_low <= threshold <= uncertain_high <= 1.
    """

    threshold: float
    uncertain_low: float
    uncertain_high: float

    def __post_init__(self) -> None:
        if not 0 <= self.uncertain_low <= self.threshold <= self.uncertain_high <= 1:
            raise ModelError(
                f"policy: need 0 <= uncertain_low <= threshold <= uncertain_high <= 1, got {asdict(self)}"
            )

    @classmethod
    def at(cls, threshold: float) -> "Policy":
        """Make a policy with a given threshold and without an uncertain band.

        Args:
            threshold: Decision threshold, 0 to 1.

        Raises:
            FractureEdgeError: The threshold is not between 0 and 1.
        """
        if not 0 <= threshold <= 1:
            raise FractureEdgeError(f"threshold {threshold} is not between 0 and 1")
        return cls(threshold, threshold, threshold)

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> "Policy":
        """Make a policy from a dictionary of its fields, the inverse of `dataclasses.asdict`.

        Raises:
            ModelError: A field is missing, unknown or out of range.
        """
        try:
            return cls(**values)
        except TypeError as error:
            raise ModelError(f"policy: {error}") from error

    def decide(self, probability: float) -> tuple[Decision, Reason]:
        """Decide whether an image is fractured, not fractured or uncertain.

        Args:
            probability: P(fractured) of the image, 0 to 1.

        Returns:
            Decision and its reason.
        """
        if self.uncertain_low <= probability < self.uncertain_high:
            decision, code = Decision.UNCERTAIN, ReasonCode.WITHIN_BAND
        elif probability >= self.threshold:
            decision, code = Decision.FRACTURED, ReasonCode.ABOVE_THRESHOLD
        else:
            decision, code = Decision.NOT_FRACTURED, ReasonCode.BELOW_THRESHOLD
        return decision, Reason(code, SENTENCES[code].format(**asdict(self)))
