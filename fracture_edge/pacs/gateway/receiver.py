"""Receiving side of the gateway: C-ECHO and C-STORE."""

import ssl
import sys
import tempfile
import threading
from collections.abc import Callable
from typing import Any

from pynetdicom import AE, ALL_TRANSFER_SYNTAXES, evt

from fracture_edge.pacs.gateway.counts import Counts
from fracture_edge.pacs.gateway.header import read_header
from fracture_edge.pacs.gateway.options import GatewayOptions
from fracture_edge.pacs.gateway.rules import Action
from fracture_edge.pacs.gateway.server import MAX_PDU, GuardedServer, GuardedSocket
from fracture_edge.pacs.gateway.spool import Spool
from fracture_edge.pacs.results.identity import COMPREHENSIVE_3D_SR, SECONDARY_CAPTURE
from fracture_edge.pacs.results.source import NoResultError

#: Storage SOP classes that are accepted (PS3.4, section B.5).
IMAGE_CLASSES = {
    "Computed Radiography": "1.2.840.10008.5.1.4.1.1.1",
    "Digital X-Ray, for presentation": "1.2.840.10008.5.1.4.1.1.1.1",
    "Digital X-Ray, for processing": "1.2.840.10008.5.1.4.1.1.1.1.1",
    "X-Ray Radiofluoroscopic": "1.2.840.10008.5.1.4.1.1.12.2",
    "Enhanced XRF": "1.2.840.10008.5.1.4.1.1.12.2.1",
    "Secondary Capture": SECONDARY_CAPTURE,
    "Multi-frame single bit Secondary Capture": "1.2.840.10008.5.1.4.1.1.7.1",
    "Multi-frame grayscale byte Secondary Capture": "1.2.840.10008.5.1.4.1.1.7.2",
    "Multi-frame grayscale word Secondary Capture": "1.2.840.10008.5.1.4.1.1.7.3",
    "Multi-frame true color Secondary Capture": "1.2.840.10008.5.1.4.1.1.7.4",
}
_VERIFICATION = "1.2.840.10008.1.1"
#: Status codes of C-STORE (PS3.4, section B.2.3).
SUCCESS, OUT_OF_RESOURCES, MISMATCH, CANNOT_UNDERSTAND = 0x0000, 0xA700, 0xA900, 0xC000
#: Association rejected, permanently, by the service user: calling AE title not recognised (PS3.8, section 9.3.4).
_UNKNOWN_CALLER = (0x01, 0x01, 0x03)
#: Association rejected for now, by the service provider: local limit exceeded.
_LIMIT_EXCEEDED = (0x02, 0x03, 0x02)
#: Seconds within which an association has to be asked for.
_REQUEST_SECONDS = 5.0


class Receiver:
    """Server that puts received images into the spool.

    Attributes:
        port: TCP port that it listens on.
    """

    def __init__(
        self,
        options: GatewayOptions,
        spool: Spool,
        counts: Counts,
        tls: ssl.SSLContext | None,
        *,
        arrived: Callable[[], None],
    ) -> None:
        """Bind the port and start to listen.

        Args:
            options: Options of the gateway.
            spool: Spool for the images.
            counts: Counts to add to.
            tls: Context of encrypted connections; they are not encrypted if ``None``.
            arrived: Function that is called when an image is in the spool.

        Raises:
            OSError: The port cannot be used.
        """
        self._options, self._spool, self._counts, self._arrived = options, spool, counts, arrived
        self._stopping = False
        # pynetdicom opens its temporary files in this folder.
        self._temporary_before, tempfile.tempdir = tempfile.tempdir, str(spool.incoming)
        entity = AE(options.ae_title)
        entity.require_called_aet = True
        # pynetdicom counts every connection, also silent ones that are being closed; `_on_request` does not.
        entity.maximum_associations = sys.maxsize
        entity.maximum_pdu_size = MAX_PDU
        entity.acse_timeout = min(_REQUEST_SECONDS, options.timeout)
        entity.network_timeout = entity.dimse_timeout = options.timeout
        entity.add_supported_context(_VERIFICATION)
        for uid in IMAGE_CLASSES.values():
            entity.add_supported_context(uid, ALL_TRANSFER_SYNTAXES)
        # So that an archive that sends a whole study back does not fail at our own report.
        entity.add_supported_context(COMPREHENSIVE_3D_SR)
        self._server = entity.make_server(
            (options.host, options.port),
            evt_handlers=[
                (evt.EVT_REQUESTED, self._on_request),
                (evt.EVT_C_ECHO, self._on_echo),
                (evt.EVT_C_STORE, self._on_store),
                (evt.EVT_REJECTED, self._on_rejected),
                (evt.EVT_CONN_CLOSE, self._on_close),
            ],
            server_class=GuardedServer,
            options=options,
            counts=counts,
            tls=tls,
        )
        # Its `shutdown` removes it from this list.
        entity._servers.append(self._server)
        self.port: int = self._server.server_address[1]
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.1,), daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """Listen no longer, and refuse further images on connections that are open."""
        self._stopping = True
        self._server.shutdown()

    def busy(self) -> bool:
        """Return whether a sender is still connected."""
        return bool(self._server.established())

    def close(self) -> None:
        """Close the connections that are left."""
        self._server.close_all()
        tempfile.tempdir = self._temporary_before

    def _on_request(self, event: Any) -> None:
        """Refuse an association that no allowed peer asks for, and one too many."""
        association = event.assoc
        title = str(association.requestor.primitive.calling_ae_title)
        address = str(association.requestor.address)
        allowed = self._options.allowed
        if allowed and not any(peer.admits(title, address) for peer in allowed):
            self._counts.add("rejected", "calling AE title")
            association.acse.send_reject(*_UNKNOWN_CALLER)
            association.kill()
        elif self._server.established() >= self._options.max_associations:
            self._counts.add("rejected", "too many associations")
            association.acse.send_reject(*_LIMIT_EXCEEDED)
            association.kill()

    def _on_rejected(self, event: Any) -> None:
        self._counts.add("rejected", "called AE title")

    def _on_close(self, event: Any) -> None:
        held = event.assoc.dul.socket
        if isinstance(held, GuardedSocket) and held.too_large:
            self._counts.add("refused", "too much data")

    def _on_echo(self, event: Any) -> int:
        event.assoc.dul.socket.received = 0
        return SUCCESS

    def _on_store(self, event: Any) -> int:
        """Take an image; success is answered only when it is safely on the disk."""
        event.assoc.dul.socket.received = 0
        try:
            self._store(event)
        except _RefusedError as error:
            self._counts.add("refused", error.reason)
            return error.status
        except NoResultError:
            self._counts.add("refused", "broken header")
            return CANNOT_UNDERSTAND
        except OSError:
            # The disk is full, say: the sender keeps the image and may try again.
            self._counts.add("refused", "disk error")
            return OUT_OF_RESOURCES
        finally:
            # A disk that takes its time is no silence of the sender, whose association would be aborted for it.
            event.assoc.dul._idle_timer.restart()
        return SUCCESS

    def _store(self, event: Any) -> None:
        """Put the image of a request into the spool, unless it is our own result or passed over.

        Raises:
            _RefusedError: The image is not taken.
            NoResultError: The header is broken.
            OSError: The disk does not take it.
        """
        if self._stopping:
            raise _RefusedError(OUT_OF_RESOURCES, "stopping")
        request, received = event.request, event.dataset_path
        if received is None:
            raise _RefusedError(CANNOT_UNDERSTAND, "no data set")
        if self._spool.free_bytes() < self._options.min_free_bytes:
            raise _RefusedError(OUT_OF_RESOURCES, "disk full")
        header = read_header(received)
        if header.is_own:
            self._counts.add("own")
            return
        if request.AffectedSOPClassUID == COMPREHENSIVE_3D_SR:
            raise _RefusedError(MISMATCH, "not an image")
        if header.sop_instance_uid != request.AffectedSOPInstanceUID:
            raise _RefusedError(MISMATCH, "another SOP Instance UID")
        action, rule = self._options.rules.decide(header)
        if action is Action.PASS:
            self._counts.add("passed_over", rule)
            return
        sender = event.assoc.requestor
        self._spool.take(received, header.sop_instance_uid, str(sender.ae_title), str(sender.address))
        self._counts.add("received")
        self._arrived()


class _RefusedError(Exception):
    """An image is not taken.

    Attributes:
        status: Status code of the response.
        reason: Reason in messages.
    """

    def __init__(self, status: int, reason: str) -> None:
        super().__init__(reason)
        self.status, self.reason = status, reason
