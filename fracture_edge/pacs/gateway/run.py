"""Life of the gateway: start, work until it is told to stop, finish what was taken."""

import gc
import logging
import threading
import time
import warnings
from collections.abc import Callable
from typing import Any

from fracture_edge._version import __version__
from fracture_edge.classifier import FractureClassifier
from fracture_edge.errors import FractureEdgeError
from fracture_edge.files import write_json
from fracture_edge.images.limits import MAX_PIXELS
from fracture_edge.pacs.gateway.counts import Counts
from fracture_edge.pacs.gateway.options import GatewayOptions
from fracture_edge.pacs.gateway.spool import MOST_CRASHES, Spool
from fracture_edge.pacs.results.make import ResultMaker, require_pacs

_NAP_SECONDS = 0.1
_STATUS_SECONDS, _SAY_SECONDS, _CLEAN_SECONDS = 5.0, 60.0, 60.0
#: Seconds that senders have to end their associations when the gateway stops.
_GRACE_SECONDS = 15.0
#: Libraries that log header values, names included.
SILENCED = ("pynetdicom", "pydicom", "highdicom")


def run(
    options: GatewayOptions,
    classifier: FractureClassifier,
    *,
    max_pixels: int = MAX_PIXELS,
    note: Callable[[str], None],
    stopped: Callable[[], bool],
) -> None:
    """Run the gateway until `stopped` returns true.

    Args:
        options: Options of the gateway.
        classifier: Classifier of the images.
        max_pixels: Maximum number of pixels that the classifier reads.
        note: Function that is called with messages; none of them contains a value of a header.
        stopped: Function that is called several times a second.

    Raises:
        FractureEdgeError: A package, a file or an address cannot be used, or the model is damaged.
        OSError: The port or the spool cannot be used.
    """
    require_pacs("pydicom", "highdicom", "pynetdicom")
    counts = Counts()
    _silence_libraries(counts)
    # Late, because pynetdicom is imported there.
    from fracture_edge.pacs.gateway.answering import Answering
    from fracture_edge.pacs.gateway.receiver import Receiver
    from fracture_edge.pacs.gateway.sending import Sending

    # Whatever cannot be used is found before the spool is touched.
    client, server = options.tls.client_context(), options.tls.server_context()
    # Before the port is open: the first answer must not wait for imports.
    maker = ResultMaker(classifier, max_pixels=max_pixels)
    spool = Spool(options.spool, keep_days=options.keep_days)
    try:
        sending = Sending(options, spool, counts, client, note=note)
        answering = Answering(options, spool, classifier, maker, counts, note=note, made=sending.wake)
        try:
            receiver = Receiver(options, spool, counts, server, arrived=answering.wake)
        except OSError as error:
            where = f"{options.host or 'all addresses'}, port {options.port}"
            raise FractureEdgeError(f"{where}: {error.strerror}; choose another --host or --port") from error
        note(f"{options.ae_title} listens on port {receiver.port}, spool {spool.folder}")
        _say_what_is_left(spool, counts, note)
        if not options.allowed:
            note("every peer may send images; --allow names those that may")
        # pynetdicom collects garbage every six seconds; what is loaded stays, and need not be searched each time.
        gc.collect()
        gc.freeze()
        sending.start()
        answering.start()
        status = _StatusFile(spool, counts, classifier, sending.state)
        housekeeping = _Housekeeping(spool, counts, status, note)
        while not stopped() and answering.error is None and sending.error is None:
            housekeeping.tick()
            time.sleep(_NAP_SECONDS)
        note("stopping: finishing what was taken")
        receiver.stop()
        end = time.monotonic() + _GRACE_SECONDS
        while receiver.busy() and time.monotonic() < end:
            time.sleep(_NAP_SECONDS)
        receiver.close()
        answering.finish()
        sending.finish()
        status.write("stopped")
        note(f"{counts.text()}; {_left(spool)}")
        failed = answering.error or sending.error
        if failed is not None:
            raise failed
    finally:
        gc.unfreeze()
        spool.close()


class _Housekeeping:
    """What is done once in a while: status file, counts, removal of what is past its time."""

    def __init__(self, spool: Spool, counts: Counts, status: "_StatusFile", note: Callable[[str], None]) -> None:
        self._spool, self._counts, self._status, self._note = spool, counts, status, note
        self._said = counts.text()
        self._due = dict.fromkeys(("status", "say", "clean"), time.monotonic())

    def tick(self) -> None:
        """Do what is due."""
        if self._is_due("status", _STATUS_SECONDS):
            self._status.write("running")
        if self._is_due("say", _SAY_SECONDS) and (text := self._counts.text()) != self._said:
            self._said = text
            self._note(f"{text}; {_left(self._spool)}")
        if self._is_due("clean", _CLEAN_SECONDS):
            self._spool.clean()

    def _is_due(self, name: str, seconds: float) -> bool:
        now = time.monotonic()
        if now < self._due[name]:
            return False
        self._due[name] = now + seconds
        return True


class _StatusFile:
    """File ``status.json`` in the spool, for monitoring."""

    def __init__(
        self, spool: Spool, counts: Counts, classifier: FractureClassifier, targets: Callable[[], dict[str, str]]
    ) -> None:
        self._spool, self._counts, self._targets = spool, counts, targets
        self._fixed = {
            "version": __version__,
            "model": classifier.info.full_name,
            "model_sha256": classifier.sha256,
            "started": _now(),
        }

    def write(self, state: str) -> None:
        """Replace the file; a disk that is full is no reason to stop."""
        waiting, outgoing, dead = self._spool.counts()
        queues = {"images": waiting, "results": outgoing, "dead_letters": dead}
        values: dict[str, Any] = {"state": state, "written": _now(), **self._fixed}
        values |= {"counts": self._counts.to_json(), "spool": queues, "targets": self._targets()}
        try:
            write_json(self._spool.folder / "status.json", values)
        except OSError:
            return


def _say_what_is_left(spool: Spool, counts: Counts, note: Callable[[str], None]) -> None:
    """Say what an earlier process has left in the spool."""
    waiting, outgoing, dead = spool.counts()
    if waiting or outgoing or dead:
        note(f"left in the spool: {waiting} images to answer, {outgoing} results to send, {dead} dead letters")
    if spool.crashed:
        for _ in range(spool.crashed):
            counts.add("unanswered", "crashed")
        note(
            f"{spool.crashed} images were set aside in {spool.folder / 'dead'}: the gateway ended while it "
            f"answered them, {MOST_CRASHES} times; try them with `fracture-edge classify`"
        )


def _left(spool: Spool) -> str:
    waiting, outgoing, dead = spool.counts()
    return f"in the spool: {waiting} images, {outgoing} results, {dead} dead letters"


def _now() -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())


def _silence_libraries(counts: Counts) -> None:
    """Keep the libraries from printing: what they log, warn about and raise may quote the header."""
    for name in SILENCED:
        library = logging.getLogger(name)
        library.setLevel(logging.CRITICAL + 1)
        library.propagate = False
    warnings.simplefilter("ignore")

    def count(failed: threading.ExceptHookArgs) -> None:
        # Threads of pynetdicom end like this when a peer breaks the protocol, and so do their connections.
        counts.add("rejected", "broken message")

    threading.excepthook = count
