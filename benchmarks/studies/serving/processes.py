"""Server process of the study, and requests to it."""

import http.client
import os
import signal
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from benchmarks.studies.network import free_port, wait_for_port

BOUNDARY = "boundary-of-the-study"
OCTETS = "application/octet-stream"


class ServerProcess:
    """Server in a process of its own, on a loopback port.

    Attributes:
        port: Port that it listens on.
        log: File with its messages.
        process: The process.
    """

    def __init__(self, folder: Path, *options: object) -> None:
        """Start it, and wait until it listens."""
        self.port, self.log = free_port(), folder / "serve.log"
        command = [sys.executable, "-m", "fracture_edge", "serve", "--port", str(self.port), *map(str, options)]
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(command, stdout=log, stderr=log)  # noqa: S603
        wait_for_port(self.port, self.process)

    def stop(self) -> int:
        """End it by SIGTERM, and return its exit status."""
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(timeout=120)

    def memory_mb(self) -> float:
        """Return its resident memory, in MB (10^6 bytes)."""
        return self._status("VmRSS") * 1024 / 1e6

    def peak_memory_mb(self) -> float:
        """Return the highest resident memory so far, in MB."""
        return self._status("VmHWM") * 1024 / 1e6

    def threads(self) -> int:
        """Return its number of threads."""
        return self._status("Threads")

    def open_files(self) -> int:
        """Return its number of open files, connections among them."""
        return len(os.listdir(f"/proc/{self.process.pid}/fd"))  # noqa: PTH208

    def ask(self, path: str, body: bytes | None = None, kind: str = OCTETS) -> tuple[int, bytes]:
        """Send a request over a connection of its own; return status and body of the answer."""
        return ask(self.port, path, body, kind)

    def _status(self, name: str) -> int:
        for line in Path(f"/proc/{self.process.pid}/status").read_text().splitlines():
            if line.startswith(f"{name}:"):
                return int(line.split()[1])
        raise KeyError(name)


@contextmanager
def running(folder: Path, *options: object) -> Iterator[ServerProcess]:
    """Run a server; it is killed at the end of the block unless it has been stopped."""
    server = ServerProcess(folder, *options)
    try:
        yield server
    finally:
        if server.process.poll() is None:
            server.process.kill()
            server.process.wait()


def ask(
    port: int, path: str, body: bytes | None = None, kind: str = OCTETS, *, token: str = ""
) -> tuple[int, bytes]:
    """Send a request over a connection of its own; return status and body of the answer."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=120)
    try:
        return ask_over(connection, path, body, kind, token=token)
    finally:
        connection.close()


def ask_over(
    connection: http.client.HTTPConnection, path: str, body: bytes | None, kind: str = OCTETS, *, token: str = ""
) -> tuple[int, bytes]:
    """Send a request over a connection that stays open; return status and body of the answer."""
    headers = {"Content-Type": kind} | ({"Authorization": f"Bearer {token}"} if token else {})
    connection.request("GET" if body is None else "POST", path, body, headers)
    response = connection.getresponse()
    return response.status, response.read()


def form(files: Sequence[tuple[str, bytes]]) -> tuple[str, bytes]:
    """Encode a form with files; return its media type and its content."""
    body = b"".join(
        f'--{BOUNDARY}\r\nContent-Disposition: form-data; name="file"; filename="{name}"\r\n\r\n'.encode()
        + content
        + b"\r\n"
        for name, content in files
    )
    return f"multipart/form-data; boundary={BOUNDARY}", body + f"--{BOUNDARY}--\r\n".encode()
