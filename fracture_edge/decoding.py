"""From a file to what the session takes, one frame at a time: the part of an answer that threads may do ahead."""

import os
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from fracture_edge.errors import ImageError, ImageFormatError, Status
from fracture_edge.images.image_file import ImageSource, source_name
from fracture_edge.policy import Reason
from fracture_edge.preprocess import Framed, Preprocessing
from fracture_edge.suitability import Limits, measure


class Wanted(NamedTuple):
    """A file to be classified.

    Attributes:
        file: Its path.
        frames: Numbers of its frames, from 1; ``None`` for all.
    """

    file: str | os.PathLike[str]
    frames: Sequence[int] | None = None


class Refusal(NamedTuple):
    """What an `ImageError` says, without the file's bytes that its traceback would keep.

    Attributes:
        status: See there.
        detail: See there.
    """

    status: Status
    detail: str


class Decoded(NamedTuple):
    """One frame on its way to the session: as the model sees it, or why it does not get there.

    Attributes:
        name: What records call the file.
        frame: Which of the file's frames, from 1.
        frames: How many it has; 1 where that cannot be said.
        outcome: The frame, or what is wrong with it.
        doubt: Why the answer will be "uncertain" whatever the probability, if anything speaks for that.
        alone_of: Of how many pictures in the file this is the only one that gets an answer.
        seconds: What it took.
    """

    name: str
    frame: int
    frames: int
    outcome: Framed | Refusal
    doubt: Reason | None
    alone_of: int
    seconds: float


@dataclass(frozen=True, slots=True)
class Decoder:
    """Decodes for one model; may be shared by threads.

    Attributes:
        preprocessing: Of the model.
        max_pixels: See `fracture_edge.images.image_file.load_image`.
        limits: What is taken for a usable radiograph; nothing is checked if ``None``.
    """

    preprocessing: Preprocessing
    max_pixels: int
    limits: Limits | None

    def first(self, image: ImageSource) -> Decoded:
        """Decode the first frame, of however many."""
        decoded = next(self.frames(image, (1,)))
        if isinstance(decoded.outcome, Framed):
            return decoded._replace(alone_of=decoded.outcome.frames)
        return decoded

    def frames(self, image: ImageSource, numbers: Sequence[int] | None = None) -> Iterator[Decoded]:
        """Decode frames one after the other; only the file's bytes are held in between.

        Args:
            image: As for `fracture_edge.images.image_file.load_image`.
            numbers: Of the frames, from 1; ``None`` for all, of which there may be
                `fracture_edge.images.limits.MAX_FRAMES`.

        Yields:
            Something for each of them, decoded or not; for all together one thing if there is no reading the file.
        """
        started, name = time.perf_counter(), source_name(image)
        try:
            file = self.preprocessing.open(image, max_pixels=self.max_pixels)
            wanted = range(1, file.countable_frames() + 1) if numbers is None else numbers
        except ImageError as error:
            refusal = Refusal(error.status, error.detail)
            # Numbers that were asked for stay in count: of what was begun as "3 of 12" all twelve get a record.
            for number in numbers or (1,):
                yield Decoded(name, number, max(numbers or (1,)), refusal, None, 1, time.perf_counter() - started)
            return
        for number in wanted:
            outcome: Framed | Refusal
            doubt, alone_of, frames = None, 1, file.frames
            try:
                outcome = self.preprocessing.framed(file.read(number - 1))
            except ImageError as error:
                outcome = Refusal(error.status, error.detail)
                if isinstance(error, ImageFormatError) and numbers is None and number == 1:
                    # There is no decoder for it: no other frame can be read either.
                    frames = 1
            else:
                doubt = self._doubt(outcome)
                if file.frames == 1:
                    alone_of = outcome.frames
            yield Decoded(name, number, frames, outcome, doubt, alone_of, time.perf_counter() - started)
            if frames < file.frames:
                return
            started = time.perf_counter()

    def _doubt(self, framed: Framed) -> Reason | None:
        if self.limits is None:
            return None
        return self.limits.doubt(measure(framed.content, side=framed.side, colour=framed.colour))
