"""Life of the server: open the port, answer until it is told to stop, finish what was taken."""

import asyncio
import contextlib
import logging
import os
import signal
import socket
from collections.abc import Callable, Iterator
from types import FrameType
from typing import Any

import uvicorn

from fracture_edge.classifier import FractureClassifier
from fracture_edge.errors import FractureEdgeError
from fracture_edge.serve.app import Service
from fracture_edge.serve.options import Address, ServeOptions, resolve
from fracture_edge.serve.protocol import ConnectionLimits, GuardedConfig, GuardedProtocol

#: Seconds that requests in progress have when the server stops.
GRACE_SECONDS = 60
#: Seconds after which an idle connection is closed.
_KEEP_ALIVE_SECONDS = 15
_BACKLOG = 512
#: Libraries that log addresses, tracebacks and values that a client has sent. Defects are told by `Observed`.
SILENCED = ("uvicorn", "asyncio", "python_multipart", "PIL")
_OFF = logging.CRITICAL + 1


class Server(uvicorn.Server):
    """Server of one socket that stops at SIGINT or SIGTERM; the second signal ends the process at once.

    Attributes:
        service: Application.
        socket: Listening socket.
    """

    config: GuardedConfig

    def __init__(
        self,
        classifier: FractureClassifier,
        options: ServeOptions,
        *,
        make_page: Callable[[], str],
        note: Callable[[str], None],
    ) -> None:
        """Open the port.

        Args:
            classifier: Classifier with one thread for each inference.
            options: Options of the server.
            make_page: Function that makes the page for browsers, or raises `FractureEdgeError`.
            note: Function that is called with messages; none of them contains anything of an image.

        Raises:
            FractureEdgeError: The address or the certificate cannot be used.
        """
        self._tls, self._timeout = options.tls.server_context(), options.timeout
        self.socket = _open(resolve(options), options)
        self.service = Service(classifier, options, make_page, note)
        limits = ConnectionLimits(options.timeout, options.max_connections, self.service.metrics)
        config = GuardedConfig(
            self.service.app(),
            limits,
            loop="asyncio",
            ws="none",
            lifespan="off",
            log_config=None,
            access_log=False,
            proxy_headers=False,
            server_header=False,
            timeout_keep_alive=_KEEP_ALIVE_SECONDS,
            timeout_graceful_shutdown=GRACE_SECONDS,
        )
        for name in SILENCED:
            logging.getLogger(name).setLevel(_OFF)
        super().__init__(config)

    @property
    def url(self) -> str:
        """Address for a browser."""
        host, port = self.socket.getsockname()[:2]
        scheme = "http" if self._tls is None else "https"
        return f"{scheme}://{f'[{host}]' if ':' in host else host}:{port}/"

    def serve_until_stopped(self) -> None:
        """Answer requests until a signal comes, then finish those that were taken."""
        try:
            asyncio.run(self.serve())
        finally:
            self.socket.close()
            self.service.workers.close()

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Listen; unlike uvicorn with a time limit for TLS handshakes."""

        def connect() -> GuardedProtocol:
            return GuardedProtocol(self.config, self.server_state, {})

        limit = None if self._tls is None else self._timeout
        loop = asyncio.get_running_loop()
        server = await loop.create_server(
            connect, sock=self.socket, ssl=self._tls, backlog=_BACKLOG, ssl_handshake_timeout=limit
        )
        self.servers = [server]
        self.started = True

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Take nothing more, and finish what was taken."""
        self.service.is_stopping = True
        await super().shutdown(sockets)

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Stop at a signal; unlike uvicorn without raising it again at the end, which would not be status 0."""
        before: dict[int, Any] = {}

        def stop(number: int, frame: FrameType | None) -> None:
            self.should_exit = True
            signal.signal(number, signal.SIG_DFL)

        with contextlib.suppress(ValueError):
            # Only the main thread gets signals.
            before = {number: signal.signal(number, stop) for number in (signal.SIGINT, signal.SIGTERM)}
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)


def _open(address: Address, options: ServeOptions) -> socket.socket:
    try:
        both = address.family is socket.AF_INET6 and address.place[0] == "::" and socket.has_dualstack_ipv6()
        return socket.create_server(address.place, family=address.family, backlog=_BACKLOG, dualstack_ipv6=both)
    except OSError as error:
        where = f"{options.host}, port {options.port}"
        # Python adds the address to the text of the error.
        reason = os.strerror(error.errno) if error.errno else str(error)
        raise FractureEdgeError(f"{where}: {reason}; choose another --host or --port") from None
