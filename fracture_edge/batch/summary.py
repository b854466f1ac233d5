"""The line that `classify` ends with when there were many images."""

import time
from collections import Counter

from fracture_edge.errors import Status
from fracture_edge.policy import Decision
from fracture_edge.prediction import Prediction

_WORDS = (
    (Decision.FRACTURED, "fractured"),
    (Decision.NOT_FRACTURED, "not fractured"),
    (Decision.UNCERTAIN, "uncertain"),
)


class Summary:
    """Counts of predictions, by decision and by status."""

    def __init__(self) -> None:
        self._started = time.monotonic()
        self._decisions: Counter[Decision] = Counter()
        self._failures: Counter[Status] = Counter()

    def add(self, prediction: Prediction) -> None:
        """Count a prediction."""
        if prediction.decision is None:
            self._failures[prediction.status] += 1
        else:
            self._decisions[prediction.decision] += 1

    @property
    def images(self) -> int:
        """Number of images so far; each frame of a DICOM file is one."""
        return self._decisions.total() + self._failures.total()

    def text(self) -> str:
        """Say how many images got which answer, and how long that took."""
        parts = [f"{self._decisions[decision]} {word}" for decision, word in _WORDS]
        if self._failures:
            reasons = ", ".join(f"{count} {status}" for status, count in self._failures.most_common())
            parts.append(f"{self._failures.total()} without an answer ({reasons})")
        return f"{self.images} images: {', '.join(parts)}; {time.monotonic() - self._started:.1f} s"
