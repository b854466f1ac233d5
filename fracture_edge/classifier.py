"""`FractureClassifier`: one model, one session, a prediction per image."""

import math
import os
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import onnxruntime as ort

from fracture_edge.errors import ImageError, ModelError, Status
from fracture_edge.images import ImageSource, source_name
from fracture_edge.modelfile import INPUT_NAME, METADATA_KEY, OUTPUT_NAME, ModelInfo, read_model
from fracture_edge.policy import Decision, Policy

#: One image keeps few cores busy; more threads than this cost start-up and win nothing.
MOST_THREADS = 4


@dataclass(frozen=True, slots=True)
class Prediction:
    """The answer for one image, or why there is none.

    Attributes:
        path: The file, or ``<bytes>``, ``<array>``, ``<file>``.
        status: ``ok``, or what was wrong with the image; the following three are ``None`` then.
        decision: ``fractured``, ``not_fractured`` or ``uncertain``.
        probability: P(fractured), calibrated on validation images, 0 to 1.
        threshold: What the probability was compared with.
        reason: The decision's or the failure's reason in words.
        model: Name of the model.
        model_sha256: Of the model file, hexadecimal.
        elapsed_ms: Milliseconds from the file to the decision.
    """

    path: str
    status: Status
    decision: Decision | None
    probability: float | None
    threshold: float | None
    reason: str
    model: str
    model_sha256: str
    elapsed_ms: float

    @property
    def ok(self) -> bool:
        """Whether there is an answer."""
        return self.status is Status.OK


class FractureClassifier:
    """Classifies radiographs with one model. Not a medical device.

    A bad image gives a `Prediction` with its status; a bad model or installation raises.

    Example:
        >>> classifier = FractureClassifier()
        >>> prediction = classifier.predict("image.png")  # doctest: +SKIP
        >>> prediction.decision, round(prediction.probability, 2)  # doctest: +SKIP
        (<Decision.NOT_FRACTURED: 'not_fractured'>, 0.04)

    Attributes:
        info: What the model says about itself.
        policy: Threshold and uncertain band in use.
        sha256: Of the model file.
    """

    def __init__(
        self,
        model: str | os.PathLike[str] | None = None,
        threads: int | None = None,
        *,
        threshold: float | None = None,
    ) -> None:
        """Load a model.

        Args:
            model: An ``.onnx`` file written by ``fracture-edge export``; the embedded one when ``None``.
            threads: Threads of one inference; as many as the process may use, at most `MOST_THREADS`, when
                ``None``.
            threshold: In place of the model's own; switches its uncertain band off.

        Raises:
            ModelError: The file is missing, damaged, no model of ours, or of a newer schema.
            FractureEdgeError: The threshold is not between 0 and 1.
        """
        self._file, data, self.sha256 = read_model(model)
        self._session = _open_session(self._file, data, threads)
        self.info = _read_info(self._file, self._session)
        self.policy = self.info.policy if threshold is None else Policy.at(threshold)

    def predict(self, image: ImageSource) -> Prediction:
        """Classify one image.

        Args:
            image: A path, the bytes of a file, an open binary file, or an array (see
                `fracture_edge.images.load_image`).

        Raises:
            ModelError: The graph gives something that is no number.
        """
        started = time.perf_counter()
        try:
            pixels = self.info.preprocessing.load(image)
        except ImageError as error:
            return self._prediction(source_name(image), started, error.status, error.detail)
        probability = float(self.probabilities(pixels[np.newaxis])[0])
        if not math.isfinite(probability):
            raise ModelError(f"{self._file}: the graph gives no number; the model file is damaged")
        decision, reason = self.policy.decide(probability)
        return self._prediction(source_name(image), started, Status.OK, reason, decision, probability)

    def predict_many(self, images: Iterable[ImageSource]) -> Iterator[Prediction]:
        """Classify images one after the other, in order; memory does not grow with their number."""
        return map(self.predict, images)

    def probabilities(self, pixels: npt.NDArray[np.uint8]) -> npt.NDArray[np.float32]:
        """Run the graph alone, for callers that have preprocessed images already.

        Args:
            pixels: uint8 [N, height, width, 1] as `info.preprocessing` makes them.

        Returns:
            P(fractured), float32 [N].
        """
        output: npt.NDArray[np.float32] = self._session.run([OUTPUT_NAME], {INPUT_NAME: pixels})[0]
        return output[:, 0]

    def _prediction(
        self,
        path: str,
        started: float,
        status: Status,
        reason: str,
        decision: Decision | None = None,
        probability: float | None = None,
    ) -> Prediction:
        return Prediction(
            path=path,
            status=status,
            decision=decision,
            probability=probability,
            threshold=self.policy.threshold if decision else None,
            reason=reason,
            model=self.info.name,
            model_sha256=self.sha256,
            elapsed_ms=round((time.perf_counter() - started) * 1000, 3),
        )


def session_options(threads: int | None) -> ort.SessionOptions:
    """Options of every session here and in the benchmarks.

    Args:
        threads: Threads of one inference, or ``None`` for the default of `FractureClassifier`.
    """
    options = ort.SessionOptions()
    available = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    options.intra_op_num_threads = threads or min(available, MOST_THREADS)
    options.inter_op_num_threads = 1
    # Spinning workers keep a core busy after each answer and slow down whatever runs next.
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    options.log_severity_level = 3
    return options


def _open_session(name: str, data: bytes, threads: int | None) -> ort.InferenceSession:
    try:
        return ort.InferenceSession(data, session_options(threads), providers=["CPUExecutionProvider"])
    except Exception as error:  # onnxruntime raises a dozen unrelated types
        raise ModelError(f"{name}: onnxruntime cannot load it ({str(error).splitlines()[0]})") from error


def _read_info(name: str, session: ort.InferenceSession) -> ModelInfo:
    text = session.get_modelmeta().custom_metadata_map.get(METADATA_KEY)
    if text is None:
        raise ModelError(f"{name}: no fracture-edge metadata inside; make model files with `fracture-edge export`")
    try:
        info = ModelInfo.from_json(text)
    except ModelError as error:
        raise ModelError(f"{name}: {error}") from error
    inputs, outputs = session.get_inputs(), session.get_outputs()
    expected = [info.preprocessing.height, info.preprocessing.width, 1]
    if (
        [entry.name for entry in inputs] != [INPUT_NAME]
        or inputs[0].type != "tensor(uint8)"
        or list(inputs[0].shape[1:]) != expected
        or OUTPUT_NAME not in [entry.name for entry in outputs]
    ):
        raise ModelError(f"{name}: the graph is not uint8 '{INPUT_NAME}' [N, *{expected}] to '{OUTPUT_NAME}'")
    return info
