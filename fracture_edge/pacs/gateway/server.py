"""Server of the gateway: pynetdicom's, with limits that hold against silent, slow and hostile peers.

pynetdicom waits for the rest of a message as long as it takes, does the TLS handshake in the thread that accepts
connections, and starts two threads for each connection, however many there are. Here every message has a deadline
and a maximum length, handshakes have threads of their own, and when too many connections have not asked for an
association yet, the oldest is closed for the newest: a sender that speaks at once gets through a crowd that says
nothing.
"""

import contextlib
import copy
import socket
import ssl
import threading
import time
from collections.abc import Sequence
from typing import Any

from pynetdicom import _config
from pynetdicom.transport import AssociationSocket, RequestHandler, ThreadedAssociationServer

from fracture_edge.pacs.gateway.counts import Counts
from fracture_edge.pacs.gateway.options import GatewayOptions
from fracture_edge.pacs.gateway.peers import AllowedPeer

# Data sets go to files as they arrive, and never lie in memory as a whole.
_config.STORE_RECV_CHUNKED_DATASET = True
# Its handlers format every message for a log that is switched off.
_config.LOG_HANDLER_LEVEL = "none"
#: Maximum number of connections that have not asked for an association yet.
_MOST_WAITING = 16
#: Maximum length of one PDU in bytes. Data PDUs are shorter (`MAX_PDU`); requests list what the sender offers.
_MOST_PDU = 1 << 20
#: Maximum length of the data PDUs that are asked for, in bytes.
MAX_PDU = 1 << 17
_CHUNK = 1 << 16
#: Maximum number of connections that the system holds until they are accepted.
_BACKLOG = 128


class GuardedSocket(AssociationSocket):  # type: ignore[misc]
    """Socket whose messages have a deadline and a maximum length, and whose data sets have a maximum size.

    Attributes:
        received: Number of bytes since the last complete data set.
        too_large: Whether the peer has sent more than is allowed.
    """

    timeout = 10.0
    most_bytes = 0

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self.received = 0
        self.too_large = False

    def recv(self, nr_bytes: int) -> bytearray:
        """Read exactly this number of bytes, or fewer if the peer closes the connection.

        Raises:
            OSError: The peer is too slow, or sends too much; pynetdicom then closes the connection.
        """
        self.received += nr_bytes
        if nr_bytes > _MOST_PDU or self.received > self.most_bytes:
            self.too_large = True
            raise OSError("too much data")
        data = bytearray(nr_bytes)
        view, read = memoryview(data), 0
        deadline = time.monotonic() + self.timeout
        try:
            while read < nr_bytes:
                left = deadline - time.monotonic()
                if left <= 0:
                    raise TimeoutError("the peer is too slow")
                self.socket.settimeout(left)
                count = self.socket.recv_into(view[read:], min(_CHUNK, nr_bytes - read))
                if not count:
                    return data[:read]
                read += count
        finally:
            # Sending has its own time.
            self.socket.settimeout(self.timeout)
        return data


class GuardedHandler(RequestHandler):  # type: ignore[misc]
    """Handler that gives an association a `GuardedSocket`."""

    server: "GuardedServer"

    def _create_association(self) -> Any:
        association = super()._create_association()
        # The first socket has announced the connection; so does the second.
        association.dul.event_queue.get_nowait()
        association.dul.socket = None
        guarded = GuardedSocket(association, client_socket=self.request)
        guarded.timeout = self.server.options.timeout
        guarded.most_bytes = self.server.options.max_image_bytes + _MOST_PDU
        association.set_socket(guarded)
        self.server.introduce(self.request, association)
        return association


class GuardedServer(ThreadedAssociationServer):  # type: ignore[misc]
    """Server that keeps the number of its connections, and so of its threads, within limits."""

    daemon_threads = True
    request_queue_size = _BACKLOG

    def __init__(
        self, *arguments: Any, options: GatewayOptions, counts: Counts, tls: ssl.SSLContext | None, **more: Any
    ) -> None:
        self.options, self.counts, self._tls = options, counts, tls
        self._connections: dict[socket.socket, Any] = {}
        self._guard = threading.Lock()
        super().__init__(*arguments, request_handler=GuardedHandler, **more)
        self.contexts: list[Any] = _SharedContexts(self.contexts)

    def verify_request(self, request: Any, client_address: Any) -> bool:
        """Refuse connections from addresses that no allowed peer has."""
        allowed: Sequence[AllowedPeer] = self.options.allowed
        if allowed and not any(peer.admits_address(client_address[0]) for peer in allowed):
            self.counts.add("rejected", "address")
            return False
        return True

    def process_request(self, request: Any, client_address: Any) -> None:
        """Start a thread for a connection, and close the oldest silent one if there are too many."""
        with self._guard:
            self._forget_closed()
            waiting = [held for held, association in self._connections.items() if not _speaks(association)]
            excess = len(self._connections) + 1 - self.options.max_associations - _MOST_WAITING
            # Dictionaries keep the order in which the connections came.
            for held in waiting[: max(excess, len(waiting) + 1 - _MOST_WAITING, 0)]:
                self.counts.add("rejected", "silent")
                association = self._connections.pop(held)
                _shut(held)
                if association is not None:
                    # Or its thread would wait for a request until the time is over.
                    association.dul.to_user_queue.put(None)
            self._connections[request] = None
        super().process_request(request, client_address)

    def process_request_thread(self, request: Any, client_address: Any) -> None:
        """Do the TLS handshake, if any, and start the association."""
        request.settimeout(self.options.timeout)
        if self._tls is not None:
            with self._guard:
                known = self._connections.pop(request, self) is None
                request = self._tls.wrap_socket(request, server_side=True, do_handshake_on_connect=False)
                if known:
                    self._connections[request] = None
            try:
                request.do_handshake()
            except (OSError, ValueError):
                self.counts.add("rejected", "TLS")
                self.shutdown_request(request)
                return
        super().process_request_thread(request, client_address)

    def introduce(self, request: Any, association: Any) -> None:
        """Remember which association a connection belongs to."""
        with self._guard:
            if request in self._connections:
                self._connections[request] = association

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Count a connection that failed; socketserver would print a traceback."""
        self.counts.add("rejected", "connection lost")

    def established(self) -> int:
        """Return the number of associations in progress."""
        with self._guard:
            self._forget_closed()
            return sum(_speaks(association) for association in self._connections.values())

    def close_all(self) -> None:
        """Close all connections."""
        with self._guard:
            for held in self._connections:
                _shut(held)

    def _forget_closed(self) -> None:
        ended = [
            held
            for held, association in self._connections.items()
            if held.fileno() == -1
            or (association is not None and association.ident and not association.is_alive())
        ]
        for held in ended:
            del self._connections[held]


class _SharedContexts(list[Any]):
    """Presentation contexts whose transfer syntaxes, hundreds of them, are not copied for every connection."""

    def __deepcopy__(self, memo: dict[int, Any]) -> list[Any]:
        return [copy.copy(context) for context in self]


def _speaks(association: Any) -> bool:
    return association is not None and bool(association.is_established)


def _shut(held: socket.socket) -> None:
    # Its threads notice the end of the connection and end by themselves.
    with contextlib.suppress(OSError):
        held.shutdown(socket.SHUT_RDWR)
