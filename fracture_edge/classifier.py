"""`FractureClassifier`: fracture classification of images with one model."""

import math
import os
import time
import weakref
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import lru_cache
from typing import Any, Self

import numpy as np
import numpy.typing as npt

from fracture_edge.attributes import WITH_REMARK, Attributes, Description
from fracture_edge.decoding import Decoded, Decoder, Refusal, Wanted
from fracture_edge.errors import FractureEdgeError, ModelError, Status
from fracture_edge.images.image_file import ImageSource
from fracture_edge.images.limits import MAX_PIXELS
from fracture_edge.modelfile import ATYPICALITY_NAME, HEATMAP_NAME, INPUT_NAME, OUTPUT_NAME
from fracture_edge.policy import FIRST_OF, Decision, Policy, ReasonCode
from fracture_edge.prediction import Prediction
from fracture_edge.runtimes.opening import Session, open_model
from fracture_edge.runtimes.threads import map_ahead
from fracture_edge.suitability import NOT_COMPARED, Limits, check_atypicality


class FractureClassifier:
    """Classifier of bone radiographs. Not a medical device.

    An image that cannot be used gives a `Prediction` with its status; an unusable model or installation raises an
    error. As a context manager, the classifier is closed at the end of the block.

    Threads may share a classifier; its predictions are bit-identical to those of a single thread. A classifier can
    be pickled, as in ``pool.map(classifier.predict, paths)``: each process then opens the model file once. After a
    fork the child opens it at its first prediction. Fork while no other thread predicts. onnxruntime cannot be
    shut down in a forked child: end one made by `os.fork` with `os._exit`, as `multiprocessing` does.

    Example:
        >>> prediction = FractureClassifier().predict("image.png")  # doctest: +SKIP
        >>> prediction.decision, round(prediction.probability, 2)  # doctest: +SKIP
        (<Decision.NOT_FRACTURED: 'not_fractured'>, 0.04)

    Attributes:
        info: Metadata of the model, a `ModelInfo`.
        policy: Decision threshold and uncertain band in use.
        sha256: SHA-256 of the model file, hexadecimal.
        attributes: Further outputs of the model: body part, view and classes.
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
            model: Path of an ``.onnx`` or ``.tflite`` (``[litert]`` extra) file; the embedded model if ``None``.
            threads: Number of threads of one inference, at most one per usable core; at most 4 if ``None``.
            threshold: Decision threshold in place of the model's own, 0 to 1; without an uncertain band.
            policy: Name of an operating point in `ModelInfo.operating_points`, for example ``screening``.
            max_pixels: Maximum number of pixels; larger images are refused before they are decoded. Decoding may
                take up to 5 bytes of memory for each pixel that is allowed.
            check_images: Whether images that are unlike the training images or of low quality are ``uncertain``
                (see `fracture_edge.suitability`) and body parts are remarked on (`fracture_edge.attributes`).

        Raises:
            ModelError: The file is missing, damaged, not a fracture-edge model or of a newer schema, or the model
                has no such operating point.
            FractureEdgeError: The threshold is invalid or given beside a policy, or LiteRT is not installed.
        """
        self._path = None if model is None else os.path.abspath(model)  # noqa: PTH100
        if threshold is not None and policy is not None:
            raise FractureEdgeError("give either a threshold or a policy, not both")
        self._threshold, self._policy_name = threshold, policy
        self._threads, self._closed = threads, False
        opened = open_model(model, threads)
        self._file, self.sha256, self.info, available = opened.name, opened.sha256, opened.info, opened.outputs
        info = self.info
        self.policy = info.policy_named(policy) if threshold is None else Policy.at(threshold)
        self.attributes = Attributes.of_model(info.attributes, info.classes, available, remarks=check_images)
        wanted = (OUTPUT_NAME, HEATMAP_NAME, *((ATYPICALITY_NAME,) if check_images else ()))
        self._outputs = [*(name for name in wanted if name in available), *self.attributes.outputs]
        limits = Limits.from_dict(info.suitability) if check_images else None
        self._decoder = Decoder(info.preprocessing, max_pixels, limits)
        self._max_atypicality = float(info.typicality.get("threshold", math.inf))
        self._not_compared = NOT_COMPARED if check_images and opened.lacks_typicality else ""
        self._session: Session | None = opened.session
        _LIVING.add(self)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    def close(self) -> None:
        """Release the session and its memory. Predictions in progress finish; closing again has no effect."""
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

    def with_policy(self, name: str) -> Self:
        """Return a classifier that shares the session, with an operating point as for `ModelInfo.policy_named`."""
        other = object.__new__(type(self))
        changes = {"policy": self.info.policy_named(name), "_policy_name": name, "_threshold": None}
        other.__dict__.update(self.__dict__ | changes)
        _LIVING.add(other)
        return other

    def predict(self, image: ImageSource) -> Prediction:
        """Classify one image. If its file holds several, the first is classified, and the reason says so.

        Args:
            image: Path, bytes of a file (or bytearray, memoryview), open binary file, Pillow image, or array
                [H, W], [H, W, 1], [H, W, 3] RGB or [H, W, 4] RGBA of any real type, with bone bright. Values that
                are not 8-bit are scaled linearly from their range, without isolated extreme ones, to 0 to 255.

        Returns:
            Prediction for the image; for an image that cannot be used, its status instead of a decision.

        Raises:
            ModelError: The model gives NaN or infinity.
            FractureEdgeError: The classifier is closed.
        """
        return self._classify(self._decoder.first(image))

    def predict_frames(self, image: ImageSource, frames: Sequence[int] | None = None) -> Iterator[Prediction]:
        """Classify the frames of a DICOM file, in constant memory; of other formats, the first picture only.

        Args:
            image: Image as for `predict`.
            frames: Numbers of the frames, from 1; all frames if ``None``.

        Returns:
            Iterator over one prediction for each frame; the next one raises errors as `predict` does. A frame that
            cannot be decoded gives its status, and the following ones are still classified. A file that cannot be
            read, or with more than `fracture_edge.images.limits.MAX_FRAMES` frames, gives a single prediction, or
            one for each of `frames`.
        """
        return map(self._classify, self._decoder.frames(image, frames))

    def predict_many(self, images: Iterable[ImageSource], *, jobs: int = 1) -> Iterator[Prediction]:
        """Classify images as `predict` does, in order and in constant memory.

        Args:
            images: Images as for `predict`.
            jobs: Number of images that are classified at a time, in threads, at most one per core; fastest with
                ``threads=1``. With 1 an image is taken when it is requested, else up to ``2 * jobs`` ahead.

        Returns:
            Iterator over the predictions; the next one raises errors as `predict` does.
        """
        return map_ahead(self.predict, images, jobs)

    def predict_files(self, files: Iterable[Wanted], *, jobs: int = 1) -> Iterator[Iterator[Prediction]]:
        """Classify the frames of several files as `predict_frames` does, in order.

        Args:
            files: Paths of the files and numbers of their frames.
            jobs: Number of files, or of frames of one file, that are classified at a time; see `predict_many`.

        Returns:
            Iterator over the predictions of each file; exhaust it before taking that of the next file.
        """
        return (self._finish_file(*begun, jobs) for begun in map_ahead(self._begin_file, files, jobs))

    def probabilities(self, pixels: npt.NDArray[np.uint8]) -> npt.NDArray[np.float32]:
        """Run the model on preprocessed images, without image checks and decision.

        Args:
            pixels: Images, uint8 [N, height, width, 1], preprocessed by `info.preprocessing`.

        Returns:
            P(fractured) of each image, float32 [N].
        """
        return self._run(pixels, [OUTPUT_NAME])[OUTPUT_NAME][:, 0]

    @property
    def checks_images(self) -> bool:
        """Whether images that are unlike the training images or of low quality are ``uncertain``."""
        return self._decoder.limits is not None

    @property
    def has_heatmap(self) -> bool:
        """Whether the model has a heat map output."""
        return HEATMAP_NAME in self._outputs

    def _run(self, pixels: npt.NDArray[np.uint8], outputs: Sequence[str]) -> dict[str, npt.NDArray[np.float32]]:
        return dict(zip(outputs, self._open_session().run(outputs, {INPUT_NAME: pixels}), strict=True))

    def _open_session(self) -> Session:
        """Return the session, and open it first in a process that has none yet."""
        session = self._session
        if session is None:
            if self._closed:
                raise FractureEdgeError("the classifier is closed; make a new one")
            opened = open_model(self._path, self._threads)
            if opened.sha256 != self.sha256:
                raise ModelError(f"{opened.name}: the file has changed since it was loaded; make a new classifier")
            self._session = session = opened.session
        return session

    def _begin_file(self, wanted: Wanted) -> tuple[Wanted, Prediction]:
        return wanted, self._classify(next(self._decoder.frames(*wanted)))

    def _finish_file(self, wanted: Wanted, first: Prediction, jobs: int) -> Iterator[Prediction]:
        yield first
        numbers = range(1, first.frames + 1) if wanted.frames is None else wanted.frames
        # The file is read again for its other frames, so that one begun ahead does not keep its bytes in memory.
        if len(numbers) > 1:
            yield from map_ahead(self._classify, self._decoder.frames(wanted.file, numbers[1:]), jobs)

    def _classify(self, decoded: Decoded) -> Prediction:
        started = time.perf_counter()
        status, about, decision, probability, heatmap = Status.OK, Description({}), None, None, None
        code: ReasonCode | None = None
        if isinstance(decoded.outcome, Refusal):
            status, reason = decoded.outcome
        else:
            named = self._run(decoded.outcome.pixels[np.newaxis], self._outputs)
            probability = float(named[OUTPUT_NAME][0, 0])
            heatmap = named[HEATMAP_NAME][0] if HEATMAP_NAME in named else None
            if not math.isfinite(probability):
                raise ModelError(f"{self._file}: the graph gives NaN; the model file is damaged")
            decision, (code, reason) = self.policy.decide(probability)
            problem = decoded.problem
            if problem is None and ATYPICALITY_NAME in named:
                problem = check_atypicality(float(named[ATYPICALITY_NAME][0, 0]), self._max_atypicality)
            if problem is not None:
                decision, (code, reason) = Decision.UNCERTAIN, problem
            about = self.attributes.describe(named, decoded.outcome.body_part)
            if about.remark:
                reason += WITH_REMARK.format(remark=about.remark)
            reason += self._not_compared + FIRST_OF.format(pictures=decoded.pictures) * (decoded.pictures > 1)
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
            further=self.attributes.columns,
            **about.columns,
        )


#: Classifiers whose sessions a forked child must not use.
_LIVING: weakref.WeakSet[FractureClassifier] = weakref.WeakSet()
#: Sessions of the parent process. Their threads do not exist in the child, where closing one would wait forever.
_ORPHANS: list[Session | None] = []


def _forget_sessions() -> None:
    for classifier in _LIVING:
        _ORPHANS.append(classifier._session)
        classifier._session = None


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget_sessions)


def _reopen(
    model: str | None, sha256: str, threads: int | None, options: tuple[tuple[str, Any], ...]
) -> FractureClassifier:
    """Unpickle a classifier, reusing one per process, because a pool pickles it with every task."""
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
