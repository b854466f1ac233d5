"""The receiving side acknowledges only what is safe, and stays open to senders whatever others do."""

import socket
import struct
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("pynetdicom")
pytest.importorskip("highdicom")

from fracture_edge.pacs.gateway.counts import Counts
from fracture_edge.pacs.gateway.options import GatewayOptions, TlsFiles
from fracture_edge.pacs.gateway.peers import AllowedPeer, Target
from fracture_edge.pacs.gateway.receiver import Receiver
from fracture_edge.pacs.gateway.rules import Action, Rule, Rules
from fracture_edge.pacs.gateway.spool import Spool

Send = Callable[..., int | None]
TARGET = Target("PACS", "127.0.0.1", 104)


class Running:
    """Receiver with its spool.

    Attributes:
        port: Port that it listens on.
        spool: Its spool.
        counts: Its counts.
    """

    def __init__(self, folder: Path, **options: Any) -> None:
        given = {"ae_title": "FRACTURE", "host": "127.0.0.1", "port": 0, "targets": [TARGET], "min_free_bytes": 0}
        self.spool, self.counts = Spool(folder), Counts()
        made = GatewayOptions(spool=folder, **(given | options))
        self._receiver = Receiver(made, self.spool, self.counts, made.tls.server_context(), arrived=lambda: None)
        self.port = self._receiver.port
        self.stop = self._receiver.stop

    def close(self) -> None:
        self._receiver.stop()
        self._receiver.close()

    @property
    def waiting(self) -> int:
        return self.spool.counts()[0]


@pytest.fixture
def receive(tmp_path: Path) -> Iterator[Callable[..., Running]]:
    made: list[Running] = []

    def run(**options: Any) -> Running:
        made.append(Running(tmp_path / f"spool{len(made)}", **options))
        return made[-1]

    yield run
    for one in made:
        one.close()


@pytest.fixture
def radiograph(tmp_path: Path, write_radiograph: Callable[..., Path]) -> Path:
    return write_radiograph(tmp_path / "x.dcm", np.zeros((64, 64), np.uint8), patient=b"Zyxwvut^Qponml")


def wait(condition: Callable[[], bool]) -> None:
    end = time.monotonic() + 20
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.02)


def test_success_means_that_the_image_is_in_the_spool(
    receive: Callable[..., Running], send: Send, radiograph: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    flushed: list[str] = []
    monkeypatch.setattr("fracture_edge.pacs.gateway.spool.flush_to_disk", lambda path: flushed.append(path.name))
    running = receive()
    assert send(running.port, radiograph) == 0x0000
    (image,) = running.spool.claim(5)
    # It was flushed under its temporary name, before the rename.
    assert flushed == [name for name in flushed if name.startswith("tmp")]
    assert len(flushed) == 1
    assert (image.ae_title, image.address) == ("CR1", "127.0.0.1")
    import pydicom

    assert pydicom.dcmread(image.path).PatientName == "Zyxwvut^Qponml"
    assert "Zyxwvut" not in str(list(running.spool.folder.rglob("*")))
    assert list(running.spool.incoming.iterdir()) == []


@pytest.mark.parametrize(
    "syntax",
    ["1.2.840.10008.1.2", "1.2.840.10008.1.2.2", "1.2.840.10008.1.2.1.99", "1.2.840.10008.1.2.5"],
)
def test_transfer_syntaxes(
    syntax: str, receive: Callable[..., Running], send: Send, tmp_path: Path, write_radiograph: Callable[..., Path]
) -> None:
    running = receive()
    path = write_radiograph(tmp_path / "x.dcm", np.eye(64, dtype=np.uint8) * 200, syntax=syntax, modality="DX")
    assert send(running.port, path) == 0x0000
    import pydicom

    (image,) = running.spool.claim(5)
    found = pydicom.dcmread(image.path)
    assert found.file_meta.TransferSyntaxUID == syntax
    np.testing.assert_array_equal(found.pixel_array, np.eye(64, dtype=np.uint8) * 200)


def test_a_disk_that_is_nearly_full_refuses(receive: Callable[..., Running], send: Send, radiograph: Path) -> None:
    running = receive(min_free_bytes=1 << 60)
    assert send(running.port, radiograph) == 0xA700
    assert (running.waiting, running.counts.refused["disk full"]) == (0, 1)


def test_an_error_of_the_disk_refuses(
    receive: Callable[..., Running], send: Send, radiograph: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(path: Path) -> None:
        raise OSError(5, "Input/output error")

    monkeypatch.setattr("fracture_edge.pacs.gateway.spool.flush_to_disk", fail)
    running = receive()
    assert send(running.port, radiograph) == 0xA700
    assert running.waiting == 0
    # Nothing is left of it.
    assert list(running.spool.incoming.iterdir()) == []


def test_a_slow_disk_is_no_silence_of_the_sender(
    receive: Callable[..., Running], radiograph: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import pydicom
    from pynetdicom import AE

    monkeypatch.setattr("fracture_edge.pacs.gateway.spool.flush_to_disk", lambda path: time.sleep(1.5))
    running = receive(timeout=1)
    dataset = pydicom.dcmread(radiograph)
    entity = AE("CR1")
    entity.add_requested_context(dataset.SOPClassUID, "1.2.840.10008.1.2.1")
    association = entity.associate("127.0.0.1", running.port, ae_title="FRACTURE")
    assert [association.send_c_store(dataset).get("Status") for _ in range(2)] == [0, 0]
    association.release()


def test_a_result_that_comes_back_is_acknowledged_and_dropped(
    receive: Callable[..., Running], send: Send, tmp_path: Path, radiograph: Path, tiny_model: Path
) -> None:
    from fracture_edge.classifier import FractureClassifier
    from fracture_edge.pacs.results.make import ResultMaker

    running = receive()
    tiny = FractureClassifier(tiny_model)
    for result in ResultMaker(tiny).make(radiograph, list(tiny.predict_frames(radiograph))):
        path = tmp_path / result.name
        path.write_bytes(result.content)
        assert send(running.port, path) == 0x0000
    assert (running.waiting, running.counts.own, running.counts.received) == (0, 2, 0)


def test_rules_pass_images_over(
    receive: Callable[..., Running], send: Send, tmp_path: Path, write_radiograph: Callable[..., Path]
) -> None:
    running = receive(rules=Rules([Rule("no chests", Action.PASS, body_part=("chest",))]))
    pixels = np.zeros((64, 64), np.uint8)
    chest = write_radiograph(tmp_path / "c.dcm", pixels, BodyPartExamined="CHEST")
    hand = write_radiograph(tmp_path / "h.dcm", pixels, BodyPartExamined="HAND", uids=("1.2.1", "1.2.2", "1.2.3"))
    assert [send(running.port, path) for path in (chest, hand, chest)] == [0, 0, 0]
    assert (running.waiting, running.counts.passed_over) == (1, {"no chests": 2})
    assert "2 passed over (no chests 2)" in running.counts.text()


@pytest.mark.parametrize(
    ("changes", "status", "reason"),
    [
        ({"StudyInstanceUID": None}, 0xC000, "broken header"),
        ({"SOPInstanceUID": "1.2.9"}, 0xA900, "another SOP Instance UID"),
    ],
)
def test_what_cannot_be_filed_is_refused(
    changes: dict[str, Any],
    status: int,
    reason: str,
    receive: Callable[..., Running],
    radiograph: Path,
) -> None:
    import pydicom
    from pynetdicom import AE
    from pynetdicom.dimse_primitives import C_STORE
    from pynetdicom.dsutils import encode

    running = receive()
    dataset = pydicom.dcmread(radiograph)
    for keyword, value in changes.items():
        if value is None:
            delattr(dataset, keyword)
        else:
            setattr(dataset, keyword, value)
    entity = AE("CR1")
    entity.add_requested_context(dataset.SOPClassUID, "1.2.840.10008.1.2.1")
    association = entity.associate("127.0.0.1", running.port, ae_title="FRACTURE")
    import io

    request = C_STORE()
    request.MessageID, request.Priority = 1, 2
    request.AffectedSOPClassUID, request.AffectedSOPInstanceUID = dataset.SOPClassUID, "1.2.3.3"
    request.DataSet = io.BytesIO(encode(dataset, False, True) or b"")
    association._reactor_checkpoint.clear()
    association.dimse.send_msg(request, 1)
    _, answer = association.dimse.get_msg(block=True)
    association._reactor_checkpoint.set()
    association.release()
    assert answer.Status == status
    assert (running.waiting, running.counts.refused[reason]) == (0, 1)


def test_too_large_images_are_cut_off(
    receive: Callable[..., Running],
    send: Send,
    tmp_path: Path,
    write_radiograph: Callable[..., Path],
    radiograph: Path,
) -> None:
    running = receive(max_image_bytes=1_000_000)
    large = write_radiograph(
        tmp_path / "l.dcm", np.zeros((2000, 2000), np.uint8), uids=("1.2.1", "1.2.2", "1.2.4")
    )
    assert send(running.port, large) in (None, -1)
    wait(lambda: running.counts.refused["too much data"] == 1)
    # The limit is that of one image, not of an association or of the gateway.
    assert [send(running.port, radiograph) for _ in range(3)] == [0, 0, 0]
    assert running.waiting == 1


def test_called_and_calling_titles_are_checked(
    receive: Callable[..., Running], send: Send, radiograph: Path
) -> None:
    running = receive(allowed=[AllowedPeer.parse("CR1@127.0.0.0/8"), AllowedPeer.parse("CR2@10.0.0.1")])
    assert send(running.port, radiograph, called="OTHER") is None
    assert send(running.port, radiograph, calling="STRANGER") is None
    # The title of a peer that is allowed from another address only.
    assert send(running.port, radiograph, calling="CR2") is None
    assert send(running.port, radiograph, calling="CR1") == 0
    wait(lambda: running.counts.rejected.total() == 3)
    assert running.counts.rejected["calling AE title"] == 2


def test_addresses_that_nobody_has_get_no_association(
    receive: Callable[..., Running], send: Send, radiograph: Path
) -> None:
    running = receive(allowed=[AllowedPeer.parse("*@10.0.0.1")])
    assert send(running.port, radiograph) is None
    assert running.counts.rejected == {"address": 1}


def test_a_crowd_that_says_nothing_does_not_shut_out_a_sender(
    receive: Callable[..., Running], send: Send, radiograph: Path
) -> None:
    # With this timeout, no connection ends by itself during the test.
    running = receive(timeout=300, max_associations=4)
    before = threading.active_count()
    crowd = [socket.create_connection(("127.0.0.1", running.port)) for _ in range(200)]
    assert send(running.port, radiograph) == 0
    wait(lambda: running.counts.rejected["silent"] >= 200 - 16)
    # Two threads for each connection that is left.
    wait(lambda: threading.active_count() - before <= 2 * (4 + 16) + 10)
    for one in crowd:
        one.close()
    assert send(running.port, radiograph) == 0


def test_no_more_senders_at_a_time_than_allowed(
    receive: Callable[..., Running], send: Send, radiograph: Path
) -> None:
    from pynetdicom import AE

    running = receive(max_associations=2)
    entity = AE("CR1")
    entity.add_requested_context("1.2.840.10008.1.1")
    held = [entity.associate("127.0.0.1", running.port, ae_title="FRACTURE") for _ in range(2)]
    assert [one.is_established for one in held] == [True, True]
    assert send(running.port, radiograph) is None
    assert running.counts.rejected == {"too many associations": 1}
    held[0].release()
    wait(lambda: send(running.port, radiograph) == 0)
    held[1].release()


def test_silent_and_slow_peers_are_cut_off(receive: Callable[..., Running]) -> None:
    running = receive(timeout=1)

    def seconds_until_closed(first: bytes, drip: bytes) -> float:
        started = time.monotonic()
        with socket.create_connection(("127.0.0.1", running.port)) as peer:
            peer.settimeout(0.2)
            peer.sendall(first)
            while time.monotonic() - started < 30:
                try:
                    if drip:
                        peer.sendall(drip)
                    if not peer.recv(4096):
                        break
                except TimeoutError:
                    continue
                except OSError:
                    break
        return time.monotonic() - started

    # Half of a request, byte by byte, and one that is longer than any: pynetdicom would wait for the rest.
    for first, drip in ((b"", b""), (b"\x01\0\0\0\x10\0", b"x"), (b"\x01\0\xff\xff\xff\xff", b"")):
        assert seconds_until_closed(first, drip) < 10


def test_an_open_association_that_falls_silent_is_cut_off(receive: Callable[..., Running]) -> None:
    from pynetdicom import AE

    running = receive(timeout=1)
    entity = AE("CR1")
    entity.add_requested_context("1.2.840.10008.1.1")
    association = entity.associate("127.0.0.1", running.port, ae_title="FRACTURE")
    assert association.send_c_echo().Status == 0
    wait(lambda: not association.is_established)


def test_half_an_image_leaves_nothing_that_is_answered(
    receive: Callable[..., Running], tmp_path: Path, radiograph: Path
) -> None:
    from pynetdicom import AE

    running = receive(timeout=1)
    entity = AE("CR1")
    entity.add_requested_context("1.2.840.10008.5.1.4.1.1.1", "1.2.840.10008.1.2.1")
    association = entity.associate("127.0.0.1", running.port, ae_title="FRACTURE")
    # The command of C-STORE arrives, and the beginning of its data set; then the cable is pulled.
    import io

    from pynetdicom.dimse_messages import C_STORE_RQ
    from pynetdicom.dimse_primitives import C_STORE

    request = C_STORE()
    request.MessageID, request.Priority = 1, 2
    request.AffectedSOPClassUID, request.AffectedSOPInstanceUID = "1.2.840.10008.5.1.4.1.1.1", "1.2.3.3"
    request.DataSet = io.BytesIO(radiograph.read_bytes()[200:])
    message = C_STORE_RQ()
    message.primitive_to_message(request)
    pieces = list(message.encode_msg(1, 1000))
    for piece in pieces[:-2]:
        association.dul.send_pdu(piece)
    wait(lambda: any(running.spool.incoming.iterdir()))
    association.dul.socket.socket.shutdown(socket.SHUT_RDWR)
    wait(lambda: not association.is_established)
    assert (running.waiting, running.counts.received) == (0, 0)


def test_stopping_refuses_what_comes_later(receive: Callable[..., Running], radiograph: Path) -> None:
    import pydicom
    from pynetdicom import AE

    running = receive()
    entity = AE("CR1")
    dataset = pydicom.dcmread(radiograph)
    entity.add_requested_context(dataset.SOPClassUID, "1.2.840.10008.1.2.1")
    association = entity.associate("127.0.0.1", running.port, ae_title="FRACTURE")
    assert association.send_c_store(dataset).Status == 0
    running.stop()
    assert association.send_c_store(dataset).Status == 0xA700
    association.release()
    with pytest.raises(OSError, match="refused"):
        socket.create_connection(("127.0.0.1", running.port))
    running.stop = running._receiver.stop = lambda: None  # type: ignore[method-assign]


def test_encrypted_connections(
    receive: Callable[..., Running], send: Send, radiograph: Path, make_authority: Callable[[str], Any]
) -> None:
    certificates: TlsFiles = make_authority("hospital").issue("peer")
    running = receive(tls=certificates, timeout=300)
    # Peers that do not even begin the handshake keep nobody out.
    before = threading.active_count()
    silent = [socket.create_connection(("127.0.0.1", running.port)) for _ in range(80)]
    context = certificates.client_context()
    assert send(running.port, radiograph, tls_args=(context, "peer")) == 0
    assert threading.active_count() - before <= 2 * 16 + 10
    # Without a certificate of one's own.
    assert (
        send(
            running.port,
            radiograph,
            tls_args=(TlsFiles(authorities=certificates.authorities).client_context(), "peer"),
        )
        is None
    )
    for one in silent:
        one.close()
    wait(lambda: running.counts.rejected["TLS"] >= 1)
    wait(lambda: running.counts.rejected["silent"] >= 80 - 16)
    assert running.waiting == 1


def test_files_for_tls_that_cannot_be_used_are_named(tmp_path: Path) -> None:
    from fracture_edge.errors import FractureEdgeError

    (tmp_path / "x.pem").write_text("no certificate")
    with pytest.raises(
        FractureEdgeError, match=r"x\.pem: no certificate with its key could be read .* --tls-cert"
    ):
        TlsFiles(certificate=tmp_path / "x.pem").server_context()
    with pytest.raises(FractureEdgeError, match=r"none\.pem: no certificates could be read .* --tls-ca"):
        TlsFiles(authorities=tmp_path / "none.pem").client_context()
    with pytest.raises(FractureEdgeError, match="--tls-key needs --tls-cert"):
        TlsFiles(key=tmp_path / "x.pem").server_context()
    with pytest.raises(FractureEdgeError, match="a target begins with tls: give --tls-ca"):
        GatewayOptions(ae_title="X", spool=tmp_path, targets=[Target("A", "h", 1, tls=True)])


def test_unknown_messages_do_no_harm(receive: Callable[..., Running], send: Send, radiograph: Path) -> None:
    running = receive(timeout=1)
    for pdu in (
        b"\x09\0" + struct.pack(">L", 4) + b"abcd",
        b"\x04\0" + struct.pack(">L", 4) + b"abcd",
        b"GET / HTTP/1.1\r\n\r\n",
    ):
        with socket.create_connection(("127.0.0.1", running.port)) as peer:
            peer.sendall(pdu)
            peer.settimeout(20)
            try:
                while peer.recv(4096):
                    pass
            except OSError:
                pass
    assert send(running.port, radiograph) == 0
