"""Certificates of a study: an authority, and what it has signed, made by openssl."""

import shutil
import subprocess
from pathlib import Path
from typing import NamedTuple

_DAYS = 2


class Certificate(NamedTuple):
    """Certificate of a peer.

    Attributes:
        path: Path of the certificate, PEM.
        key: Path of its private key.
        authority: Path of the certificate of the authority that has signed it.
    """

    path: Path
    key: Path
    authority: Path

    @property
    def of_gateway(self) -> tuple[object, ...]:
        """Options of the gateway."""
        return "--tls-cert", self.path, "--tls-key", self.key, "--tls-ca", self.authority

    @property
    def of_dcmtk(self) -> tuple[str, ...]:
        """Options of the programs of dcmtk."""
        return "+tls", str(self.key), str(self.path), "+cf", str(self.authority)


class Authority:
    """Authority that signs certificates.

    Attributes:
        certificate: Path of its own certificate.
    """

    def __init__(self, folder: Path) -> None:
        """Make its key and certificate.

        Args:
            folder: Folder for all files; created. Its name is that of the authority.
        """
        folder.mkdir(parents=True)
        self._folder = folder
        self.certificate, self._key = folder / "authority.pem", folder / "authority-key.pem"
        self._run(
            *("req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", _DAYS, "-subj", f"/CN={folder.name}"),
            *("-keyout", self._key, "-out", self.certificate),
        )

    def issue(self, name: str) -> Certificate:
        """Issue a certificate with a key for a peer."""
        path, key, request = (self._folder / f"{name}{end}.pem" for end in ("", "-key", "-request"))
        self._run(
            *("req", "-newkey", "rsa:2048", "-nodes", "-subj", f"/CN={name}", "-keyout", key, "-out", request)
        )
        self._run(
            *("x509", "-req", "-days", _DAYS, "-in", request, "-CA", self.certificate, "-CAkey", self._key),
            *("-CAcreateserial", "-out", path),
        )
        return Certificate(path, key, self.certificate)

    @staticmethod
    def _run(*words: object) -> None:
        openssl = shutil.which("openssl") or "openssl"
        subprocess.run([openssl, *map(str, words)], check=True, capture_output=True)  # noqa: S603
