"""A server in a thread of this process, and clients of it."""

import http.client
import json
import logging
import ssl
import threading
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest
from PIL import Image

from fracture_edge.classifier import FractureClassifier
from fracture_edge.errors import FractureEdgeError
from fracture_edge.modelfile import ModelInfo, embed_info
from fracture_edge.serve.options import ServeOptions

BOUNDARY = "gap-between-files"


class Answer(NamedTuple):
    """Response of the server."""

    status: int
    headers: Mapping[str, str]
    text: str

    @property
    def json(self) -> Any:
        return json.loads(self.text)

    @property
    def detail(self) -> str:
        """Text of a refusal."""
        assert self.headers["content-type"] == "application/problem+json"
        assert (self.json["status"], set(self.json)) == (self.status, {"title", "status", "detail"})
        return str(self.json["detail"])


class Running:
    """Server in a thread.

    Attributes:
        port: Port that it listens on.
        notes: Messages.
    """

    def __init__(self, classifier: FractureClassifier, options: ServeOptions, page: str | None) -> None:
        from fracture_edge.serve.run import Server

        def make_page() -> str:
            if page is None:
                raise FractureEdgeError("not built")
            return page

        self.notes: list[str] = []
        self.server = Server(classifier, options, make_page=make_page, note=self.notes.append)
        self.port = self.server.socket.getsockname()[1]
        self._thread = threading.Thread(target=self.server.serve_until_stopped)
        self._thread.start()

    def stop(self) -> None:
        self.server.should_exit = True
        self._thread.join()

    def connect(self, *, tls: ssl.SSLContext | None = None, timeout: float = 60) -> http.client.HTTPConnection:
        if tls is not None:
            return http.client.HTTPSConnection("127.0.0.1", self.port, timeout=timeout, context=tls)
        return http.client.HTTPConnection("127.0.0.1", self.port, timeout=timeout)

    def ask(
        self,
        path: str,
        body: Any = None,
        *,
        method: str | None = None,
        tls: ssl.SSLContext | None = None,
        **headers: str,
    ) -> Answer:
        """Send a request over a connection of its own; in names of headers, _ stands for -."""
        connection = self.connect(tls=tls)
        try:
            named = {name.replace("_", "-"): value for name, value in headers.items()}
            connection.request(method or ("GET" if body is None else "POST"), path, body, named)
            response = connection.getresponse()
            values = {name.lower(): value for name, value in response.getheaders()}
            return Answer(response.status, values, response.read().decode())
        finally:
            connection.close()

    def send_form(self, path: str, *files: tuple[str, bytes], **headers: str) -> Answer:
        """Send files as a form."""
        return self.ask(path, form(*files), Content_Type=f"multipart/form-data; boundary={BOUNDARY}", **headers)


def form(*files: tuple[str, bytes]) -> bytes:
    """Encode a form with files."""
    parts = [
        f'--{BOUNDARY}\r\nContent-Disposition: form-data; name="file"; filename="{name}"\r\n\r\n'.encode()
        + content
        + b"\r\n"
        for name, content in files
    ]
    return b"".join(parts) + f"--{BOUNDARY}--\r\n".encode()


@pytest.fixture(autouse=True)
def restored_logs() -> Iterator[None]:
    """Switch on again what the server switches off for its whole process, which is that of other tests here."""
    from fracture_edge.serve.run import SILENCED

    loggers = [logging.getLogger(name) for name in (*SILENCED, "uvicorn.access", "uvicorn.error")]
    before = [(logger.level, logger.propagate, list(logger.handlers)) for logger in loggers]
    yield
    for logger, (level, propagate, handlers) in zip(loggers, before, strict=True):
        logger.setLevel(level)
        logger.propagate, logger.handlers = propagate, handlers


@pytest.fixture(scope="session")
def pointed_model(tmp_path_factory: pytest.TempPathFactory, tiny_model: Path, tiny_info: ModelInfo) -> Path:
    """The tiny model, with an operating point."""
    path = tmp_path_factory.mktemp("model") / "pointed.onnx"
    point = {"threshold": 0.1, "uncertain_low": 0.1, "uncertain_high": 0.1, "images": "drawn"}
    embed_info(tiny_model, replace(tiny_info, operating_points={"screening": point}), path)
    return path


@pytest.fixture
def serve(pointed_model: Path) -> Iterator[Callable[..., Running]]:
    """Start servers, with 1 worker and a queue of 1 unless a test says otherwise."""
    made: list[Running] = []

    def start(model: Path | None = pointed_model, *, page: str | None = None, **options: Any) -> Running:
        given = {"workers": 1, "queue": 1, "port": 0, "max_held_bytes": 300_000_000, **options}
        made.append(Running(FractureClassifier(model, 1), ServeOptions(**given), page))
        return made[-1]

    yield start
    for running in made:
        running.stop()


@pytest.fixture
def grey_file(tmp_path: Path) -> Callable[[str, int], Path]:
    """Write a picture of one grey level: 64, 128 and 192 have P of 0.12, 0.5 and 0.88."""

    def write(name: str, level: int) -> Path:
        Image.fromarray(np.full((64, 64), level, np.uint8)).save(tmp_path / name)
        return tmp_path / name

    return write
