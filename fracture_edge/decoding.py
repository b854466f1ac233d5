"""Decoding and preprocessing of frames, the part of a prediction before inference."""

import os
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from fracture_edge.errors import ImageError, ImageFormatError, Status
from fracture_edge.images.image_file import ImageSource, source_name
from fracture_edge.policy import Reason
from fracture_edge.preprocess import Framed, Preprocessing
from fracture_edge.suitability import Limits, check_aspect, measure


class Wanted(NamedTuple):
    """File to be classified.

    Attributes:
        file: Path of the file.
        frames: Numbers of the frames to classify, from 1; all if ``None``.
    """

    file: str | os.PathLike[str]
    frames: Sequence[int] | None = None


class Refusal(NamedTuple):
    """Content of an `ImageError`, whose traceback would keep the bytes of the file in memory.

    Attributes:
        status: Status of the image.
        detail: Description of the failure, without the name of the file.
    """

    status: Status
    detail: str


class Decoded(NamedTuple):
    """One decoded and preprocessed frame, or the reason why it could not be decoded.

    Attributes:
        name: Name of the file, as in `Prediction.path`.
        frame: Number of the frame in the file, from 1.
        frames: Number of frames in the file; 1 if it is not known.
        outcome: Preprocessed frame, or the failure.
        problem: Reason why the decision will be "uncertain" whatever the probability; ``None`` if there is none.
        pictures: Number of pictures in the file when only the first is classified; 1 otherwise.
        seconds: Time that reading, decoding and preprocessing took, in seconds.
    """

    name: str
    frame: int
    frames: int
    outcome: Framed | Refusal
    problem: Reason | None
    pictures: int
    seconds: float


@dataclass(frozen=True, slots=True)
class Decoder:
    """Decoder of images for one model; threads may share it.

    Attributes:
        preprocessing: Preprocessing of the model.
        max_pixels: Maximum number of pixels of a frame; see `fracture_edge.images.image_file.load_image`.
        limits: Limits of a usable radiograph; images are not checked if ``None``.
    """

    preprocessing: Preprocessing
    max_pixels: int
    limits: Limits | None

    def first(self, image: ImageSource) -> Decoded:
        """Decode the first frame of an image."""
        decoded = next(self.frames(image, (1,)))
        if isinstance(decoded.outcome, Framed):
            return decoded._replace(pictures=decoded.outcome.frames)
        return decoded

    def frames(self, image: ImageSource, numbers: Sequence[int] | None = None) -> Iterator[Decoded]:
        """Decode frames one after the other, keeping only the bytes of the file in memory.

        Args:
            image: Image, as for `fracture_edge.images.image_file.load_image`.
            numbers: Numbers of the frames, from 1; all if ``None``, which fails for more than
                `fracture_edge.images.limits.MAX_FRAMES`.

        Yields:
            Decoded frame or failure, one for each of the frames. If the file cannot be read: one failure for each
            of `numbers`, or a single one for ``None``.
        """
        started, name = time.perf_counter(), source_name(image)
        try:
            file = self.preprocessing.open(image, max_pixels=self.max_pixels)
            wanted = range(1, file.checked_frame_count() + 1) if numbers is None else numbers
        except ImageError as error:
            refusal = Refusal(error.status, error.detail)
            # Every number that was asked for gets a failure, so that resuming at "3 of 12" gives all twelve
            # records.
            for number in numbers or (1,):
                yield Decoded(name, number, max(numbers or (1,)), refusal, None, 1, time.perf_counter() - started)
            return
        for number in wanted:
            outcome: Framed | Refusal
            problem, pictures, frames = None, 1, file.frames
            try:
                outcome = self.preprocessing.framed(file.read(number - 1))
            except ImageError as error:
                outcome = Refusal(error.status, error.detail)
                if isinstance(error, ImageFormatError) and numbers is None and number == 1:
                    # Without a decoder for the file, the other frames cannot be read either.
                    frames = 1
            else:
                problem = self._find_problem(outcome)
                if file.frames == 1:
                    pictures = outcome.frames
            yield Decoded(name, number, frames, outcome, problem, pictures, time.perf_counter() - started)
            if frames < file.frames:
                return
            started = time.perf_counter()

    def _find_problem(self, framed: Framed) -> Reason | None:
        if self.limits is None:
            return None
        return check_aspect(framed.aspect) or self.limits.find_problem(
            measure(framed.content, side=framed.side, colour=framed.colour)
        )
