"""Certificates of a study: an authority, and what it has signed, made by openssl."""

import shutil
import subprocess
from pathlib import Path

from fracture_edge.pacs.gateway.options import TlsFiles

_DAYS = 2


def gateway_options(files: TlsFiles) -> tuple[object, ...]:
    """Return the options of a gateway that has these files."""
    return "--tls-cert", files.certificate, "--tls-key", files.key, "--tls-ca", files.authorities


def dcmtk_options(files: TlsFiles | None) -> tuple[str, ...]:
    """Return the options of a program of dcmtk that has these files; none for an unencrypted connection."""
    return () if files is None else ("+tls", str(files.key), str(files.certificate), "+cf", str(files.authorities))


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

    def issue(self, name: str) -> TlsFiles:
        """Issue a certificate with a key for a peer, who trusts this authority."""
        path, key, request = (self._folder / f"{name}{end}.pem" for end in ("", "-key", "-request"))
        self._run(
            *("req", "-newkey", "rsa:2048", "-nodes", "-subj", f"/CN={name}", "-keyout", key, "-out", request)
        )
        self._run(
            *("x509", "-req", "-days", _DAYS, "-in", request, "-CA", self.certificate, "-CAkey", self._key),
            *("-CAcreateserial", "-out", path),
        )
        return TlsFiles(certificate=path, key=key, authorities=self.certificate)

    @staticmethod
    def _run(*words: object) -> None:
        openssl = shutil.which("openssl") or "openssl"
        subprocess.run([openssl, *map(str, words)], check=True, capture_output=True)  # noqa: S603
