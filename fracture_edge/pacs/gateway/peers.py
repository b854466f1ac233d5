"""Addresses of DICOM peers as the command line gives them: targets of results, and senders that are allowed."""

import ipaddress
import re
from dataclasses import dataclass
from typing import Self
from urllib.parse import quote, unquote

from fracture_edge.errors import FractureEdgeError

#: AE titles: up to 16 characters of ASCII without backslash and control characters (PS3.5, section 6.2).
_LONGEST_AE_TITLE = 16
_TARGET = re.compile(r"(?P<tls>tls:)?(?P<aet>[^@]*)@(?:\[(?P<v6>[^]]+)\]|(?P<host>[^:@]+)):(?P<port>\d+)")
_TLS = "tls:"


def check_ae_title(text: str) -> str:
    """Return an AE title without the spaces around it.

    Raises:
        FractureEdgeError: It is empty, too long, or contains other characters than DICOM allows.
    """
    title = text.strip(" ")
    if not 1 <= len(title) <= _LONGEST_AE_TITLE or not (title.isascii() and title.isprintable()) or "\\" in title:
        raise FractureEdgeError(
            f"AE title {text!r}: must have 1 to {_LONGEST_AE_TITLE} characters of ASCII, without backslash"
        )
    return title


@dataclass(frozen=True, slots=True, order=True)
class Target:
    """Archive that results are sent to.

    Attributes:
        ae_title: Its AE title.
        host: Host name or address.
        port: TCP port, 1 to 65535.
        tls: Whether the connection is encrypted.
    """

    ae_title: str
    host: str
    port: int
    tls: bool = False

    @classmethod
    def parse(cls, text: str) -> Self:
        """Parse ``AET@HOST:PORT`` or ``tls:AET@HOST:PORT``; an IPv6 address is put in brackets.

        Raises:
            FractureEdgeError: The text is none of them.
        """
        found = _TARGET.fullmatch(text.strip())
        port = int(found["port"]) if found else 0
        if found is None or not 1 <= port <= 65535:
            raise FractureEdgeError(
                f"target {text!r}: must be AET@HOST:PORT, for example ORTHANC@192.168.1.5:4242"
            )
        return cls(check_ae_title(found["aet"]), found["v6"] or found["host"], port, found["tls"] is not None)

    def __str__(self) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{_TLS if self.tls else ''}{self.ae_title}@{host}:{self.port}"

    @property
    def folder(self) -> str:
        """Name of the folder of its results in the spool, from which `from_folder` makes the target again."""
        return quote(str(self), safe="")

    @classmethod
    def from_folder(cls, name: str) -> Self:
        """Return the target whose results a folder of the spool holds.

        Raises:
            FractureEdgeError: The name is not one that `folder` makes.
        """
        return cls.parse(unquote(name))


@dataclass(frozen=True, slots=True)
class AllowedPeer:
    """Peer that may send images.

    Attributes:
        ae_title: Its AE title; any if ``*``.
        network: Addresses that it may connect from; any if ``None``.
    """

    ae_title: str
    network: ipaddress.IPv4Network | ipaddress.IPv6Network | None = None

    @classmethod
    def parse(cls, text: str) -> Self:
        """Parse ``AET``, ``AET@ADDRESS`` or ``*@ADDRESS``, where ADDRESS is an IP address or a network.

        Raises:
            FractureEdgeError: The text is none of them.
        """
        title, at, address = text.strip().partition("@")
        network = None
        if at:
            try:
                network = ipaddress.ip_network(address, strict=False)
            except ValueError:
                raise FractureEdgeError(
                    f"peer {text!r}: {address!r} must be an IP address or a network, for example 192.168.1.0/24"
                ) from None
        return cls(title if title == "*" else check_ae_title(title), network)

    def admits(self, ae_title: str, address: str) -> bool:
        """Return whether a peer with this calling AE title and IP address is the one."""
        return self.ae_title in ("*", ae_title.strip(" ")) and self.admits_address(address)

    def admits_address(self, address: str) -> bool:
        """Return whether the peer may connect from an IP address."""
        return self.network is None or _ip(address) in self.network


def _ip(address: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address:
    found = ipaddress.ip_address(address)
    # A socket for both versions reports IPv4 peers in this form.
    mapped = found.ipv4_mapped if isinstance(found, ipaddress.IPv6Address) else None
    return mapped or found
