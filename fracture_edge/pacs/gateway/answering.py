"""Answering of spooled images: classify, make the results, put them into the outboxes."""

import threading
import time
from collections.abc import Callable, Sequence

from fracture_edge.classifier import FractureClassifier
from fracture_edge.decoding import Wanted
from fracture_edge.errors import FractureEdgeError, ImageError, Status
from fracture_edge.pacs.gateway.counts import Counts
from fracture_edge.pacs.gateway.options import GatewayOptions
from fracture_edge.pacs.gateway.peers import Target, check_ae_title
from fracture_edge.pacs.gateway.spool import Spool, SpooledImage
from fracture_edge.pacs.results.make import ResultMaker, ResultObject
from fracture_edge.pacs.results.source import NoResultError
from fracture_edge.prediction import Prediction
from fracture_edge.runtimes.threads import default_jobs

#: Maximum number of images that are claimed at a time; they are decoded ahead of the session.
_BATCH = 16
#: Seconds to wait after the disk has refused a result.
_PAUSE_SECONDS, _NAP_SECONDS = 5.0, 0.1
#: Every so many images without an answer for the same reason there is a message.
_SAY_EVERY = 100


class Answering:
    """Thread that answers the images of a spool.

    Attributes:
        error: Error that ended the thread; ``None`` while there is none.
    """

    def __init__(
        self,
        options: GatewayOptions,
        spool: Spool,
        classifier: FractureClassifier,
        maker: ResultMaker,
        counts: Counts,
        *,
        note: Callable[[str], None],
        made: Callable[[], None],
    ) -> None:
        """Prepare the thread; `start` starts it.

        Args:
            options: Options of the gateway.
            spool: Spool with the images.
            classifier: Classifier of the images.
            maker: Maker of the results.
            counts: Counts to add to.
            note: Function that is called with messages.
            made: Function that is called when results are in the outboxes.
        """
        self._options, self._spool, self._classifier, self._maker = options, spool, classifier, maker
        self._counts, self._note, self._made = counts, note, made
        self._wake = threading.Event()
        self._finishing = self._stopping = self._disk_fails = False
        self.error: Exception | None = None
        self._thread = threading.Thread(target=self._run, name="answering", daemon=True)

    def start(self) -> None:
        """Start the thread."""
        self._thread.start()

    def wake(self) -> None:
        """Tell the thread that an image has arrived."""
        self._wake.set()

    def finish(self) -> None:
        """Answer what is in the queue, and wait until that is done."""
        self._finishing = True
        self._wake.set()
        self._thread.join()

    def _run(self) -> None:
        try:
            while not self._stopping:
                self._wake.clear()
                images = self._spool.claim(_BATCH)
                if images:
                    self._answer(images)
                elif self._finishing:
                    return
                else:
                    self._wake.wait(1.0)
        except Exception as error:
            # The model is damaged or the spool cannot be read; the gateway ends with this error.
            self.error = error

    def _answer(self, images: Sequence[SpooledImage]) -> None:
        left = list(images)
        try:
            wanted = (Wanted(image.path) for image in images)
            predictions = self._classifier.predict_files(wanted, jobs=self._jobs(len(images)))
            for image, frames in zip(images, predictions, strict=True):
                self._answer_one(image, list(frames))
                left.remove(image)
                self._disk_fails = False
        except OSError as error:
            if not self._disk_fails:
                self._note(
                    f"results cannot be written ({error.strerror or error}); make room on the disk of the spool; "
                    f"trying again every {_PAUSE_SECONDS:.0f} seconds"
                )
            self._disk_fails = True
            for image in left:
                self._spool.give_back(image)
            self._pause()
            # The next start finds what is left.
            self._stopping = self._finishing

    def _answer_one(self, image: SpooledImage, predictions: Sequence[Prediction]) -> None:
        results: list[ResultObject] = []
        try:
            results = self._maker.make(image.path, predictions)
        except NoResultError as error:
            status = next((found.status for found in predictions if not found.ok), None)
            reason = next((found.reason for found in predictions if not found.ok), str(error))
            self._count_unanswered(str(status or "no_result"), reason)
        except ImageError as error:
            self._count_unanswered(str(error.status), error.detail)
        except MemoryError:
            self._count_unanswered(str(Status.TOO_LARGE), "not enough memory for its results")
        if results:
            for target in self._targets(image):
                self._spool.put(results, target)
            self._counts.add("answered")
            self._made()
        self._spool.finish(image)

    def _count_unanswered(self, status: str, reason: str) -> None:
        number = self._counts.add("unanswered", status)
        if number % _SAY_EVERY == 1:
            self._note(f"an image has no answer: {status} ({reason}); {number} so far")

    def _targets(self, image: SpooledImage) -> list[Target]:
        targets = list(self._options.targets)
        if not self._options.return_to_sender or any(image.ae_title == known.ae_title for known in targets):
            return targets
        try:
            title = check_ae_title(image.ae_title)
        except FractureEdgeError:
            self._count_unanswered("no_return_address", "the sender has no valid AE title")
            return targets
        encrypted = self._options.tls.certificate is not None and self._options.tls.authorities is not None
        return [*targets, Target(title, image.address, self._options.return_port, encrypted)]

    def _pause(self) -> None:
        end = time.monotonic() + _PAUSE_SECONDS
        while time.monotonic() < end and not self._finishing:
            time.sleep(_NAP_SECONDS)

    def _jobs(self, images: int) -> int:
        return (self._options.jobs or default_jobs()) if images > 1 else 1
