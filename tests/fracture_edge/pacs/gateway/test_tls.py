"""Encrypted connections end to end: who has no certificate of the authority sends nothing and gets nothing."""

import json
import shutil
import socket
import ssl
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("pynetdicom")
pytest.importorskip("highdicom")
from benchmarks.studies.gateway.certificates import gateway_options
from fracture_edge.pacs.gateway.options import TlsFiles

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="needs SIGTERM")

Send = Callable[..., int | None]
MakeAuthority = Callable[[str], Any]
#: dcmtk's; pynetdicom installs a program of the same name beside Python.
STORESCU = shutil.which("storescu", path="/usr/bin:/usr/local/bin")


def counts(gateway: Any) -> dict[str, Any]:
    """Return the final counts of a gateway that has stopped."""
    found: dict[str, Any] = json.loads((gateway.spool / "status.json").read_text())["counts"]
    return found


@pytest.fixture
def wiretap() -> Iterator[Callable[[int], tuple[int, bytearray]]]:
    """Relay connections to a port; return the port to connect to, and what the peers say."""
    servers: list[socket.socket] = []

    def relay(near: socket.socket, port: int, heard: bytearray) -> None:
        with near, socket.create_connection(("127.0.0.1", port)) as far:
            back = threading.Thread(target=pump, args=(far, near, heard))
            back.start()
            pump(near, far, heard)
            back.join()

    def pump(one: socket.socket, other: socket.socket, heard: bytearray) -> None:
        try:
            while data := one.recv(65536):
                heard.extend(data)
                other.sendall(data)
            other.shutdown(socket.SHUT_WR)
        except OSError:
            return

    def accept(server: socket.socket, port: int, heard: bytearray) -> None:
        while True:
            try:
                near, _ = server.accept()
            except OSError:
                return
            threading.Thread(target=relay, args=(near, port, heard), daemon=True).start()

    def tap(port: int) -> tuple[int, bytearray]:
        server, heard = socket.create_server(("127.0.0.1", 0)), bytearray()
        servers.append(server)
        threading.Thread(target=accept, args=(server, port, heard), daemon=True).start()
        return server.getsockname()[1], heard

    yield tap
    for server in servers:
        # Or `accept` would go on to wait.
        server.shutdown(socket.SHUT_RDWR)
        server.close()


def test_images_and_results_are_encrypted(
    gateway: Callable[..., Any],
    make_archive: Callable[..., Any],
    make_authority: MakeAuthority,
    wiretap: Callable[[int], tuple[int, bytearray]],
    send: Send,
    films: list[Path],
    tiny_model: Path,
) -> None:
    hospital = make_authority("hospital")
    modality: TlsFiles = hospital.issue("modality")
    # It asks for the certificate of whoever brings results, too.
    archive = make_archive(ssl_context=hospital.issue("archive").server_context())
    archive_port, brought = wiretap(archive.port)
    target = f"tls:PACS@127.0.0.1:{archive_port}"
    running = gateway("--to", target, "--model", tiny_model, *gateway_options(hospital.issue("gateway")))
    port, sent = wiretap(running.port)
    assert send(port, films[0], tls_args=(modality.client_context(), None)) == 0
    images = 1
    if STORESCU is not None:
        command = [STORESCU, "+tls", modality.key, modality.certificate, "+cf", modality.authorities]
        command += ["-aec", "FRACTURE", "127.0.0.1", str(port), films[1]]
        done = subprocess.run(command, capture_output=True, check=False)
        assert done.returncode == 0, done.stderr
        images = 2
    running.wait(lambda: len(archive.received) == 2 * images)
    assert running.stop() == 0
    assert sorted(str(found.Modality) for found in archive.received) == ["OT"] * images + ["SR"] * images
    assert {str(found.PatientName) for found in archive.received} == {"Zyxwvut^Qponml"}
    assert (counts(running)["received"], counts(running)["sent"], running.files()) == (images, 2 * images, [])
    # The image has 4,096 pixels, the capture more.
    assert len(sent) > 4096
    assert len(brought) > 4096
    for clear in (b"Zyxwvut", b"PID-918273", b"1.2.1.1"):
        assert clear not in sent + brought


def test_senders_without_a_certificate_of_the_authority_are_refused(
    gateway: Callable[..., Any],
    archive: Any,
    make_authority: MakeAuthority,
    send: Send,
    films: list[Path],
    tiny_model: Path,
) -> None:
    hospital, elsewhere = make_authority("hospital"), make_authority("elsewhere")
    modality: TlsFiles = hospital.issue("modality")
    running = gateway(
        *("--to", f"PACS@127.0.0.1:{archive.port}", "--model", tiny_model),
        *gateway_options(hospital.issue("gateway")),
    )

    def status(files: TlsFiles) -> int | None:
        return send(running.port, films[0], tls_args=(files.client_context(), None))

    # Not encrypted; without a certificate; with one of another authority.
    assert send(running.port, films[0]) is None
    assert status(TlsFiles(authorities=hospital.certificate)) is None
    stranger = elsewhere.issue("stranger")
    assert status(replace(stranger, authorities=hospital.certificate)) is None
    # A sender that trusts another authority than that of the gateway sends nothing either.
    assert status(replace(modality, authorities=elsewhere.certificate)) is None
    if STORESCU is not None:
        for identity in (["+tla"], ["+tls", stranger.key, stranger.certificate]):
            command = [STORESCU, *identity, "+cf", hospital.certificate, "-aec", "FRACTURE"]
            command += ["127.0.0.1", str(running.port), films[0]]
            assert subprocess.run(command, capture_output=True, check=False).returncode != 0
    # The same image from the modality is taken.
    assert status(modality) == 0
    running.wait(lambda: len(archive.received) == 2)
    assert running.stop() == 0
    assert (counts(running)["received"], counts(running)["answered"]) == (1, 1)
    assert counts(running)["rejected"]["TLS"] >= 4


def test_a_target_without_a_certificate_of_the_authority_gets_nothing(
    gateway: Callable[..., Any],
    make_archive: Callable[..., Any],
    make_authority: MakeAuthority,
    send: Send,
    films: list[Path],
    tiny_model: Path,
) -> None:
    hospital, elsewhere = make_authority("hospital"), make_authority("elsewhere")
    # The server of `elsewhere` takes whoever comes, so that only the gateway can refuse.
    strange = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    stranger: TlsFiles = elsewhere.issue("stranger")
    strange.load_cert_chain(stranger.certificate or "", stranger.key)
    good = make_archive(ssl_context=hospital.issue("archive").server_context())
    bad, plain = make_archive(ssl_context=strange), make_archive()
    targets = [f"tls:PACS@127.0.0.1:{one.port}" for one in (good, bad, plain)]
    running = gateway(
        *(word for target in targets for word in ("--to", target)),
        *("--model", tiny_model, *gateway_options(hospital.issue("gateway"))),
    )
    context = hospital.issue("modality").client_context()
    assert send(running.port, films[0], tls_args=(context, None)) == 0
    running.wait(lambda: len(good.received) == 2)
    for target in targets[1:]:
        running.wait(lambda target=target: f"{target} does not take results" in running.log)
    assert (bad.attempts, plain.attempts) == (0, 0)
    # Two results wait for each of the two, and none for the first.
    running.wait(lambda: [name.partition("/")[0] for name in running.files()] == ["out"] * 4)
    # With a certificate of the authority they arrive.
    bad.stop()
    bad.tls = hospital.issue("archive").server_context()
    bad.start()
    running.wait(lambda: len(bad.received) == 2)
    assert running.stop() == 0
    assert (plain.attempts, len(good.received), len(running.files())) == (0, 2, 2)
