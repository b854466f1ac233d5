"""Options of the server, checked before anything is opened."""

import ipaddress
import re
import socket
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

from fracture_edge.errors import FractureEdgeError
from fracture_edge.images.limits import MAX_PIXELS, max_bytes
from fracture_edge.machine import memory_gb
from fracture_edge.pacs.gateway.options import TlsFiles

PORT = 8765
#: Variable with the token.
TOKEN_VARIABLE = "FRACTURE_EDGE_TOKEN"  # noqa: S105
#: Minimum length of a token: 16 random letters and digits have 95 bits.
LEAST_TOKEN = 16
#: Requests that wait for each worker, by default.
QUEUE_PER_WORKER = 8
#: Maximum number of files in one request, and of pictures of one request that get a heat map.
MAX_FILES, MAX_HEATMAPS = 64, 32
MAX_CONNECTIONS = 512
TIMEOUT_SECONDS = 10.0
#: Default of the memory for received images, as a share of the physical memory, and its maximum in bytes.
_HELD_SHARE, _MOST_HELD = 0.25, 1_000_000_000
#: Visible ASCII, which a header can carry (RFC 9110, section 5.5).
_TOKEN = re.compile(r"[!-~]+")
_ORIGIN = re.compile(r"https?://[a-z0-9.\-\[\]:]+", re.IGNORECASE)


@dataclass(frozen=True, slots=True, kw_only=True)
class ServeOptions:
    """Options of the server.

    Attributes:
        host: Address to listen on.
        port: TCP port to listen on; any free one if 0.
        token: Secret that requests must carry; ``None`` if they need none.
        host_names: Names that requests may call the server by, beside ``localhost``, `host` and IP addresses.
        origins: Web origins whose pages may read the answers (CORS).
        tls: Certificate and key; unencrypted without a certificate.
        workers: Number of images that are classified at a time.
        queue: Number of requests that may wait for a worker.
        max_body_bytes: Maximum size of a request's body in bytes.
        max_held_bytes: Maximum size in bytes of all bodies that are in memory.
        max_pixels: Maximum number of pixels that the classifier reads.
        max_connections: Maximum number of open connections.
        timeout: Seconds after which a client that sends or reads nothing is cut off.
    """

    host: str = "127.0.0.1"
    port: int = PORT
    token: str | None = field(default=None, repr=False)
    host_names: tuple[str, ...] = ()
    origins: tuple[str, ...] = ()
    tls: TlsFiles = field(default_factory=TlsFiles)
    workers: int
    queue: int
    max_body_bytes: int = max_bytes(MAX_PIXELS)
    max_held_bytes: int
    max_pixels: int = MAX_PIXELS
    max_connections: int = MAX_CONNECTIONS
    timeout: float = TIMEOUT_SECONDS

    def __post_init__(self) -> None:
        for origin in self.origins:
            if not _ORIGIN.fullmatch(origin):
                raise FractureEdgeError(
                    f"--cors {origin}: must be a scheme and a host, for example https://app.example.org"
                )
        if self.token is not None and not (_TOKEN.fullmatch(self.token) and len(self.token) >= LEAST_TOKEN):
            # Not the token itself: messages end up in logs.
            raise FractureEdgeError(
                f"the token must have {LEAST_TOKEN} or more letters, digits or signs, without spaces; make one "
                "with `openssl rand -hex 16`"
            )
        if self.max_held_bytes < self.max_body_bytes:
            raise FractureEdgeError(
                f"--max-memory {self.max_held_bytes // 1_000_000} is less than --max-size "
                f"{self.max_body_bytes // 1_000_000}: no image of that size could be received"
            )


class Address(NamedTuple):
    """Address of the server, resolved.

    Attributes:
        family: Address family.
        place: Address for `socket.bind`.
    """

    family: socket.AddressFamily
    place: tuple[str, int]

    @property
    def is_loopback(self) -> bool:
        """Whether only this machine can connect to it."""
        return ipaddress.ip_address(self.place[0]).is_loopback


def resolve(options: ServeOptions) -> Address:
    """Resolve the address to listen on.

    Raises:
        FractureEdgeError: The host has no address, or others can reach it and there is no token.
    """
    try:
        found = socket.getaddrinfo(
            options.host or None, options.port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )
    except (OSError, UnicodeError) as error:
        reason = getattr(error, "strerror", None) or error
        raise FractureEdgeError(f"--host {options.host}: no address of this machine ({reason})") from None
    family, _, _, _, place = found[0]
    address = Address(family, (str(place[0]), int(place[1])))
    if not address.is_loopback and options.token is None:
        raise FractureEdgeError(
            f"--host {options.host}: other computers could connect; that needs a token that requests must carry. "
            f"Put one into a file or a variable, for example {TOKEN_VARIABLE}=$(openssl rand -hex 16), and see "
            "--token-file"
        )
    return address


def read_token(text: str | None, file: Path | None) -> str | None:
    """Return the token from the option, the file or the variable, whichever is given.

    Args:
        text: Token from the command line or from the variable `TOKEN_VARIABLE`.
        file: Path of a file that holds the token, which goes before the variable.

    Raises:
        FractureEdgeError: The file cannot be read.
    """
    if file is None:
        return text or None
    try:
        return file.read_text(encoding="utf-8").strip()
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or "not text"
        raise FractureEdgeError(f"{file}: the token could not be read ({reason})") from None


def default_held_bytes() -> int:
    """Return a quarter of the memory, at most 1 GB, but room for one image of the largest size."""
    memory = memory_gb()
    share = _MOST_HELD if memory is None else int(memory * 2**30 * _HELD_SHARE)
    return max(min(share, _MOST_HELD), max_bytes(MAX_PIXELS))
