"""Network of a study: a namespace of its own, which needs Linux and root, and free ports."""

import os
import socket
import subprocess
import sys
import time
from collections.abc import Sequence
from typing import Any

import typer

from fracture_edge.errors import FractureEdgeError

#: Seconds that a process has until it listens.
_SECONDS = 90.0
#: Variable that is set in the namespace.
_INSIDE = "FRACTURE_EDGE_NAMESPACE"
#: Script that brings up the loopback of a new namespace (ioctl SIOCSIFFLAGS, linux/sockios.h), which has no `ip`.
_LOOPBACK_UP = (
    "import fcntl, os, socket, struct, sys; "
    "fcntl.ioctl(socket.socket(), 0x8914, struct.pack('16sh14x', b'lo', 0x41)); "
    "os.execv(sys.executable, [sys.executable, *sys.argv[1:]])"
)


def in_namespace(arguments: Sequence[str], **options: Any) -> "subprocess.CompletedProcess[bytes]":
    """Run Python in a network namespace of its own, whose only address is the loopback."""
    environment = {**os.environ, _INSIDE: "1", "PYTHONPATH": os.pathsep.join(sys.path)}
    command = ["unshare", "--net", sys.executable, "-c", _LOOPBACK_UP, *arguments]
    return subprocess.run(command, env=environment, check=False, **options)  # noqa: S603


def is_inside() -> bool:
    """Return whether this process runs in such a namespace."""
    return _INSIDE in os.environ


def enter_namespace() -> None:
    """Run the study of this command line in a namespace and end with its status, unless this process is in one."""
    if not is_inside():
        raise typer.Exit(in_namespace(["-m", "benchmarks.studies", *sys.argv[1:]]).returncode)


def free_port() -> int:
    """Return a TCP port that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def wait_for_port(port: int, process: "subprocess.Popen[bytes]") -> None:
    """Wait until a process listens on a port.

    Raises:
        FractureEdgeError: The process has ended, or does not listen in time.
    """
    end = time.monotonic() + _SECONDS
    while time.monotonic() < end and process.poll() is None:
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                return
        time.sleep(0.05)
    raise FractureEdgeError(f"no process listens on port {port}: exit status {process.poll()}")
