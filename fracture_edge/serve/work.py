"""Classification of the files of requests in worker threads, with a bounded queue."""

import asyncio
import base64
import io
import math
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import replace
from time import perf_counter
from typing import Any

from fracture_edge.batch.records import render
from fracture_edge.classifier import FractureClassifier
from fracture_edge.errors import ImageError
from fracture_edge.heatmap import LONGEST_SIDE, overlay
from fracture_edge.images.image_file import ImageFile
from fracture_edge.prediction import Prediction
from fracture_edge.serve.body import Upload
from fracture_edge.serve.metrics import Metrics
from fracture_edge.serve.options import MAX_HEATMAPS, ServeOptions
from fracture_edge.serve.problems import BusyError, DisconnectedError, RequestError

BUSY = "all workers are busy and the queue is full; try again later"
#: Weight of the latest request in the moving average of the time that one takes, and where it begins, in seconds.
_WEIGHT, _FIRST_SECONDS = 0.1, 0.05
_DATA_URI = "data:image/png;base64,"


class Workers:
    """Worker threads that share a classifier. It belongs to one event loop.

    Attributes:
        active: Number of requests that are classified or wait.
    """

    def __init__(self, classifier: FractureClassifier, options: ServeOptions, metrics: Metrics) -> None:
        """Prepare the workers.

        Args:
            classifier: Classifier with one thread for each inference: the workers keep the cores busy.
            options: Options of the server.
            metrics: Metrics to count predictions in.
        """
        self._classifier, self._options, self._metrics = classifier, options, metrics
        self._pool = ThreadPoolExecutor(options.workers, "fracture-edge-serve")
        self._by_policy = {"": classifier}
        self._seconds = _FIRST_SECONDS
        self.active = 0

    @property
    def most(self) -> int:
        """Maximum number of requests that are classified or wait."""
        return self._options.workers + self._options.queue

    def with_policy(self, name: str) -> FractureClassifier:
        """Return the classifier with an operating point of its model; the server's own for an empty name.

        Raises:
            RequestError: The model has no such operating point.
        """
        if name and name not in self._classifier.info.operating_points:
            there = ", ".join(self._classifier.info.operating_points) or "none, the model has no operating points"
            raise RequestError(400, f"policy must be one of: {there}")
        if name not in self._by_policy:
            self._by_policy[name] = self._classifier.with_policy(name)
        return self._by_policy[name]

    def require_room(self) -> None:
        """Check that the queue has room.

        Raises:
            BusyError: It has none; it says after how many seconds it may have.
        """
        if self.active >= self.most:
            seconds = math.ceil(self._seconds * self.active / self._options.workers)
            raise BusyError(BUSY, max(1, seconds))

    async def classify(
        self, uploads: Sequence[Upload], classifier: FractureClassifier, gone: asyncio.Task[None], *, heatmap: bool
    ) -> str:
        """Classify the files of a request.

        Args:
            uploads: Files.
            classifier: Classifier to use.
            gone: Task that ends when the client has gone; the request then leaves the queue.
            heatmap: Whether records get a heat map.

        Returns:
            Records, as ``fracture-edge classify --json`` prints them.

        Raises:
            BusyError: The queue is full.
            DisconnectedError: The client has gone before a worker was free.
        """
        with self._place():
            started = perf_counter()
            work = self._pool.submit(self._records, uploads, classifier, heatmap=heatmap)
            ended = asyncio.wrap_future(work)
            either: set[asyncio.Future[Any]] = {ended, gone}
            await asyncio.wait(either, return_when=asyncio.FIRST_COMPLETED)
            if not ended.done():
                if work.cancel():
                    raise DisconnectedError
                # A worker has begun, and its place becomes free only when it has finished.
                await asyncio.wait({ended})
            # It includes the time in the queue, so that it rises with the load.
            self._seconds += _WEIGHT * (perf_counter() - started - self._seconds)
            return ended.result()

    def close(self) -> None:
        """Wait until all threads have ended."""
        self._pool.shutdown()

    @contextmanager
    def _place(self) -> Iterator[None]:
        self.require_room()
        self.active += 1
        try:
            yield
        finally:
            self.active -= 1

    def _records(self, uploads: Sequence[Upload], classifier: FractureClassifier, *, heatmap: bool) -> str:
        maps = HeatMaps(classifier, self._options.max_pixels) if heatmap else None
        predictions = self._predictions(uploads, classifier, maps)
        return "".join(render(predictions, "json", overlays=maps))

    def _predictions(
        self, uploads: Sequence[Upload], classifier: FractureClassifier, maps: "HeatMaps | None"
    ) -> Iterator[Prediction]:
        for upload in uploads:
            if maps is not None:
                maps.open(upload.content)
            for prediction in classifier.predict_frames(upload.content):
                self._metrics.add_prediction(prediction)
                yield replace(prediction, path=upload.name)


class HeatMaps:
    """Overlays of the pictures of one request, as data URIs; `fracture_edge.batch.records.render` calls it."""

    def __init__(self, classifier: FractureClassifier, max_pixels: int) -> None:
        """Check that the model has a heat map.

        Raises:
            RequestError: It has none.
        """
        require_heatmap(classifier)
        self._preprocessing, self._max_pixels = classifier.info.preprocessing, max_pixels
        self._content = b""
        self._file: ImageFile | None = None
        self._made = 0

    def open(self, content: bytes) -> None:
        """Take the next file."""
        self._content, self._file = content, None

    def __call__(self, prediction: Prediction) -> str | None:
        """Return the overlay of a picture as a PNG file; ``None`` without one, or after `MAX_HEATMAPS` of them."""
        if prediction.heatmap is None or self._made >= MAX_HEATMAPS:
            return None
        try:
            if self._file is None:
                size = (LONGEST_SIDE, LONGEST_SIDE)
                self._file = ImageFile(self._content, model_size=size, max_pixels=self._max_pixels)
            picture = self._file.read(prediction.frame - 1)
        except ImageError:
            # At the larger size there is no memory for it; the prediction remains valid.
            return None
        stream = io.BytesIO()
        overlay(picture.pixels, prediction.heatmap, self._preprocessing, picture.aspect).save(stream, "PNG")
        self._made += 1
        return _DATA_URI + base64.b64encode(stream.getvalue()).decode("ascii")


def require_heatmap(classifier: FractureClassifier) -> None:
    """Check that a model has a heat map.

    Raises:
        RequestError: It has none.
    """
    if not classifier.has_heatmap:
        raise RequestError(
            400,
            f"{classifier.info.name} has no heat map; export it with `fracture-edge export MODEL --heatmap`",
        )


def gauges(workers: Workers, held: int) -> dict[str, Any]:
    """Return what the server does now, for `Metrics.text`."""
    return {
        "requests_active": ("Requests that are classified or wait for a worker.", workers.active),
        "requests_most": ("Requests that may be classified or wait.", workers.most),
        "held_bytes": ("Bytes of received images in memory.", held),
    }
