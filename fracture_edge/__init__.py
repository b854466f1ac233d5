"""Bone fracture classification of X-ray images on small computers, offline. Not a medical device.

Example:
    >>> from fracture_edge import FractureClassifier
    >>> prediction = FractureClassifier().predict("image.png")  # doctest: +SKIP
    >>> prediction.decision, round(prediction.probability, 2)  # doctest: +SKIP
    (<Decision.NOT_FRACTURED: 'not_fractured'>, 0.04)
"""

import os
from typing import TYPE_CHECKING

from fracture_edge._version import __version__

if TYPE_CHECKING:
    from fracture_edge.classifier import FractureClassifier
    from fracture_edge.errors import FractureEdgeError, ImageError, ModelError, Status
    from fracture_edge.policy import Decision
    from fracture_edge.prediction import Prediction

# From version 1.29 on, onnxruntime sends telemetry to its vendor and stores a device ID in the user's cache, also
# on Linux and macOS. It reads this variable when it is imported.
os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")

__all__ = [
    "Decision",
    "FractureClassifier",
    "FractureEdgeError",
    "ImageError",
    "ModelError",
    "Prediction",
    "Status",
    "__version__",
]

_HOMES = {
    "FractureClassifier": "fracture_edge.classifier",
    "Prediction": "fracture_edge.prediction",
    "Decision": "fracture_edge.policy",
    "FractureEdgeError": "fracture_edge.errors",
    "ImageError": "fracture_edge.errors",
    "ModelError": "fracture_edge.errors",
    "Status": "fracture_edge.errors",
}


def __getattr__(name: str) -> object:
    """Import a public name on first use, so that `fracture-edge --help` loads neither numpy nor onnxruntime."""
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module

    return getattr(import_module(_HOMES[name]), name)
