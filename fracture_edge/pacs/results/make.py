"""Making of the result objects of one classified DICOM image."""

import io
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

from fracture_edge.classifier import FractureClassifier
from fracture_edge.errors import FractureEdgeError, ImageError
from fracture_edge.images.image_file import DICOM_START, ImageFile, is_dicom
from fracture_edge.images.limits import MAX_PIXELS, max_bytes
from fracture_edge.images.quiet import quiet
from fracture_edge.images.sources import read_bytes
from fracture_edge.pacs.results.identity import Kind
from fracture_edge.pacs.results.source import NoResultError, read_source
from fracture_edge.prediction import Prediction

_NEEDED = ("pydicom", "highdicom")


class ResultObject(NamedTuple):
    """DICOM object that tells the result for one image.

    Attributes:
        name: File name: kind and SOP Instance UID, without anything from the header of the source.
        content: Content of the file (PS3.10).
    """

    name: str
    content: bytes


class ResultMaker:
    """Maker of result objects for the predictions of one classifier."""

    def __init__(self, classifier: FractureClassifier, *, max_pixels: int = MAX_PIXELS) -> None:
        """Import the packages that are needed, which takes a second.

        Args:
            classifier: Classifier that makes the predictions.
            max_pixels: Maximum number of pixels that the images were classified with.

        Raises:
            FractureEdgeError: A package of the extra `[pacs]` is missing.
        """
        require_pacs(*_NEEDED)
        self._classifier, self._max_pixels = classifier, max_pixels

    def make(self, path: str | os.PathLike[str], predictions: Sequence[Prediction]) -> list[ResultObject]:
        """Make the Secondary Capture and the Structured Report of one file.

        Of several frames, the report has one measurement group each, and the capture shows the one with the
        highest probability.

        Args:
            path: Path of the DICOM file.
            predictions: Predictions of all its frames, in order.

        Returns:
            Result objects; the same file, model and version give objects with the same UIDs.

        Raises:
            NoResultError: No frame has a decision, or the header does not say where a result belongs.
            ImageError: The file can no longer be read.
        """
        answered = [prediction for prediction in predictions if prediction.ok]
        if not answered:
            raise NoResultError("the image has no answer")
        _, data = read_bytes(Path(path), max_bytes(self._max_pixels))
        source = read_source(data)
        shown = max(answered, key=lambda prediction: prediction.probability or 0.0)
        file = ImageFile(data, max_pixels=self._max_pixels)
        picture = file.read(shown.frame - 1)
        try:
            with quiet():
                return self._objects(source, picture, shown, answered)
        except (ImageError, MemoryError):
            raise
        except Exception as error:
            # Not the message of the error, which may quote the header.
            raise NoResultError(f"no DICOM object could be made of it ({type(error).__name__})") from None

    def _objects(
        self, source: Any, picture: Any, shown: Prediction, answered: Sequence[Prediction]
    ) -> list[ResultObject]:
        from fracture_edge.pacs.results.capture import secondary_capture
        from fracture_edge.pacs.results.picture import result_picture
        from fracture_edge.pacs.results.report import structured_report

        info, policy, sha256 = self._classifier.info, self._classifier.policy, self._classifier.sha256
        pixels = result_picture(picture, shown, info.preprocessing, policy)
        frame = shown.frame if shown.frames > 1 else None
        return [
            _written(Kind.CAPTURE, secondary_capture(source, pixels, frame, info, sha256)),
            _written(Kind.REPORT, structured_report(source, answered, info, policy, sha256)),
        ]


def is_dicom_file(path: str | os.PathLike[str]) -> bool:
    """Return whether a file is taken for DICOM; false if it cannot be read."""
    try:
        with Path(path).open("rb") as stream:
            return is_dicom(stream.read(DICOM_START))
    except (OSError, ValueError):
        return False


def require_pacs(*modules: str) -> None:
    """Check that packages of the extra `[pacs]` are installed.

    Raises:
        FractureEdgeError: One of them is missing; the message says how to install it.
    """
    from importlib.util import find_spec

    for module in modules:
        if module not in sys.modules and find_spec(module) is None:
            raise FractureEdgeError(f"DICOM results need {module}: pip install 'fracture-edge[pacs]'")


def _written(kind: Kind, dataset: Any) -> ResultObject:
    stream = io.BytesIO()
    dataset.save_as(stream, enforce_file_format=True)
    return ResultObject(f"{kind}-{dataset.SOPInstanceUID}.dcm", stream.getvalue())
