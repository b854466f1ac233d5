"""From a probability to a decision, with the reason in words."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from enum import StrEnum
from typing import Any

from fracture_edge.errors import FractureEdgeError, ModelError

#: How the reason of a decision begins that the band alone made; every other ``uncertain`` is about the picture.
WITHIN_BAND = "probability within the uncertain band"


class Decision(StrEnum):
    """What a prediction says. Fractured is the positive class."""

    FRACTURED = "fractured"
    NOT_FRACTURED = "not_fractured"
    UNCERTAIN = "uncertain"


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

    def decide(self, probability: float) -> tuple[Decision, str]:
        """Decide on one image.

        Args:
            probability: P(fractured), 0 to 1.

        Returns:
            The decision, and the reason in words.
        """
        if self.uncertain_low <= probability < self.uncertain_high:
            band = f"{self.uncertain_low:.3f} to {self.uncertain_high:.3f}"
            return Decision.UNCERTAIN, f"{WITHIN_BAND} {band}"
        if probability >= self.threshold:
            return Decision.FRACTURED, "probability at or above the threshold"
        return Decision.NOT_FRACTURED, "probability below the threshold"
