"""`Prediction`: the result for one image."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from fracture_edge.attributes import BodyPartCode
from fracture_edge.errors import Status
from fracture_edge.policy import Decision, ReasonCode

#: Fields that every record has, in their order.
COLUMNS = (
    "path",
    "frame",
    "frames",
    "status",
    "decision",
    "probability",
    "threshold",
    "reason",
    "model",
    "model_sha256",
    "elapsed_ms",
    "reason_code",
)


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
        elapsed_ms: Milliseconds from the file to the decision: reading, decoding and inference. Images that are
            classified at the same time share the cores, so that each takes longer and all together less.
        reason_code: Machine-readable reason for the decision; ``None`` without a decision.
        heatmap: Signs of a fracture, float32 [h, w], 0 to 1, over the complete model input (`Preprocessing.frame`
            gives the part of it that shows the image); ``None`` if the model has no heat map output or there is no
            decision. It is not part of the record.
        body_part: Body part that the model sees, for example ``hand``; several are joined by ``+``. ``None`` if it
            recognises none, if the model has no such output, or if there is no decision.
        body_part_probability: Probability of the likeliest body part, 0 to 1, whether it is named or not.
        body_part_code: Machine-readable remark on the body part, which `reason` contains as words: it is not
            recognised, or it contradicts the DICOM header. The decision does not depend on it.
        view: View, for example ``frontal``, like `body_part`.
        view_probability: Probability of the likeliest view, 0 to 1.
        classes: Probabilities of classes that exclude each other, by name; they add up to 1. ``None`` if the model
            has no such output or there is no decision. The decision does not depend on them.
        further: Names of the fields that the record has after those of `COLUMNS`, because the model has outputs
            for them. It is not part of the record.
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
    body_part: str | None = None
    body_part_probability: float | None = None
    body_part_code: BodyPartCode | None = None
    view: str | None = None
    view_probability: float | None = None
    classes: Mapping[str, float] | None = field(default=None, hash=False)
    further: tuple[str, ...] = field(default=(), compare=False, repr=False)

    @property
    def ok(self) -> bool:
        """Whether the image was classified, that is, whether `status` is ``ok``."""
        return self.status is Status.OK

    def record(self) -> dict[str, Any]:
        """Return the fields named in `COLUMNS` and `further` as a dictionary, in this order."""
        return {name: getattr(self, name) for name in (*COLUMNS, *self.further)}
