"""Broken requests, slow clients and picture bombs, and how a normal client fares beside them."""

import contextlib
import io
import socket
import struct
import threading
import time
import zlib
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from random import Random

from benchmarks.records.environment import Environment
from benchmarks.studies.fuzzing.mutants import MUTATIONS, mutant
from benchmarks.studies.fuzzing.seeds import PATIENT
from benchmarks.studies.page.pictures import draw
from benchmarks.studies.serving.processes import ServerProcess, form, running
from fracture_edge.errors import FractureEdgeError

_AT_A_TIME = 8
#: Time limit of the server for slow clients: broken requests often announce more than they hold.
_TIMEOUT = 2
_NO_ANSWER = "none"
_BOMB_SIDE = 10_000
#: Times that a client tries again, a second after each 503.
_TRIES = 600


@dataclass(frozen=True, slots=True)
class Bombs:
    """Picture bombs at the same time.

    Attributes:
        number: Number of clients; each sends one, again when it gets 503, until it is answered.
        max_pixels: Limit of the server.
        statuses: Number of records by their status.
        refused: Number of answers 503.
        seconds: Seconds until all were answered.
        memory_before_mb: Resident memory of the server after one normal request, in MB (10^6 bytes).
        peak_memory_mb: Highest resident memory of the server.
        memory_after_mb: Resident memory two seconds after the last answer.
    """

    number: int
    max_pixels: int
    statuses: Mapping[str, int]
    refused: int
    seconds: float
    memory_before_mb: float
    peak_memory_mb: float
    memory_after_mb: float


@dataclass(frozen=True, slots=True)
class ServingAbuse:
    """What the server did.

    Attributes:
        mutated: Number of broken requests.
        answers: Number of their answers by HTTP status; ``none`` if the connection was closed without one.
        defects: Number of tracebacks and of messages about failed requests.
        messages: Number of lines that the server has written beside its first: libtiff prints what is wrong with
            TIFF files.
        secrets: Number of names of patients in answers and messages.
        slow: Number of slow connections, all open: a third each silent, with a slow header, with a slow body.
        after_slow: Seconds of each of the normal requests while they were open, each over a new connection.
        slow_left: Slow connections that were still open after twice the time limit.
        bombs: Picture bombs that are refused by their header, and ones that are decoded.
        threads_before: Number of threads after the first request.
        threads_after: Number of threads at the end.
        files_before: Number of open files, connections among them, after the first request.
        files_after: Number of open files at the end.
        exit_status: Exit status after SIGTERM.
        seed: Seed of requests and mutations.
        environment: Machine and package versions.
    """

    mutated: int
    answers: Mapping[str, int]
    defects: int
    messages: int
    secrets: int
    slow: int
    after_slow: tuple[float, ...]
    slow_left: int
    bombs: tuple[Bombs, ...]
    threads_before: int
    threads_after: int
    files_before: int
    files_after: int
    exit_status: int
    seed: int
    environment: Environment


def run_abuse(folder: Path, *, mutated: int, slow: int, bombs: int, seed: int) -> ServingAbuse:
    """Abuse servers.

    Args:
        folder: Folder for messages.
        mutated: Number of broken requests.
        slow: Number of slow connections.
        bombs: Number of picture bombs at the same time.
        seed: Seed of requests and mutations.
    """
    random = Random(seed)  # noqa: S311
    picture = draw("jpg-grey", seed, 400).data
    with running(folder, "--timeout", _TIMEOUT) as server:
        server.ask("/v1/classify", picture)
        threads, files = server.threads(), server.open_files()
        answers, secrets = _send_mutants(server, mutated, random)
        with _slow_connections(server, slow) as is_open:
            after_slow = tuple(_normal_request(server, picture) for _ in range(10))
            # Silence may last two looks of the server longer.
            time.sleep(2 * _TIMEOUT + 2)
            slow_left = is_open()
        time.sleep(1)
        threads_after, files_after = server.threads(), server.open_files()
        exit_status = server.stop()
        log = server.log.read_text()
    measured = tuple(_send_bombs(folder, bombs, picture, limit) for limit in (50_000_000, _BOMB_SIDE**2))
    return ServingAbuse(
        mutated=mutated,
        answers=dict(sorted(answers.items())),
        defects=log.count("Traceback") + log.count("a request failed"),
        messages=len(log.splitlines()) - 1,
        secrets=secrets + _secrets(log.encode()),
        slow=slow,
        after_slow=after_slow,
        slow_left=slow_left,
        bombs=measured,
        threads_before=threads,
        threads_after=threads_after,
        files_before=files,
        files_after=files_after,
        exit_status=exit_status,
        seed=seed,
        environment=Environment.here(),
    )


def _send_mutants(server: ServerProcess, number: int, random: Random) -> tuple[Counter[str], int]:
    """Send requests that are broken in header, form or image, a third each; return their answers by status."""
    requests = [_mutant(index, random) for index in range(number)]
    with ThreadPoolExecutor(_AT_A_TIME) as pool:
        texts = list(pool.map(lambda request: _converse(server.port, request), requests))
    answers = Counter(
        text[9:12].decode("latin-1") if text.startswith(b"HTTP/1.1 ") else _NO_ANSWER for text in texts
    )
    return answers, sum(map(_secrets, texts))


def _mutant(index: int, random: Random) -> bytes:
    _, image = mutant(random.randrange(10**9))
    kind, body = form([("a.png", image), ("b.dcm", image)]) if index % 2 else ("image/png", image)
    head = _head(kind, len(body), random)
    place = index % 3
    if place == 0:
        changed = bytearray(head)
        random.choice(MUTATIONS)(changed, random)
        head = bytes(changed)
    elif place == 1:
        # Around the images: boundary, headers of the parts.
        changed = bytearray(body[:200])
        random.choice(MUTATIONS)(changed, random)
        body = bytes(changed) + body[200:]
        head = _head(kind, len(body), random)
    return head + body


def _head(kind: str, length: int, random: Random) -> bytes:
    query = random.choice(("", "?policy=screening", "?heatmap=1", "?policy=certain&heatmap=1"))
    return (
        f"POST /v1/classify{query} HTTP/1.1\r\nHost: localhost\r\nContent-Type: {kind}\r\nAccept: */*\r\n"
        f"Connection: close\r\nContent-Length: {length}\r\n\r\n"
    ).encode()


def _converse(port: int, request: bytes) -> bytes:
    received = io.BytesIO()
    with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=60) as client:
        client.sendall(request)
        while piece := client.recv(1 << 16):
            received.write(piece)
    return received.getvalue()


def _secrets(text: bytes) -> int:
    return sum(text.count(word.encode()) for word in PATIENT.split("^"))


@contextmanager
def _slow_connections(server: ServerProcess, number: int) -> Iterator[Callable[[], int]]:
    """Hold slow connections, two thirds of which send a byte a second; yield a count of those still open."""
    head = b"POST /v1/classify HTTP/1.1\r\nHost: localhost\r\n"
    starts = (b"", head + b"A: ", head + b"Content-Length: 100000\r\n\r\n")
    clients = [socket.create_connection(("127.0.0.1", server.port), timeout=60) for _ in range(number)]
    for index, client in enumerate(clients):
        client.sendall(starts[index % 3])
        client.setblocking(False)
    stopped = threading.Event()

    def dribble() -> None:
        while not stopped.wait(1.0):
            for index, client in enumerate(clients):
                with contextlib.suppress(OSError):
                    client.send(b"x" if index % 3 else b"")

    def is_open() -> int:
        return sum(map(_is_open, clients))

    thread = threading.Thread(target=dribble)
    thread.start()
    try:
        yield is_open
    finally:
        stopped.set()
        thread.join()
        for client in clients:
            client.close()


def _is_open(client: socket.socket) -> bool:
    try:
        while client.recv(4096):
            pass
    except BlockingIOError:
        return True
    except OSError:
        return False
    return False


def _normal_request(server: ServerProcess, picture: bytes) -> float:
    started = time.perf_counter()
    status, _ = server.ask("/v1/classify", picture)
    if status != 200:
        raise FractureEdgeError(f"a normal request was answered with {status}")
    return time.perf_counter() - started


def bomb(side: int = _BOMB_SIDE) -> bytes:
    """Make a complete PNG file of side x side black pixels; of 100 megapixels in 0.1 MB."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    packer = zlib.compressobj(9)
    rows = b"".join([*(packer.compress(bytes(side + 1)) for _ in range(side)), packer.flush()])
    header = struct.pack(">IIBBBBB", side, side, 8, 0, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", rows) + chunk(b"IEND", b"")


def _send_bombs(folder: Path, number: int, picture: bytes, max_pixels: int) -> Bombs:
    """Send picture bombs to a new server, all at the same time."""
    data = bomb()
    refused = 0
    statuses: Counter[str] = Counter()
    lock = threading.Lock()
    with running(folder, "--max-pixels", max_pixels) as server:
        server.ask("/v1/classify", picture)
        before = server.memory_mb()

        def send(_: int) -> None:
            nonlocal refused
            for _ in range(_TRIES):
                status, text = server.ask("/v1/classify", data)
                with lock:
                    if status == 200:
                        statuses[text.partition(b'"status": "')[2].partition(b'"')[0].decode()] += 1
                        return
                    refused += 1
                time.sleep(1)
            raise FractureEdgeError(f"a client was refused {_TRIES} times")

        started = time.perf_counter()
        with ThreadPoolExecutor(number) as pool:
            list(pool.map(send, range(number)))
        seconds = time.perf_counter() - started
        peak = server.peak_memory_mb()
        time.sleep(2)
        after = server.memory_mb()
    return Bombs(number, max_pixels, dict(statuses), refused, seconds, before, peak, after)
