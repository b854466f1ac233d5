"""`Prediction`: the result for one image."""

from dataclasses import dataclass, field, fields
from typing import Any

import numpy as np
import numpy.typing as npt

from fracture_edge.errors import Status
from fracture_edge.policy import Decision, ReasonCode


@dataclass(frozen=True, slots=True)
class Prediction:
    """Prediction for one image or one frame, or the reason why there is none.

    Attributes:
        path: Path of the file, or ``<bytes>``, ``<array>`` or ``<file>`` for other sources.
        frame: Number of the frame in the file, from 1 as DICOM counts; 1 for formats other than DICOM.
        frames: Number of frames that the header of a DICOM file states; 1 for other formats, however many pages
            or frames the file holds, and for files that cannot be read.
        status: Status of the image. If it is not ``ok``, the image could not be used, and `decision`,
            `probability` and `threshold` are ``None``.
        decision: ``fractured``, ``not_fractured`` or ``uncertain``.
        probability: P(fractured), 0 to 1, calibrated on validation images or out of fold.
        threshold: Decision threshold that the probability was compared with, 0 to 1.
        reason: Reason for the decision or for the failure, as a sentence.
        model: Name of the model, followed by its version if it has one, for example ``edge-int8 0.3``.
        model_sha256: SHA-256 of the model file, hexadecimal.
        elapsed_ms: Milliseconds from the file to the decision: reading, decoding and inference, without the
            time that a decoded image waits for the session in `FractureClassifier.predict_many`.
        reason_code: Machine-readable reason for the decision; ``None`` without a decision.
        heatmap: Class-activation map, float32 [h, w], 0 to 1, over the complete model input (`Preprocessing.frame`
            gives the part of it that shows the image); ``None`` if the model has no heat map output or there is no
            decision. It is not part of the record.
    """

    path: str
    frame: int
    frames: int
    status: Status
    decision: Decision | None
    probability: float | None
    threshold: float | None
    reason: str
    model: str
    model_sha256: str
    elapsed_ms: float
    reason_code: ReasonCode | None = None
    heatmap: npt.NDArray[np.float32] | None = field(default=None, compare=False, repr=False)

    @property
    def ok(self) -> bool:
        """Whether the image was classified, that is, whether `status` is ``ok``."""
        return self.status is Status.OK

    def record(self) -> dict[str, Any]:
        """Return all fields but the heat map as a dictionary, in the order of the fields."""
        return {entry.name: getattr(self, entry.name) for entry in fields(self) if entry.name != "heatmap"}
