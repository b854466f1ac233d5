"""From a probability to a decision, with the reason as a code and in words."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from enum import StrEnum
from typing import Any, NamedTuple

from fracture_edge.errors import FractureEdgeError, ModelError


class Decision(StrEnum):
    """What a prediction says. Fractured is the positive class."""

    FRACTURED = "fractured"
    NOT_FRACTURED = "not_fractured"
    UNCERTAIN = "uncertain"


class ReasonCode(StrEnum):
    """Reason of a decision, for programs. The sentence beside it is for people and may change."""

    BELOW_THRESHOLD = "below_threshold"
    ABOVE_THRESHOLD = "above_threshold"
    WITHIN_BAND = "within_band"
    # About the picture: the decision is "uncertain", whatever the probability.
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
        """Whether the picture, not its probability, made the decision."""
        return self not in (ReasonCode.BELOW_THRESHOLD, ReasonCode.ABOVE_THRESHOLD, ReasonCode.WITHIN_BAND)


class Reason(NamedTuple):
    """Reason of a decision.

    Attributes:
        code: Reason for programs.
        text: Reason in words.
    """

    code: ReasonCode
    text: str


@dataclass(frozen=True, slots=True)
class Policy:
    """The operating point of a model, settled on validation images and then frozen.

    Attributes:
        threshold: Images with P(fractured) at or above it count as fractured.
        uncertain_low: Start of the band within which the answer is "uncertain".
        uncertain_high: End of the band. uncertain_low <= threshold <= uncertain_high; an empty band (both
            equal to the threshold) answers always.
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
        """A threshold of the caller's own, without an uncertain band.

        Raises:
            FractureEdgeError: It is not between 0 and 1.
        """
        if not 0 <= threshold <= 1:
            raise FractureEdgeError(f"threshold {threshold} is not between 0 and 1")
        return cls(threshold, threshold, threshold)

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> "Policy":
        """The inverse of `dataclasses.asdict`.

        Raises:
            ModelError: A value is missing, unknown or out of range.
        """
        try:
            return cls(**values)
        except TypeError as error:
            raise ModelError(f"policy: {error}") from error

    def decide(self, probability: float) -> tuple[Decision, Reason]:
        """Decide on one image.

        Args:
            probability: P(fractured), 0 to 1.

        Returns:
            The decision and its reason.
        """
        if self.uncertain_low <= probability < self.uncertain_high:
            band = f"{self.uncertain_low:.3f} to {self.uncertain_high:.3f}"
            text = f"probability within the uncertain band {band}"
            return Decision.UNCERTAIN, Reason(ReasonCode.WITHIN_BAND, text)
        if probability >= self.threshold:
            text = "probability at or above the threshold"
            return Decision.FRACTURED, Reason(ReasonCode.ABOVE_THRESHOLD, text)
        return Decision.NOT_FRACTURED, Reason(ReasonCode.BELOW_THRESHOLD, "probability below the threshold")
