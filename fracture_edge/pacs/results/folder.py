"""Writing of the result objects of `classify --dicom-results` into a folder."""

from collections.abc import Callable
from pathlib import Path

from fracture_edge.classifier import FractureClassifier
from fracture_edge.errors import ImageError
from fracture_edge.files import atomic_path
from fracture_edge.images.limits import MAX_PIXELS
from fracture_edge.pacs.results.make import ResultMaker, is_dicom_file
from fracture_edge.pacs.results.source import NoResultError
from fracture_edge.prediction import Prediction


class ResultFolder:
    """Folder for the result objects of classified DICOM images.

    A file is named after the UID of its object, which is derived from image and model: a repetition replaces it.
    """

    def __init__(
        self,
        classifier: FractureClassifier,
        folder: Path,
        *,
        max_pixels: int = MAX_PIXELS,
        note: Callable[[str], None] = lambda text: None,
    ) -> None:
        """Prepare the folder; it is created with the first result.

        Args:
            classifier: Classifier that makes the predictions.
            folder: Folder for the results.
            max_pixels: Maximum number of pixels that the images are classified with.
            note: Function that is called with the reason why a DICOM image has no results.

        Raises:
            FractureEdgeError: A package of the extra `[pacs]` is missing.
        """
        self._maker = ResultMaker(classifier, max_pixels=max_pixels)
        self._classifier, self._folder, self._note = classifier, folder, note
        self._frames: list[Prediction] = []
        self._written = self._without = self._other = 0

    def add(self, prediction: Prediction) -> None:
        """Take the prediction of a frame, and write the results of its file after the last frame.

        Args:
            prediction: Prediction for a file; those of the frames of one file follow each other.
        """
        if self._frames and self._frames[0].path != prediction.path:
            self._frames.clear()
        self._frames.append(prediction)
        if prediction.frame < prediction.frames:
            return
        frames, self._frames = self._frames, []
        if not is_dicom_file(prediction.path):
            self._other += 1
            return
        if len(frames) < prediction.frames:
            # The first frames got their records in an earlier run; the report is of all of them.
            frames = list(self._classifier.predict_frames(prediction.path))
        try:
            for result in self._maker.make(prediction.path, frames):
                with atomic_path(self._folder / result.name) as temporary:
                    temporary.write_bytes(result.content)
        except (NoResultError, ImageError) as error:
            detail = error.detail if isinstance(error, ImageError) else str(error)
            self._skip(prediction, detail)
        except OSError as error:
            # The disk is full, say. The prediction remains valid, and the next result may fit.
            self._skip(prediction, error.strerror or str(error))
        else:
            self._written += 1

    def summary(self) -> str:
        """Return one line of counts for the user."""
        line = f"{self._folder}: DICOM results of {self._written} image{'s' * (self._written != 1)}"
        if self._without:
            line += f"; none of {self._without} DICOM image{'s' * (self._without != 1)}, see above"
        if self._other:
            line += f"; none of {self._other} file{'s' * (self._other != 1)} without DICOM"
        return line

    def _skip(self, prediction: Prediction, detail: str) -> None:
        self._without += 1
        self._note(f"{prediction.path}: no DICOM results: {detail}")
