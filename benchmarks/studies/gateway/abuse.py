"""Senders that say nothing, call by a wrong title, or send broken messages; then a normal one."""

import contextlib
import socket
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import repeat
from pathlib import Path
from random import Random

from benchmarks.records.environment import Environment
from benchmarks.studies.fuzzing.mutants import MUTATIONS
from benchmarks.studies.gateway.images import SentImage, write_images
from benchmarks.studies.gateway.kills import send
from benchmarks.studies.gateway.processes import GatewayProcess, dcmtk
from benchmarks.studies.network import free_port, wait_for_port

_AT_A_TIME = 8
#: Maximum number of threads that the gateway starts to send results when it needs them, and keeps.
SENDING_THREADS = 4
_PDU_HEADER = 6
#: Seconds that a sender of broken messages waits for an answer before it goes away.
_PATIENCE = 0.3


@dataclass(frozen=True, slots=True)
class AbuseResult:
    """What the gateway did.

    Attributes:
        silent: Number of connections that were open and said nothing.
        after_silent: Seconds until the next normal sender had its image acknowledged, while they were open.
        wrong_titles: Number of associations with a wrong called AE title that were rejected.
        after_wrong_titles: Seconds of the next normal sender.
        mutated: Number of broken conversations.
        after_mutated: Seconds of the next normal sender.
        answered: Results of the normal senders' images that arrived, two each.
        memory_before_mb: Resident memory before, in MB (10^6 bytes).
        memory_after_mb: Resident memory after.
        threads_before: Number of threads before.
        threads_after: Number of threads after, when all connections are closed; up to `SENDING_THREADS` more.
        exit_status: Exit status after SIGTERM.
        seed: Seed of images and mutations.
        environment: Machine and package versions.
    """

    silent: int
    after_silent: float
    wrong_titles: int
    after_wrong_titles: float
    mutated: int
    after_mutated: float
    answered: int
    memory_before_mb: float
    memory_after_mb: float
    threads_before: int
    threads_after: int
    exit_status: int
    seed: int
    environment: Environment


def run_abuse(folder: Path, *, silent: int, wrong_titles: int, mutated: int, seed: int) -> AbuseResult:
    """Abuse a gateway, and time a normal sender after each kind of abuse.

    Args:
        folder: Folder for everything.
        silent: Number of connections that say nothing.
        wrong_titles: Number of associations with a wrong called AE title.
        mutated: Number of broken conversations: half with a broken request, half with broken data.
        seed: Seed of images and mutations.
    """
    random = Random(seed)  # noqa: S311
    images = write_images(folder / "images", 5, random, size=(256, 192), syntaxes=["1.2.840.10008.1.2.1"])
    with _target(folder) as (target, received):
        gateway = GatewayProcess(folder, free_port(), [target], "--min-free", 100)
        gateway.start()
        try:
            log = folder / "storescu.log"
            _time_of(images[0], gateway, log)
            conversation = _record(images[1], gateway, log)
            _wait(lambda: _threads(gateway) < 20)
            memory, threads = gateway.memory_mb(), _threads(gateway)
            with contextlib.ExitStack() as stack:
                for _ in range(silent):
                    stack.enter_context(socket.create_connection(("127.0.0.1", gateway.port)))
                after_silent = _time_of(images[2], gateway, log)
            rejected = _call_wrongly(gateway.port, wrong_titles)
            after_wrong = _time_of(images[3], gateway, log)
            _send_mutants(conversation, gateway.port, mutated, random)
            after_mutated = _time_of(images[4], gateway, log)
            # Each connection is cut off in seconds.
            _wait(lambda: _threads(gateway) <= threads + SENDING_THREADS)
            _wait(lambda: len(received()) >= 2 * len(images))
            return AbuseResult(
                silent=silent,
                after_silent=after_silent,
                wrong_titles=rejected,
                after_wrong_titles=after_wrong,
                mutated=mutated,
                after_mutated=after_mutated,
                answered=len(received()),
                memory_before_mb=memory,
                memory_after_mb=gateway.memory_mb(),
                threads_before=threads,
                threads_after=_threads(gateway),
                exit_status=gateway.stop(),
                seed=seed,
                environment=Environment.here(),
            )
        finally:
            if gateway.process.poll() is None:
                gateway.kill()


@contextmanager
def _target(folder: Path) -> Iterator[tuple[str, Callable[[], list[Path]]]]:
    """Run dcmtk's storescp as the archive; yield its address and a function that lists what it has received."""
    archive = folder / "archive"
    archive.mkdir()
    port = free_port()
    command = [dcmtk("storescp") or "storescp", "--output-directory", str(archive), "-aet", "PACS", str(port)]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)  # noqa: S603
    try:
        wait_for_port(port, process)
        yield f"PACS@127.0.0.1:{port}", lambda: list(archive.iterdir())
    finally:
        process.terminate()
        process.wait()


def _time_of(image: SentImage, gateway: GatewayProcess, log: Path) -> float:
    """Send an image until it is acknowledged, and return how many seconds that took."""
    started = time.perf_counter()
    while not send(image, gateway.port, log):
        time.sleep(0.2)
    return time.perf_counter() - started


def _threads(gateway: GatewayProcess) -> int:
    return len(list(Path(f"/proc/{gateway.process.pid}/task").iterdir()))


def _wait(condition: Callable[[], bool], seconds: float = 60.0) -> None:
    end = time.monotonic() + seconds
    while not condition() and time.monotonic() < end:
        time.sleep(0.2)


def _record(image: SentImage, gateway: GatewayProcess, log: Path) -> bytes:
    """Send an image through a relay, and return what the sender has said."""
    said = bytearray()
    with socket.create_server(("127.0.0.1", 0)) as relay:
        thread = threading.Thread(target=_relay, args=(relay, gateway.port, said))
        thread.start()
        if not send(image, relay.getsockname()[1], log):
            raise RuntimeError("the recorded image was not acknowledged")
        thread.join()
    return bytes(said)


def _relay(relay: socket.socket, port: int, said: bytearray) -> None:
    near, _ = relay.accept()
    with near, socket.create_connection(("127.0.0.1", port)) as far:

        def answer() -> None:
            while data := far.recv(65536):
                near.sendall(data)
            with contextlib.suppress(OSError):
                near.shutdown(socket.SHUT_WR)

        thread = threading.Thread(target=answer)
        thread.start()
        while data := near.recv(65536):
            said += data
            far.sendall(data)
        far.shutdown(socket.SHUT_WR)
        thread.join()


def _call_wrongly(port: int, number: int) -> int:
    """Ask for associations with a wrong called AE title, and return how many were rejected."""
    from pynetdicom import AE

    def call(index: int) -> bool:
        entity = AE("STRANGER")
        entity.add_requested_context("1.2.840.10008.1.1")
        association = entity.associate("127.0.0.1", port, ae_title=f"WRONG{index}")
        return bool(association.is_rejected)

    with ThreadPoolExecutor(_AT_A_TIME) as pool:
        return sum(pool.map(call, range(number)))


def _send_mutants(conversation: bytes, port: int, number: int, random: Random) -> None:
    """Repeat a recorded conversation with mutations: in the request first, in what follows in the second half."""
    border = _PDU_HEADER + int.from_bytes(conversation[2:6], "big")
    requests, rest = [], []
    for index in range(number):
        request, data = bytearray(conversation[:border]), bytearray(conversation[border:])
        mutate = random.choice(MUTATIONS)
        mutate(request if index < number // 2 else data, random)
        requests.append(bytes(request))
        rest.append(bytes(data))
    with ThreadPoolExecutor(_AT_A_TIME) as pool:
        list(pool.map(_converse, requests, rest, repeat(port)))


def _converse(request: bytes, data: bytes, port: int) -> None:
    # The gateway may close the connection at any time.
    with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=5) as sender:
        sender.sendall(request)
        sender.settimeout(_PATIENCE)
        sender.recv(65536)
        sender.settimeout(5)
        sender.sendall(data)
        sender.settimeout(_PATIENCE)
        while sender.recv(65536):
            pass
