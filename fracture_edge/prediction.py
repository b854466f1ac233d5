"""`Prediction`: what is said of one image."""

from dataclasses import dataclass, field, fields
from typing import Any

import numpy as np
import numpy.typing as npt

from fracture_edge.errors import Status
from fracture_edge.policy import Decision, ReasonCode


@dataclass(frozen=True, slots=True)
class Prediction:
    """The answer for one image, or one frame of it, or why there is none.

    Attributes:
        path: The file, or ``<bytes>``, ``<array>``, ``<file>``.
        frame: Which of the file's frames, from 1 as DICOM counts; 1 in files of other formats.
        frames: How many frames a DICOM file says it holds, each of which can be asked for; 1 in files of other
            formats, whatever they hold, and where the file cannot be read at all.
        status: ``ok``, or what was wrong with the image; the following three are ``None`` then.
        decision: ``fractured``, ``not_fractured`` or ``uncertain``.
        probability: P(fractured), calibrated on validation images, 0 to 1.
        threshold: What the probability was compared with.
        reason: Reason of the decision or of the failure, in words.
        model: Name of the model, and its version where it has one: ``edge-int8 0.3``.
        model_sha256: SHA-256 of the model file, hexadecimal.
        elapsed_ms: Milliseconds from the file to the decision: reading, decoding and inference, without the
            time that a decoded image waits for the session in `FractureClassifier.predict_many`.
        reason_code: Reason of the decision, for programs; ``None`` where there is no decision.
        heatmap: Where the model looked: float32 [h, w], 0 to 1, over its whole input
            (`Preprocessing.frame` tells which part of it shows the image), where the model has such an output and
            there is an answer. No part of a record.
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
        """Whether there is an answer."""
        return self.status is Status.OK

    def record(self) -> dict[str, Any]:
        """Everything but the heat map, as plain values in the order of the fields."""
        return {entry.name: getattr(self, entry.name) for entry in fields(self) if entry.name != "heatmap"}
