"""An archive in this process, and a sender."""

import logging
import threading
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from fracture_edge.pacs.gateway.run import SILENCED


@pytest.fixture(autouse=True)
def restored_logs() -> Iterator[None]:
    """Switch on again what the gateway switches off for its whole process, which is that of other tests here."""
    loggers = [logging.getLogger(name) for name in SILENCED]
    before = [(logger.level, logger.propagate) for logger in loggers]
    hook = threading.excepthook
    with warnings.catch_warnings():
        yield
    threading.excepthook = hook
    for logger, (level, propagate) in zip(loggers, before, strict=True):
        logger.setLevel(level)
        logger.propagate = propagate


class Archive:
    """Archive that stores what it gets in memory, and can be made to refuse.

    Attributes:
        port: Port that it listens on.
        status: Status that it answers C-STORE with.
        received: Datasets that it has answered with success, in order.
        attempts: Number of C-STORE requests.
    """

    def __init__(self, ssl_context: Any = None) -> None:
        self.status = 0
        self.received: list[Any] = []
        self.attempts = 0
        self.lock = threading.Lock()
        self._tls = ssl_context
        self.port = 0
        self.start()

    def start(self) -> None:
        from pynetdicom import AE, evt

        entity = AE("PACS")
        entity.require_called_aet = True
        for uid in ("1.2.840.10008.5.1.4.1.1.7", "1.2.840.10008.5.1.4.1.1.88.34"):
            entity.add_supported_context(uid)
        # pynetdicom's switch for received files, which the gateway sets, holds for this process.
        self._server = entity.start_server(
            ("127.0.0.1", self.port),
            block=False,
            evt_handlers=[(evt.EVT_C_STORE, self._store)],
            ssl_context=self._tls,
        )
        self.port = self._server.server_address[1]

    def stop(self) -> None:
        self._server.shutdown()

    def _store(self, event: Any) -> int:
        with self.lock:
            self.attempts += 1
            if self.status == 0:
                dataset = event.dataset
                dataset.decode()
                self.received.append(dataset)
            return self.status


@pytest.fixture
def archive() -> Iterator[Archive]:
    made = Archive()
    yield made
    made.stop()


@pytest.fixture
def make_archive() -> Iterator[Callable[..., Archive]]:
    made: list[Archive] = []

    def make(**options: Any) -> Archive:
        made.append(Archive(**options))
        return made[-1]

    yield make
    for one in made:
        one.stop()


@pytest.fixture
def send() -> Callable[..., int | None]:
    """Send a file over an association of its own, and return the status; ``None`` without an association."""

    def run(
        port: int, path: Path, *, called: str = "FRACTURE", calling: str = "CR1", **options: Any
    ) -> int | None:
        import pydicom
        from pynetdicom import AE

        dataset = pydicom.dcmread(path)
        entity = AE(calling)
        entity.add_requested_context(dataset.SOPClassUID, dataset.file_meta.TransferSyntaxUID)
        association = entity.associate("127.0.0.1", port, ae_title=called, **options)
        if not association.is_established:
            return None
        try:
            return getattr(association.send_c_store(dataset), "Status", -1)
        finally:
            association.release()

    return run
