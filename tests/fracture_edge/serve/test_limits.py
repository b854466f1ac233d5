"""Bodies, forms, queue, memory, slow clients, and the end of the server."""

import contextlib
import socket
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from fracture_edge.classifier import FractureClassifier
from fracture_edge.prediction import Prediction

pytest.importorskip("starlette")
pytest.importorskip("uvicorn")

Serve = Callable[..., Any]
GreyFile = Callable[[str, int], Path]
#: Seconds after which a slow client is cut off in these tests, and after which it certainly is.
TIMEOUT, CERTAINLY = 1.0, 20.0
HEAD = b"POST /v1/classify HTTP/1.1\r\nHost: localhost\r\n%s\r\n\r\n"
UNREAD = "the form cannot be read: "


class Blocked:
    """Classifier whose predictions wait until they are released.

    Attributes:
        begun: Number of predictions that have begun.
    """

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.begun = 0
        self._released = threading.Event()
        predict = FractureClassifier.predict_frames

        def wait(classifier: FractureClassifier, image: Any, frames: Any = None) -> Iterator[Prediction]:
            self.begun += 1
            assert self._released.wait(60)
            return predict(classifier, image, frames)

        monkeypatch.setattr(FractureClassifier, "predict_frames", wait)

    def release(self) -> None:
        self._released.set()


@pytest.fixture
def blocked(monkeypatch: pytest.MonkeyPatch) -> Iterator[Blocked]:
    made = Blocked(monkeypatch)
    yield made
    made.release()


def _wait(condition: Callable[[], bool]) -> None:
    end = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.01)


def _in_threads(number: int, work: Callable[[], Any]) -> tuple[list[threading.Thread], list[Any]]:
    results: list[Any] = []
    threads = [threading.Thread(target=lambda: results.append(work())) for _ in range(number)]
    for thread in threads:
        thread.start()
    return threads, results


def _raw(running: Any, *pieces: bytes, pause: float = 0.0) -> bytes:
    """Send bytes, and return everything that comes back until the connection is closed."""
    with socket.create_connection(("127.0.0.1", running.port), timeout=CERTAINLY) as client:
        received = b""
        with contextlib.suppress(ConnectionError):
            for piece in pieces:
                client.sendall(piece)
                time.sleep(pause)
        with contextlib.suppress(ConnectionError):
            while more := client.recv(65536):
                received += more
        return received


def test_a_body_that_is_announced_too_large_is_not_received(serve: Serve) -> None:
    running = serve(max_body_bytes=1_000_000)
    answer = _raw(running, HEAD % b"Content-Length: 1000001\r\nExpect: 100-continue")
    # Not "100 Continue".
    assert answer.startswith(b"HTTP/1.1 413 ")
    assert b"the body is over the limit of 1 MB" in answer


def test_a_body_of_unknown_length_is_cut_off_at_the_limit(serve: Serve) -> None:
    running = serve(max_body_bytes=100_000)
    # Twice the limit: the server takes in the rest for a while, so that the client reads the answer.
    answer = running.ask("/v1/classify", (b"x" * 10_000 for _ in range(20)))
    assert (answer.status, answer.detail) == (413, "the body is over the limit of 0 MB")
    # Without an end: the connection is closed.
    endless = _raw(
        running, HEAD % b"Transfer-Encoding: chunked", *[b"8000\r\n" + b"x" * 0x8000 + b"\r\n"] * 99, pause=0.1
    )
    assert endless.count(b"HTTP/1.1 413 ") == (1 if endless else 0)
    assert 'cut_off_total{reason="refused body"} 1' in running.ask("/metrics").text
    assert "fracture_edge_held_bytes 0" in running.ask("/metrics").text


def test_a_body_of_the_largest_size_is_answered(serve: Serve, grey_file: GreyFile) -> None:
    data = grey_file("a.png", 192).read_bytes()
    running = serve(max_body_bytes=len(data))
    assert running.ask("/v1/classify", data).status == 200
    # In chunks, whose framing does not count.
    assert running.ask("/v1/classify", iter([data[:10], data[10:]])).status == 200
    assert running.ask("/v1/classify", data + b"x").status == 413
    assert running.ask("/v1/classify", iter([data, b"x"])).status == 413


def test_pixels_are_limited_before_they_are_decoded(serve: Serve, bomb: bytes) -> None:
    (record,) = serve(None).ask("/v1/classify", bomb).json
    assert (record["status"], record["probability"]) == ("too_large", None)
    assert record["reason"] == "10000x10000 pixels, over the limit of 50,000,000"


@pytest.fixture
def bomb() -> bytes:
    """A PNG file of 100 megapixels in 100 kB."""
    import struct
    import zlib

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", 10_000, 10_000, 8, 0, 0, 0, 0)
    pixels = zlib.compress(bytes(10_001) * 10_000)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", pixels) + chunk(b"IEND", b"")


def test_the_memory_for_bodies_is_limited(serve: Serve, blocked: Blocked) -> None:
    running = serve(max_body_bytes=1000, max_held_bytes=2500, workers=2, queue=10)
    threads, results = _in_threads(2, lambda: running.ask("/v1/classify", b"x" * 1000))
    _wait(lambda: blocked.begun == 2)
    answer = running.ask("/v1/classify", b"x" * 1000)
    assert (answer.status, answer.headers["retry-after"]) == (503, "2")
    assert answer.detail == "too many images are being received; try again later"
    blocked.release()
    for thread in threads:
        thread.join()
    assert [result.status for result in results] == [200, 200]
    assert running.ask("/v1/classify", b"x" * 1000).status == 200
    assert "fracture_edge_held_bytes 0" in running.ask("/metrics").text


def test_a_full_queue_says_when_to_come_back(serve: Serve, blocked: Blocked, grey_file: GreyFile) -> None:
    running, data = serve(workers=1, queue=2), grey_file("a.png", 192).read_bytes()
    threads, results = _in_threads(3, lambda: running.ask("/v1/classify", data))
    _wait(lambda: "fracture_edge_requests_active 3" in running.ask("/metrics").text)
    answer = running.ask("/v1/classify", data)
    assert (answer.status, answer.headers["retry-after"]) == (503, "1")
    assert answer.detail == "all workers are busy and the queue is full; try again later"
    assert (running.ask("/readyz").status, running.ask("/healthz").status) == (503, 200)
    assert blocked.begun == 1
    blocked.release()
    for thread in threads:
        thread.join()
    assert [result.status for result in results] == [200, 200, 200]
    assert running.ask("/readyz").status == 200


def test_a_client_that_goes_away_leaves_the_queue(serve: Serve, blocked: Blocked, grey_file: GreyFile) -> None:
    running, data = serve(workers=1, queue=1), grey_file("a.png", 192).read_bytes()
    threads, _ = _in_threads(1, lambda: running.ask("/v1/classify", data))
    _wait(lambda: blocked.begun == 1)
    waiting = running.connect()
    waiting.request("POST", "/v1/classify", data)
    _wait(lambda: "fracture_edge_requests_active 2" in running.ask("/metrics").text)
    waiting.close()
    _wait(lambda: "fracture_edge_requests_active 1" in running.ask("/metrics").text)
    blocked.release()
    threads[0].join()
    text = running.ask("/metrics").text
    assert blocked.begun == 1
    assert 'fracture_edge_requests_total{path="/v1/classify",status="499"} 1' in text


def test_forms_that_cannot_be_read(serve: Serve) -> None:
    running = serve()
    start = b'--b\r\nContent-Disposition: form-data; name="f"; filename="a.png"\r\n'
    for kind, body, status, detail in (
        ("multipart/form-data", b"x", 400, UNREAD + "it states no boundary"),
        ("multipart/form-data; boundary=b", start + b"\r\nabc", 400, UNREAD + "it ends too early"),
        ("multipart/form-data; boundary=b", b"", 400, UNREAD + "it ends too early"),
        (
            "multipart/form-data; boundary=b",
            b"x" * 99,
            400,
            UNREAD + "it does not follow RFC 7578",
        ),
        (
            f"multipart/form-data; boundary={'b' * 999}",
            b"x",
            400,
            UNREAD + "its boundary is too long",
        ),
        (
            "multipart/form-data; boundary=b",
            b'--b\r\nContent-Disposition: form-data; name="f"\r\n\r\nabc\r\n--b--\r\n',
            400,
            "the form has no file; curl sends one with -F file=@image.png",
        ),
        (
            "multipart/form-data; boundary=b",
            start + b"X: " + b"y" * 9000 + b"\r\n\r\nabc\r\n--b--\r\n",
            400,
            None,
        ),
        (
            "multipart/form-data; boundary=b",
            (start + b"\r\nabc\r\n") * 65 + b"--b--\r\n",
            413,
            "over 64 files; send the others in another request",
        ),
        (
            "multipart/form-data; boundary=b",
            b'--b\r\nContent-Disposition: form-data; name="f"\r\n\r\nabc\r\n' * 257 + b"--b--\r\n",
            413,
            "the form has over 256 parts",
        ),
    ):
        answer = running.ask("/v1/classify", body, Content_Type=kind)
        assert answer.status == status, (kind, answer)
        assert detail in (None, answer.detail)


def test_fields_and_what_follows_the_form_are_passed_over(serve: Serve, grey_file: GreyFile) -> None:
    data = grey_file("a.png", 192).read_bytes()
    body = (
        b'--b\r\nContent-Disposition: form-data; name="note"\r\n\r\nabc\r\n'
        b'--b\r\nContent-Disposition: form-data; name="none"; filename=""\r\n\r\n\r\n'
        b'--b\r\ncontent-disposition: form-data; filename="\xc3\xa9 \\"1\\".png"; name="f"\r\n'
        b"Content-Type: image/png\r\n\r\n" + data + b"\r\n--b--\r\nepilogue"
    )
    (record,) = serve().ask("/v1/classify", body, Content_Type="multipart/form-data; boundary=b").json
    assert (record["path"], record["decision"]) == ('\u00e9 "1".png', "fractured")


@pytest.mark.parametrize(
    ("pieces", "reason"),
    [
        ([b"GET /healthz HTTP/1.1\r\n", b"Host: localhost\r\n"], "slow header"),
        ([b"GET /healthz HTTP/1.1\r\n", *[b"A: b\r\n"] * 9], "slow header"),
        ([HEAD % b"Content-Length: 99"], "slow body"),
        ([HEAD % b"Content-Length: 99", *[b"x"] * 9], "slow body"),
    ],
)
def test_slow_requests_are_cut_off(pieces: list[bytes], reason: str, serve: Serve) -> None:
    running = serve(timeout=TIMEOUT)
    # A piece comes well within the time that one may take, but nine of them do not.
    answer = _raw(running, *pieces, pause=0.4)
    # Who goes on sending may miss the answer: the connection is reset.
    if len(pieces) < 9:
        assert answer.startswith(b"HTTP/1.1 408 Request Timeout\r\n")
        assert answer.endswith(b"\r\n\r\nthe request came too slowly\n")
    text = running.ask("/metrics").text
    assert f'fracture_edge_connections_cut_off_total{{reason="{reason}"}} 1' in text
    assert "fracture_edge_held_bytes 0" in text


def test_silent_connections_are_closed(serve: Serve) -> None:
    assert _raw(serve(timeout=TIMEOUT)) == b""


def test_a_client_that_does_not_read_is_cut_off(serve: Serve) -> None:
    running = serve(page="x" * 30_000_000, timeout=TIMEOUT)
    with socket.create_connection(("127.0.0.1", running.port)) as client:
        client.sendall(b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n")
        _wait(lambda: '{reason="does not read"} 1' in running.ask("/metrics").text)


def test_the_oldest_waiting_connection_makes_room(serve: Serve, grey_file: GreyFile) -> None:
    running = serve(max_connections=5)
    silent = [socket.create_connection(("127.0.0.1", running.port), timeout=CERTAINLY) for _ in range(5)]
    assert running.ask("/v1/classify", grey_file("a.png", 192).read_bytes()).status == 200
    # The first one was closed, the last one was not.
    assert silent[0].recv(1) == b""
    silent[-1].sendall(b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n")
    assert silent[-1].recv(12) == b"HTTP/1.1 200"
    for client in silent:
        client.close()


def test_the_end_finishes_what_was_taken(serve: Serve, blocked: Blocked, grey_file: GreyFile) -> None:
    running, data = serve(workers=1, queue=3), grey_file("a.png", 192).read_bytes()
    threads, results = _in_threads(3, lambda: running.ask("/v1/classify", data))
    _wait(lambda: "fracture_edge_requests_active 3" in running.ask("/metrics").text)
    running.server.should_exit = True
    _wait(lambda: not _is_open(running.port))
    blocked.release()
    for thread in threads:
        thread.join()
    assert [result.status for result in results] == [200, 200, 200]
    running.stop()
    assert running.notes == []


def _is_open(port: int) -> bool:
    try:
        socket.create_connection(("127.0.0.1", port), timeout=1).close()
    except OSError:
        return False
    return True


def test_a_defect_is_a_500_that_quotes_nothing(
    serve: Serve, grey_file: GreyFile, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: Any) -> None:
        raise ValueError("Doe^Jane")

    monkeypatch.setattr(FractureClassifier, "predict_frames", fail)
    running, data = serve(), grey_file("a.png", 192).read_bytes()
    answer = running.ask("/v1/classify", data)
    assert (answer.status, answer.detail) == (500, "this is a defect of fracture-edge (ValueError)")
    # It is told after the answer.
    _wait(lambda: bool(running.notes))
    (note,) = running.notes
    assert note.startswith("a request failed: ValueError in fail, line ")
    assert "Doe" not in answer.text + note
    # The worker goes on.
    monkeypatch.undo()
    assert running.ask("/v1/classify", data).status == 200
