"""Sending side of the gateway: results go to their targets until these have acknowledged them."""

import random
import socket
import ssl
import threading
import time
from collections import Counter
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

from pynetdicom import AE, evt

from fracture_edge.pacs.gateway.counts import Counts
from fracture_edge.pacs.gateway.options import GatewayOptions
from fracture_edge.pacs.gateway.peers import Target
from fracture_edge.pacs.gateway.spool import OutgoingResult, Spool
from fracture_edge.pacs.results.identity import COMPREHENSIVE_3D_SR, SECONDARY_CAPTURE

#: Transfer syntaxes of the results that are offered: explicit, and implicit for targets that read nothing else.
_SYNTAXES = ("1.2.840.10008.1.2.1", "1.2.840.10008.1.2")
_FIRST_DELAY, _LONGEST_DELAY = 1.0, 60.0
#: Number of times that a target may refuse one result before it becomes a dead letter.
_MOST_REFUSALS = 5
_DAY_SECONDS = 86_400
#: Number of targets that are sent to at a time.
_AT_A_TIME = 4
_TICK_SECONDS = 0.5


@dataclass(slots=True)
class _Delivery:
    """State of the deliveries to one target.

    Attributes:
        failures: Number of attempts that failed in a row.
        due: Time of the clock before which nothing is sent.
        running: Attempt in progress.
    """

    failures: int = 0
    due: float = 0.0
    running: "Future[bool] | None" = None


class Sending:
    """Thread that sends the results of a spool."""

    def __init__(
        self,
        options: GatewayOptions,
        spool: Spool,
        counts: Counts,
        tls: ssl.SSLContext | None,
        *,
        note: Callable[[str], None],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Prepare the thread; `start` starts it.

        Args:
            options: Options of the gateway.
            spool: Spool with the results.
            counts: Counts to add to.
            tls: Context of encrypted connections.
            note: Function that is called with messages.
            clock: Function that returns the time in seconds.
        """
        self._options, self._spool, self._counts, self._tls = options, spool, counts, tls
        self._note, self._clock = note, clock
        self._deliveries: dict[Target, _Delivery] = {}
        self._refusals: Counter[tuple[str, int]] = Counter()
        self._wake = threading.Event()
        self._finishing = False
        self._pool = ThreadPoolExecutor(_AT_A_TIME, "sending")
        self._thread = threading.Thread(target=self._run, name="dispatch", daemon=True)
        self.error: Exception | None = None

    def start(self) -> None:
        """Start the thread."""
        self._thread.start()

    def wake(self) -> None:
        """Tell the thread that there are new results."""
        self._wake.set()

    def finish(self) -> None:
        """Try once more to send what waits, and wait until that is done. What is not taken stays in the spool."""
        self._finishing = True
        self._wake.set()
        self._thread.join()
        for target in self._spool.targets():
            self._attempt(target)
        self._pool.shutdown()

    def state(self) -> dict[str, str]:
        """Return what is known of each target that results were sent to, by its address."""
        return {
            str(target): "failing" if delivery.failures else "ok"
            for target, delivery in list(self._deliveries.items())
        }

    def _run(self) -> None:
        try:
            while not self._finishing:
                self._wake.wait(_TICK_SECONDS)
                self._wake.clear()
                self._dispatch()
        except Exception as error:
            self.error = error
        for delivery in self._deliveries.values():
            if delivery.running is not None:
                delivery.running.result()

    def _dispatch(self) -> None:
        """Start an attempt for every target that results wait for and whose delay is over."""
        for target, delivery in self._deliveries.items():
            if delivery.running is not None and delivery.running.done():
                self._settle(target, delivery, succeeded=delivery.running.result())
                delivery.running = None
        waiting = self._spool.targets()
        for target in self._deliveries.keys() - waiting - set(self._options.targets):
            # Senders that results were returned to; there may be any number.
            if self._deliveries[target].running is None:
                del self._deliveries[target]
        for target in waiting:
            delivery = self._deliveries.setdefault(target, _Delivery())
            if delivery.running is None and self._clock() >= delivery.due:
                delivery.running = self._pool.submit(self._attempt, target)
                delivery.running.add_done_callback(lambda _: self._wake.set())

    def _settle(self, target: Target, delivery: _Delivery, *, succeeded: bool) -> None:
        if succeeded:
            if delivery.failures:
                self._note(f"{target} takes results again")
            delivery.failures, delivery.due = 0, 0.0
            return
        delivery.failures += 1
        delay = min(_LONGEST_DELAY, _FIRST_DELAY * 2 ** (delivery.failures - 1))
        # Spread, so that several gateways do not come back at the same moment.
        delivery.due = self._clock() + delay * random.uniform(0.5, 1.0)  # noqa: S311
        if delivery.failures == 1:
            self._note(f"{target} does not take results; they wait in the spool, and are tried again and again")

    def _attempt(self, target: Target) -> bool:
        """Send what waits for a target, and return whether it took everything."""
        results = [result for result in self._spool.outgoing(target) if not self._is_too_old(result, target)]
        if not results:
            return True
        association = self._connect(target)
        if association is None:
            self._counts.add("failed")
            return False
        complete = True
        try:
            for result in results:
                if not association.is_established:
                    return False
                complete &= self._send(association, result, target)
        finally:
            if association.is_established:
                association.release()
        return complete

    def _connect(self, target: Target) -> Any:
        """Ask a target for an association; return ``None`` if it gives none."""
        entity = AE(self._options.ae_title)
        entity.acse_timeout = entity.connection_timeout = self._options.timeout
        entity.network_timeout = entity.dimse_timeout = max(30.0, self._options.timeout)
        for uid in (SECONDARY_CAPTURE, COMPREHENSIVE_3D_SR):
            entity.add_requested_context(uid, _SYNTAXES)
        options: dict[str, Any] = {"evt_handlers": [(evt.EVT_CONN_OPEN, _send_at_once)]}
        if target.tls:
            options["tls_args"] = (self._tls, target.host)
        try:
            association = entity.associate(target.host, target.port, ae_title=target.ae_title, **options)
        except (OSError, RuntimeError, ValueError):
            # The name is not known, or the TLS handshake fails.
            return None
        return association if association.is_established else None

    def _send(self, association: Any, result: OutgoingResult, target: Target) -> bool:
        """Send one result, and return whether the target took it."""
        try:
            status = association.send_c_store(result.path)
            code = int(status.Status) if "Status" in status else None
        except FileNotFoundError:
            # A newer result of the same name takes its place.
            return True
        except (AttributeError, ValueError, OSError):
            # ValueError: the target accepts no objects of this kind.
            code = 0x0122
        if code is None:
            # No answer: the connection is lost, or the target takes too long.
            self._counts.add("failed")
            return False
        if code == 0 or code >> 12 == 0xB:
            # Success, or a warning: the target has it.
            self._counts.add("sent")
            self._spool.sent(result)
            self._refusals.pop((str(result.path), result.state.inode), None)
            return True
        self._counts.add("failed")
        key = (str(result.path), result.state.inode)
        self._refusals[key] += 1
        if self._refusals[key] >= _MOST_REFUSALS:
            del self._refusals[key]
            self._bury(result, target, f"refused {_MOST_REFUSALS} times, last with status 0x{code:04X}")
        return False

    def _is_too_old(self, result: OutgoingResult, target: Target) -> bool:
        age = time.time() - result.state.mtime_ns / 1e9
        if age < self._options.give_up_days * _DAY_SECONDS:
            return False
        self._bury(result, target, f"not taken for {self._options.give_up_days:g} days")
        return True

    def _bury(self, result: OutgoingResult, target: Target, reason: str) -> None:
        folder = self._spool.bury(result)
        self._counts.add("dead")
        self._note(
            f"a result for {target} is a dead letter: {reason}; find the cause there, then move the files from "
            f"{folder} back to {result.path.parent}"
        )


def _send_at_once(event: Any) -> None:
    """Disable Nagle's algorithm (TCP_NODELAY), which holds back data until the peer has acknowledged a request."""
    event.assoc.dul.socket.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
