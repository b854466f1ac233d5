"""An archive in this process, a sender, a gateway in a process of its own, and certificates for them."""

import logging
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from benchmarks.studies.gateway.certificates import Authority
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
        tls: Context of encrypted connections, from the next start on; they are not encrypted if ``None``.
    """

    def __init__(self, ssl_context: Any = None) -> None:
        self.status = 0
        self.received: list[Any] = []
        self.attempts = 0
        self.lock = threading.Lock()
        self.tls = ssl_context
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
            ssl_context=self.tls,
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


class Gateway:
    """Gateway process.

    Attributes:
        spool: Its spool.
        port: Port that it listens on.
    """

    def __init__(self, folder: Path, repository: Path, *options: object) -> None:
        self.spool, self._log = folder / "spool", folder / "gateway.log"
        self._command = [sys.executable, "-m", "fracture_edge", "gateway", "--spool", self.spool]
        self._command += ["--host", "127.0.0.1", "--port", "0", "--min-free", "0", *options]
        self._environment = {**os.environ, "PYTHONPATH": os.fspath(repository)}
        self.port = 0
        self.start()

    def start(self) -> None:
        with self._log.open("ab") as log:
            known = self.log.count("listens on port")
            self.process = subprocess.Popen(
                [*map(str, self._command)], stdout=log, stderr=log, env=self._environment
            )
        self.wait(lambda: self.log.count("listens on port") > known)
        self.port = int(self.log.rpartition("listens on port ")[2].partition(",")[0])

    @property
    def log(self) -> str:
        return self._log.read_text() if self._log.exists() else ""

    def stop(self) -> int:
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(timeout=60)

    def wait(self, condition: Callable[[], bool]) -> None:
        """Wait until a condition holds, while the process runs."""
        end = time.monotonic() + 60
        while not condition():
            assert self.process.poll() is None, self.log
            assert time.monotonic() < end, self.log
            time.sleep(0.05)

    def files(self) -> list[str]:
        """Return what is in the spool, but for lock and status."""
        found = (str(path.relative_to(self.spool)) for path in self.spool.rglob("*") if path.is_file())
        return sorted(set(found) - {"lock", "status.json"})


@pytest.fixture
def gateway(tmp_path: Path, repository: Path) -> Iterator[Callable[..., Gateway]]:
    """Start a gateway in a process of its own, with these options."""
    made: list[Gateway] = []

    def start(*options: object) -> Gateway:
        made.append(Gateway(tmp_path, repository, *options))
        return made[-1]

    yield start
    for one in made:
        if one.process.poll() is None:
            one.process.kill()
            one.process.wait()


@pytest.fixture
def films(tmp_path: Path, write_radiograph: Callable[..., Path]) -> list[Path]:
    """Write three images of one patient, each of a study of its own."""
    pixels = np.zeros((64, 64), np.uint8)
    pixels[:32] = 255
    return [
        write_radiograph(
            tmp_path / f"films/{number}.dcm",
            pixels,
            patient=b"Zyxwvut^Qponml",
            patient_id=b"PID-918273",
            uids=(f"1.2.{number}.1", f"1.2.{number}.2", f"1.2.{number}.3"),
        )
        for number in range(1, 4)
    ]


@pytest.fixture(scope="session")
def make_authority(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Authority]:
    """Return the authority of a name; made once, because keys take their time."""
    if shutil.which("openssl") is None:
        pytest.skip("needs openssl")
    folder, made = tmp_path_factory.mktemp("authorities"), dict[str, Authority]()

    def make(name: str) -> Authority:
        if name not in made:
            made[name] = Authority(folder / name)
        return made[name]

    return make
