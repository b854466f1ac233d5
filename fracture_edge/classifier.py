"""`FractureClassifier`: one model, one session, a prediction per image."""

import math
import os
import time
import weakref
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import lru_cache
from types import TracebackType
from typing import Any, Self

import numpy as np
import numpy.typing as npt
import onnxruntime as ort

from fracture_edge.decoding import Decoded, Decoder, Refusal, Wanted
from fracture_edge.errors import FractureEdgeError, ModelError, Status
from fracture_edge.images.image_file import ImageSource
from fracture_edge.images.limits import MAX_PIXELS
from fracture_edge.modelfile import ATYPICALITY_NAME, HEATMAP_NAME, INPUT_NAME, OUTPUT_NAME
from fracture_edge.policy import Decision, Policy, ReasonCode
from fracture_edge.prediction import Prediction
from fracture_edge.session import open_model, read_info
from fracture_edge.suitability import Limits, unlike_features
from fracture_edge.threads import map_ahead


class FractureClassifier:
    """Classifier of radiographs with one model. Not a medical device.

    A bad image gives a `Prediction` with its status; a bad model or installation raises.

    Any number of threads may share a classifier; the answers are the same bits as in one thread. It may be
    pickled, for instance as ``pool.map(classifier.predict, paths)`` does: the other process opens the model file
    again, once. After a fork the child opens it again at its first prediction. (onnxruntime itself cannot be shut
    down in a forked child: one made by `os.fork` has to end with `os._exit`, as those of `multiprocessing` do.
    Fork while no other thread predicts.)

    Example:
        >>> prediction = FractureClassifier().predict("image.png")  # doctest: +SKIP
        >>> prediction.decision, round(prediction.probability, 2)  # doctest: +SKIP
        (<Decision.NOT_FRACTURED: 'not_fractured'>, 0.04)

    Attributes:
        info: What the model says about itself.
        policy: Threshold and uncertain band in use.
        sha256: SHA-256 of the model file.
    """

    def __init__(
        self,
        model: str | os.PathLike[str] | None = None,
        threads: int | None = None,
        *,
        threshold: float | None = None,
        policy: str | None = None,
        max_pixels: int = MAX_PIXELS,
        check_images: bool = True,
    ) -> None:
        """Load a model.

        Args:
            model: An ``.onnx`` file written by ``fracture-edge export``; the embedded one when ``None``.
            threads: Threads of one inference; as many as the process may use, at most
                `fracture_edge.session.MOST_THREADS`, when ``None``.
            threshold: In place of the model's own, 0 to 1; switches its uncertain band off.
            policy: Name of one of the model's operating points, such as ``screening``; see
                `ModelInfo.operating_points`.
            max_pixels: Larger pictures are refused before they are decoded; 5 bytes of memory for each pixel is
                what decoding one may take.
            check_images: Whether an image that is unlike the training images, or of low quality, gets the
                decision ``uncertain``, whatever its probability; see `fracture_edge.suitability`.

        Raises:
            ModelError: The file is missing, damaged, no model of ours, or of a newer schema.
            FractureEdgeError: The threshold is not between 0 and 1, or there is a policy beside it.
        """
        self._path = None if model is None else os.path.abspath(model)  # noqa: PTH100
        self._threads = threads
        if threshold is not None and policy is not None:
            raise FractureEdgeError("a threshold and a policy exclude each other; give one of them")
        self._threshold, self._policy_name = threshold, policy
        self._closed = False
        self._file, self.sha256, session = open_model(model, threads)
        self.info = read_info(self._file, session)
        self.policy = self.info.policy_named(policy) if threshold is None else Policy.at(threshold)
        there = [output.name for output in session.get_outputs()]
        wanted = (OUTPUT_NAME, HEATMAP_NAME, *((ATYPICALITY_NAME,) if check_images else ()))
        self._outputs = [name for name in wanted if name in there]
        limits = Limits.from_dict(self.info.suitability) if check_images else None
        self._decoder = Decoder(self.info.preprocessing, max_pixels, limits)
        self._most_atypical = float(self.info.typicality.get("threshold", math.inf))
        self._session: ort.InferenceSession | None = session
        _LIVING.add(self)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Let go of the session and its memory; may be called again. Predictions that are under way end well."""
        self._closed = True
        self._session = None

    def __reduce__(self) -> tuple[Callable[..., "FractureClassifier"], tuple[Any, ...]]:
        options = {
            "threshold": self._threshold,
            "policy": self._policy_name,
            "max_pixels": self._decoder.max_pixels,
            "check_images": self.checks_images,
        }
        return _reopen, (self._path, self.sha256, self._threads, tuple(options.items()))

    def predict(self, image: ImageSource) -> Prediction:
        """Classify one image; of a file that holds several, the first, and the reason says so.

        Args:
            image: A path, the bytes of a file, an open binary file, or an array (see
                `fracture_edge.images.image_file.load_image`).

        Returns:
            The answer; an image that cannot be used gets one too, with its status in place of a decision.

        Raises:
            ModelError: The graph gives NaN.
            FractureEdgeError: The classifier is closed.
        """
        return self._answer(self._decoder.first(image))

    def predict_frames(self, image: ImageSource, frames: Sequence[int] | None = None) -> Iterator[Prediction]:
        """Classify every frame of a DICOM file; memory does not grow with their number.

        Of any other file the first picture is classified, and the reason says so where there are more.

        Args:
            image: Image as for `predict`.
            frames: Numbers of the frames, from 1; all that the file has if ``None``.

        Returns:
            The answers as they come, one for each frame; errors as in `predict`, when an answer is asked for. A
            frame that cannot be decoded gets its status, and the next ones are tried all the same. A file that
            cannot be read at all, or that holds more than `fracture_edge.images.limits.MAX_FRAMES`, gets a single
            answer; or one for each of `frames`.
        """
        return map(self._answer, self._decoder.frames(image, frames))

    def predict_many(self, images: Iterable[ImageSource], *, jobs: int = 1) -> Iterator[Prediction]:
        """Classify images as `predict` does, in order; memory does not grow with their number.

        Args:
            images: Images as for `predict`.
            jobs: Threads that decode while the session runs. With 1 there is no thread, and an image is taken
                from `images` when its answer is asked for; with more, up to twice as many images are taken ahead.

        Returns:
            The answers as they come; errors as in `predict`, when an answer is asked for.

        Raises:
            ValueError: `jobs` is under 1.
        """
        return map(self._answer, map_ahead(self._decoder.first, images, jobs))

    def predict_files(self, files: Iterable[Wanted], *, jobs: int = 1) -> Iterator[Iterator[Prediction]]:
        """Classify every frame of files, in order, as `predict_frames` does.

        Args:
            files: Paths, and which frames.
            jobs: Threads as for `predict_many`. It is the first frames of files that are decoded ahead.

        Returns:
            The answers of one file after the other; take those of a file before the next file.

        Raises:
            ValueError: `jobs` is under 1.
        """
        return (self._go_on(*begun) for begun in map_ahead(self._begin, files, jobs))

    def probabilities(self, pixels: npt.NDArray[np.uint8]) -> npt.NDArray[np.float32]:
        """Run the graph alone, on images that are preprocessed already.

        Args:
            pixels: Images, uint8 [N, height, width, 1], as `info.preprocessing` makes them.

        Returns:
            P(fractured), float32 [N].
        """
        return self._run(pixels, [OUTPUT_NAME])[0][:, 0]

    @property
    def checks_images(self) -> bool:
        """Whether images that are unlike the training images, or poor, are answered ``uncertain``."""
        return self._decoder.limits is not None

    @property
    def has_heatmap(self) -> bool:
        """Whether the model has a heat map as second output."""
        return HEATMAP_NAME in self._outputs

    def _run(self, pixels: npt.NDArray[np.uint8], outputs: Sequence[str]) -> list[npt.NDArray[np.float32]]:
        found: list[npt.NDArray[np.float32]] = self._running().run(outputs, {INPUT_NAME: pixels})
        return found

    def _running(self) -> ort.InferenceSession:
        """The session; opened again in a process that has none of its own yet."""
        session = self._session
        if session is None:
            if self._closed:
                raise FractureEdgeError("the classifier is closed; make a new one")
            file, digest, session = open_model(self._path, self._threads)
            if digest != self.sha256:
                raise ModelError(f"{file}: the file has changed since it was loaded; make a new classifier")
            self._session = session
        return session

    def _begin(self, wanted: Wanted) -> tuple[Wanted, Decoded]:
        return wanted, next(self._decoder.frames(*wanted))

    def _go_on(self, wanted: Wanted, first: Decoded) -> Iterator[Prediction]:
        yield self._answer(first)
        numbers = range(1, first.frames + 1) if wanted.frames is None else wanted.frames
        # Read again and decoded here: files whose turn comes later keep one frame waiting each, and no bytes.
        if len(numbers) > 1:
            yield from map(self._answer, self._decoder.frames(wanted.file, numbers[1:]))

    def _answer(self, decoded: Decoded) -> Prediction:
        started = time.perf_counter()
        status, decision, probability, heatmap = Status.OK, None, None, None
        code: ReasonCode | None = None
        if isinstance(decoded.outcome, Refusal):
            status, reason = decoded.outcome
        else:
            outputs = self._run(decoded.outcome.pixels[np.newaxis], self._outputs)
            answer = dict(zip(self._outputs, outputs, strict=True))
            probability = float(answer[OUTPUT_NAME][0, 0])
            heatmap = answer[HEATMAP_NAME][0] if HEATMAP_NAME in answer else None
            if not math.isfinite(probability):
                raise ModelError(f"{self._file}: the graph gives NaN; the model file is damaged")
            decision, (code, reason) = self.policy.decide(probability)
            doubt = decoded.doubt
            if doubt is None and ATYPICALITY_NAME in answer:
                doubt = unlike_features(float(answer[ATYPICALITY_NAME][0, 0]), self._most_atypical)
            if doubt is not None:
                decision, (code, reason) = Decision.UNCERTAIN, doubt
            if decoded.alone_of > 1:
                reason += f"; the first of {decoded.alone_of} frames in the file"
        return Prediction(
            path=decoded.name,
            frame=decoded.frame,
            frames=decoded.frames,
            status=status,
            decision=decision,
            probability=probability,
            threshold=self.policy.threshold if decision else None,
            reason=reason,
            model=self.info.full_name,
            model_sha256=self.sha256,
            elapsed_ms=round((decoded.seconds + time.perf_counter() - started) * 1000, 3),
            reason_code=code,
            heatmap=heatmap,
        )


#: Classifiers whose sessions a forked child must not touch.
_LIVING: weakref.WeakSet[FractureClassifier] = weakref.WeakSet()
#: Sessions of the parent process. Their threads do not exist in a child, which would wait forever to close one.
_ORPHANS: list[ort.InferenceSession] = []


def _forget_sessions() -> None:
    for classifier in _LIVING:
        if classifier._session is not None:
            _ORPHANS.append(classifier._session)
            classifier._session = None


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget_sessions)


def _reopen(
    model: str | None, sha256: str, threads: int | None, options: tuple[tuple[str, Any], ...]
) -> FractureClassifier:
    """What a pickled classifier becomes: one per process, because a pool pickles it with every task."""
    classifier = _opened_once(model, sha256, threads, options)
    classifier._closed = False
    return classifier


@lru_cache(maxsize=4)
def _opened_once(
    model: str | None, sha256: str, threads: int | None, options: tuple[tuple[str, Any], ...]
) -> FractureClassifier:
    classifier = FractureClassifier(model, threads, **dict(options))
    if classifier.sha256 != sha256:
        raise ModelError(f"{classifier._file}: not the file that the classifier was made from")
    return classifier
