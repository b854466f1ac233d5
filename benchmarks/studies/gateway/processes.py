"""Processes of the study: the gateway, Orthanc, the tools of dcmtk."""

import json
import os
import shutil
import signal
import subprocess
import sys
import urllib.request
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from benchmarks.studies.network import free_port, wait_for_port
from fracture_edge.errors import FractureEdgeError
from fracture_edge.pacs.gateway.options import TlsFiles


def missing_programs() -> list[str]:
    """Return the programs that the study needs and that are not installed."""
    missing = [name for name in ("storescu", "findscu", "storescp", "dciodvfy", "openssl") if dcmtk(name) is None]
    if orthanc_program() is None:
        missing.append("orthanc")
    tried = subprocess.run(["unshare", "--net", "true"], capture_output=True, check=False)  # noqa: S607
    return missing if tried.returncode == 0 else [*missing, "unshare --net (needs root)"]


def dcmtk(name: str) -> str | None:
    """Return the path of a program of the system; pynetdicom installs some of the same names beside Python."""
    own = Path(sys.executable).parent
    folders = [part for part in os.environ.get("PATH", os.defpath).split(os.pathsep) if Path(part) != own]
    return shutil.which(name, path=os.pathsep.join([*folders, "/usr/bin"]))


def orthanc_program() -> str | None:
    """Return the path of Orthanc."""
    return shutil.which("Orthanc", path=os.pathsep.join([os.environ.get("PATH", os.defpath), "/usr/sbin"]))


class GatewayProcess:
    """Gateway in a process of its own; its messages are appended to one file.

    Attributes:
        port: Port that it listens on.
        log: File with its messages.
        spool: Spool folder.
    """

    def __init__(self, folder: Path, port: int, targets: Sequence[str], *options: object) -> None:
        """Prepare the command; `start` starts the process."""
        self.port, self.log, self.spool = port, folder / "gateway.log", folder / "spool"
        self._command = [
            *(sys.executable, "-m", "fracture_edge", "gateway", "--spool", str(self.spool)),
            *("--host", "127.0.0.1", "--port", str(self.port)),
            *(word for target in targets for word in ("--to", target)),
            *map(str, options),
        ]
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def process(self) -> "subprocess.Popen[bytes]":
        """Process that runs, or has run last."""
        if self._process is None:
            raise FractureEdgeError("the gateway has not been started")
        return self._process

    def start(self, *, wait: bool = True) -> None:
        """Start the process, and wait until it listens."""
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(self._command, stdout=log, stderr=log)  # noqa: S603
        if wait:
            wait_for_port(self.port, self._process)

    def kill(self) -> None:
        """End the process as a power cut does."""
        self.process.send_signal(signal.SIGKILL)
        self.process.wait()

    def stop(self) -> int:
        """End the process by SIGTERM, and return its exit status."""
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(timeout=600)

    def status(self) -> dict[str, Any]:
        """Return the content of its status file."""
        found: dict[str, Any] = json.loads((self.spool / "status.json").read_text())
        return found

    def memory_mb(self) -> float:
        """Return its resident memory, in MB (10^6 bytes)."""
        pages = int(Path(f"/proc/{self.process.pid}/statm").read_text().split()[1])
        return pages * os.sysconf("SC_PAGE_SIZE") / 1e6

    def cpu_seconds(self) -> float:
        """Return the processor time that it has taken, of all its threads (proc(5), /proc/pid/stat)."""
        # The name of the program, in parentheses, may contain spaces.
        words = Path(f"/proc/{self.process.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(words[11]) + int(words[12])) / os.sysconf("SC_CLK_TCK")


class Orthanc:
    """Orthanc, the archive that results are sent to.

    Attributes:
        port: Its DICOM port.
    """

    def __init__(self, folder: Path, gateway_port: int, certificate: TlsFiles | None = None) -> None:
        """Write its configuration; `start` starts it.

        Args:
            folder: Folder for its files.
            gateway_port: Port that the gateway will listen on.
            certificate: Certificate for encrypted DICOM connections; they are not encrypted if ``None``.
        """
        self.port, self._http = free_port(), free_port()
        self._folder = folder
        self._process: subprocess.Popen[bytes] | None = None
        folder.mkdir(parents=True, exist_ok=True)
        settings = {
            "Name": "study",
            "StorageDirectory": str(folder / "storage"),
            "IndexDirectory": str(folder / "storage"),
            "DicomAet": "ORTHANC",
            "DicomPort": self.port,
            "HttpPort": self._http,
            "AuthenticationEnabled": False,
            "RemoteAccessAllowed": False,
            "DicomAlwaysAllowFind": True,
            "DicomModalities": {
                "gateway": {
                    **{"AET": "FRACTURE", "Host": "127.0.0.1", "Port": gateway_port},
                    "UseDicomTls": certificate is not None,
                }
            },
            "Plugins": [],
        }
        if certificate is not None:
            settings |= {
                "DicomTlsEnabled": True,
                "DicomTlsRemoteCertificateRequired": True,
                "DicomTlsCertificate": str(certificate.certificate),
                "DicomTlsPrivateKey": str(certificate.key),
                "DicomTlsTrustedCertificates": str(certificate.authorities),
            }
        self._encrypted = certificate is not None
        (folder / "orthanc.json").write_text(json.dumps(settings))

    @property
    def log(self) -> Path:
        """File with its messages."""
        return self._folder / "orthanc.log"

    @property
    def target(self) -> str:
        """Target that the gateway sends to."""
        return f"{'tls:' if self._encrypted else ''}ORTHANC@127.0.0.1:{self.port}"

    def start(self) -> None:
        """Start it, and wait until it listens."""
        with self.log.open("ab") as log:
            command = [orthanc_program() or "Orthanc", str(self._folder / "orthanc.json")]
            self._process = subprocess.Popen(command, stdout=log, stderr=log)  # noqa: S603
        wait_for_port(self.port, self._process)
        wait_for_port(self._http, self._process)

    def stop(self) -> None:
        """End it; what it has stored stays."""
        if self._process is not None:
            self._process.terminate()
            self._process.wait(timeout=60)

    def get(self, path: str) -> bytes:
        """Return the answer to a GET request."""
        with urllib.request.urlopen(f"http://127.0.0.1:{self._http}{path}", timeout=60) as answer:
            data: bytes = answer.read()
            return data

    def post(self, path: str, body: str) -> bytes:
        """Return the answer to a POST request."""
        request = urllib.request.Request(f"http://127.0.0.1:{self._http}{path}", data=body.encode(), method="POST")
        with urllib.request.urlopen(request, timeout=60) as answer:  # noqa: S310
            data: bytes = answer.read()
            return data

    def instances(self) -> list[str]:
        """Return its identifiers of all instances that it holds."""
        found: list[str] = json.loads(self.get("/instances"))
        return found
