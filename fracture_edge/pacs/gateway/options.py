"""Options of the gateway, checked before anything is opened."""

import ssl
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from fracture_edge.errors import FractureEdgeError
from fracture_edge.images.limits import MAX_PIXELS, max_bytes
from fracture_edge.pacs.gateway.peers import AllowedPeer, Target
from fracture_edge.pacs.gateway.rules import Rules

#: Port of DICOM for senders whose port is not stated otherwise (PS3.8, section 9.1.1).
DICOM_PORT = 104
#: Seconds after which a peer that says nothing is cut off.
TIMEOUT_SECONDS = 10.0
MAX_ASSOCIATIONS = 32
#: Bytes of one received image, as many as `classify` reads; and bytes that stay free on the disk.
MAX_IMAGE_BYTES, MIN_FREE_BYTES = max_bytes(MAX_PIXELS), 1_000_000_000
GIVE_UP_DAYS = 7.0


@dataclass(frozen=True, slots=True, kw_only=True)
class TlsFiles:
    """Files for encrypted connections, all PEM.

    Attributes:
        certificate: Certificate of the gateway, with intermediate ones; ``None`` to receive unencrypted.
        key: Private key of the certificate; in the file of the certificate if ``None``.
        authorities: Certificates that the peers' ones must be signed by. Then senders have to show one too.
    """

    certificate: Path | None = None
    key: Path | None = None
    authorities: Path | None = None

    def server_context(self) -> ssl.SSLContext | None:
        """Return the context of incoming connections; ``None`` if they are not encrypted.

        Raises:
            FractureEdgeError: A file cannot be used.
        """
        if self.certificate is None:
            if self.key is not None:
                raise FractureEdgeError("--tls-key needs --tls-cert, the certificate that the key belongs to")
            return None
        context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        self._load_certificate(context)
        if self.authorities is not None:
            self._load_authorities(context, self.authorities)
            context.verify_mode = ssl.CERT_REQUIRED
        return context

    def client_context(self) -> ssl.SSLContext | None:
        """Return the context of connections to targets; ``None`` if there are no authorities to check them by.

        A target is trusted if the authorities signed its certificate, whatever name it states: DICOM peers are
        addresses more often than names (PS3.15, annex B asks for no check of the name).

        Raises:
            FractureEdgeError: A file cannot be used.
        """
        if self.authorities is None:
            return None
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.check_hostname = False
        self._load_authorities(context, self.authorities)
        if self.certificate is not None:
            self._load_certificate(context)
        return context

    def _load_certificate(self, context: ssl.SSLContext) -> None:
        try:
            # An encrypted key would wait for a password on the terminal.
            context.load_cert_chain(self.certificate or "", self.key, password=_no_password)
        except (OSError, ValueError) as error:
            reason = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
            raise FractureEdgeError(
                f"{self.certificate}: no certificate with its key could be read ({reason}); give PEM files to "
                "--tls-cert and --tls-key"
            ) from None

    @staticmethod
    def _load_authorities(context: ssl.SSLContext, path: Path) -> None:
        try:
            context.load_verify_locations(path)
        except OSError as error:
            raise FractureEdgeError(
                f"{path}: no certificates could be read ({error.strerror or error}); give a PEM file to --tls-ca"
            ) from None


def _no_password() -> str:
    raise ValueError("the key is encrypted; decrypt it with `openssl pkey`")


@dataclass(frozen=True, slots=True, kw_only=True)
class GatewayOptions:
    """Options of the gateway.

    Attributes:
        ae_title: AE title of the gateway; senders have to call it by this.
        host: Address to listen on; all addresses if empty.
        port: TCP port to listen on; any free one if 0.
        targets: Archives that every result is sent to.
        return_to_sender: Whether results are also sent to the AE title and address that the image came from.
        return_port: TCP port of senders.
        spool: Folder for what was received and is to be sent.
        allowed: Peers that may send images; any if empty.
        rules: Which images are answered.
        tls: Files for encrypted connections.
        max_associations: Maximum number of senders at a time.
        max_image_bytes: Maximum size of one image in bytes.
        min_free_bytes: Free space of the disk, in bytes, below which images are refused.
        timeout: Seconds after which a peer that says nothing is cut off.
        keep_days: Days that answered images and sent results stay in the spool.
        give_up_days: Days after which a result that its target does not take becomes a dead letter.
        jobs: Number of images that are classified at a time; `runtimes.threads.default_jobs` if ``None``.
    """

    ae_title: str
    spool: Path
    host: str = ""
    port: int = 11112
    targets: Sequence[Target] = ()
    return_to_sender: bool = False
    return_port: int = DICOM_PORT
    allowed: Sequence[AllowedPeer] = ()
    rules: Rules = field(default_factory=Rules)
    tls: TlsFiles = field(default_factory=TlsFiles)
    max_associations: int = MAX_ASSOCIATIONS
    max_image_bytes: int = MAX_IMAGE_BYTES
    min_free_bytes: int = MIN_FREE_BYTES
    timeout: float = TIMEOUT_SECONDS
    keep_days: float = 0.0
    give_up_days: float = GIVE_UP_DAYS
    jobs: int | None = None

    def __post_init__(self) -> None:
        if not self.targets and not self.return_to_sender:
            raise FractureEdgeError("give --to AET@HOST:PORT or --return-to-sender, so that results go somewhere")
        if any(target.tls for target in self.targets) and self.tls.authorities is None:
            raise FractureEdgeError(
                "a target begins with tls: give --tls-ca, the authorities that its certificate is of"
            )
