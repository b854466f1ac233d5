"""HTTP connections whose clients may not be slow for ever: uvicorn has no time limits for headers and bodies."""

import asyncio
import socket
from dataclasses import dataclass
from typing import Any

import h11
import uvicorn
from uvicorn.protocols.http.h11_impl import H11Protocol

from fracture_edge.serve.metrics import Metrics

#: Minimum speed of a body after the first seconds, in bytes per second: that of a poor mobile connection.
LEAST_SPEED = 16_000
#: Seconds between two looks at a connection.
_LOOK_SECONDS = 1.0
#: Looks during which a client that was refused may go on sending. Closing at once would reset the connection, and
#: the client would not read why.
_LINGER_LOOKS = 3
_SLOW_TEXT = b"the request came too slowly\n"
_SLOW = (
    b"HTTP/1.1 408 Request Timeout\r\nContent-Type: text/plain\r\nConnection: close\r\n"
    b"Content-Length: %d\r\n\r\n%s" % (len(_SLOW_TEXT), _SLOW_TEXT)
)


@dataclass(frozen=True, slots=True)
class ConnectionLimits:
    """Limits of connections.

    Attributes:
        timeout: Seconds for a header, seconds without a byte of a body, and seconds without reading an answer.
        most: Maximum number of connections.
        metrics: Metrics that count the connections that were cut off.
    """

    timeout: float
    most: int
    metrics: Metrics


class GuardedConfig(uvicorn.Config):
    """Configuration of uvicorn with limits of connections."""

    def __init__(self, app: Any, limits: ConnectionLimits, **options: Any) -> None:
        super().__init__(app, http=GuardedProtocol, **options)
        self.limits = limits


class GuardedProtocol(H11Protocol):
    """Connection that is closed when its client is too slow, or when its place is needed by a client that is not.

    What a client does is read from the states of h11, the parser: IDLE while a header is awaited, SEND_BODY while
    a body is, and others while the application works.
    """

    def __init__(self, config: GuardedConfig, *arguments: Any, **options: Any) -> None:
        super().__init__(config, *arguments, **options)
        self._limits = config.limits
        #: When the present state began, and when the last byte came.
        self._since = self._last = self.loop.time()
        #: Bytes since then; when the client ceased to read; looks at a body that nobody wants.
        self._received = 0
        self._unread_since: float | None = None
        self._lingered = 0
        self._timer: asyncio.TimerHandle | None = None

    @property
    def is_waiting(self) -> bool:
        """Whether the next step is the client's: a header or a body is not complete."""
        return self.conn.their_state in (h11.IDLE, h11.SEND_BODY) and not self.transport.is_closing()

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Start to watch the connection, and close the one that has waited longest if there are too many."""
        super().connection_made(transport)
        # asyncio does so only for sockets that it has made. Header and content of an answer are two packets; the
        # second would wait 40 ms for the acknowledgement of the first.
        transport.get_extra_info("socket").setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._since = self._last = self.loop.time()
        self._timer = self.loop.call_later(_LOOK_SECONDS, self._look)
        if len(self.connections) > self._limits.most:
            guarded = [each for each in self.connections if isinstance(each, GuardedProtocol) and each.is_waiting]
            min(guarded, key=lambda each: each._since, default=self)._cut_off("too many")

    def data_received(self, data: bytes) -> None:
        """Parse what has come, and note how fast it comes."""
        before = self.conn.their_state
        super().data_received(data)
        self._last = self.loop.time()
        if self.conn.their_state is before and self.is_waiting:
            self._received += len(data)
        else:
            self._since, self._received = self._last, 0

    def pause_writing(self) -> None:
        """Note that the client has not read what was sent."""
        super().pause_writing()
        self._unread_since = self.loop.time()

    def resume_writing(self) -> None:
        """Note that the client reads again."""
        super().resume_writing()
        self._unread_since = None

    def connection_lost(self, exc: Exception | None) -> None:
        """Cease to watch the connection."""
        if self._timer is not None:
            self._timer.cancel()
        super().connection_lost(exc)

    def _look(self) -> None:
        """Cut the client off if it is too slow, or look again later."""
        self._timer = self.loop.call_later(_LOOK_SECONDS, self._look)
        now, timeout = self.loop.time(), self._limits.timeout
        if self.transport.is_closing():
            # The rest of an answer is being sent.
            self._unread_since = self._unread_since or now
        if self._unread_since is not None and now - self._unread_since > timeout:
            self._limits.metrics.add_cut_off("does not read")
            self.transport.abort()
        elif not self.is_waiting:
            self._since, self._received, self._lingered = now, 0, 0
        elif self.conn.their_state is h11.IDLE:
            if now - self._since > timeout:
                self._cut_off("slow header")
        elif self.conn.our_state not in (h11.SEND_RESPONSE, h11.SEND_BODY):
            self._lingered += 1
            if self._lingered >= _LINGER_LOOKS:
                self._cut_off("refused body")
        elif now - self._last > timeout or now - self._since > timeout + self._received / LEAST_SPEED:
            self._cut_off("slow body")

    def _cut_off(self, reason: str) -> None:
        self._limits.metrics.add_cut_off(reason)
        nothing_sent = self.conn.our_state in (h11.IDLE, h11.SEND_RESPONSE)
        if nothing_sent and (self._received or self.conn.their_state is h11.SEND_BODY):
            self.transport.write(_SLOW)
        self.transport.close()
