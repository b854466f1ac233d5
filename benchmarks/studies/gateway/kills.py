"""Senders that send while the gateway is killed at random moments and the archive is down for a while."""

import subprocess
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from random import Random

from benchmarks.records.environment import Environment
from benchmarks.studies.gateway.archived import examine, reports_found, tags
from benchmarks.studies.gateway.certificates import Authority, dcmtk_options, gateway_options
from benchmarks.studies.gateway.images import PROPOSALS, SentImage, write_images
from benchmarks.studies.gateway.processes import GatewayProcess, Orthanc, dcmtk
from benchmarks.studies.network import free_port, wait_for_port
from fracture_edge.errors import FractureEdgeError
from fracture_edge.pacs.gateway.options import TlsFiles

SENDERS = 4
#: Range of the seconds from a start of the gateway to its kill; it needs some of them to start.
_KILL_AFTER = (0.5, 9.0)
#: Seconds to wait for such a moment, and for the end.
_LONGEST_WAIT, _SECONDS = 20.0, 300.0


@dataclass(frozen=True, slots=True)
class KillResult:
    """What an archive holds after the kills.

    Attributes:
        images: Number of images that were sent and acknowledged.
        encrypted: Whether every connection was encrypted, with certificates on both sides.
        seed: Seed of images and moments.
        outage_seconds: Seconds during which the archive was down.
        kills: Number of kills.
        kills_at_work: Number of kills that found images or results in the spool.
        captures: Number of Secondary Captures in the archive.
        reports: Number of Structured Reports.
        other: Number of other objects.
        reports_found: Number of reports that findscu found.
        misfiled: Number of results that are not in the study of their source.
        wrong: Number of reports whose probability is not that of the command line.
        left_in_spool: Files that are left in the spool after the end, but for lock and status.
        came_back: Results that the archive sent to the gateway, which it recognised.
        secrets_in_messages: Number of names and IDs of patients that a message or a file name contains.
        exit_status: Exit status of the gateway after SIGTERM.
        environment: Machine and package versions.
    """

    images: int
    encrypted: bool
    seed: int
    outage_seconds: float
    kills: int
    kills_at_work: int
    captures: int
    reports: int
    other: int
    reports_found: int
    misfiled: int
    wrong: int
    left_in_spool: tuple[str, ...]
    came_back: int
    secrets_in_messages: int
    exit_status: int
    environment: Environment


def run_kills(
    folder: Path,
    *,
    images: int,
    kills: int,
    outage: float,
    seed: int,
    tls: bool = False,
    options: Sequence[object] = (),
) -> KillResult:
    """Send images from four processes, kill the gateway meanwhile, stop the archive for a while, and count.

    Args:
        folder: Folder for everything.
        images: Number of images.
        kills: Number of kills.
        outage: Seconds during which the archive is down.
        seed: Seed of images and moments.
        tls: Whether all connections are encrypted.
        options: Further options of the gateway.
    """
    random = Random(seed)  # noqa: S311
    sent = write_images(folder / "images", images, random)
    port = free_port()
    modality: TlsFiles | None = None
    archive = Orthanc(folder / "orthanc", port)
    if tls:
        authority = Authority(folder / "hospital")
        modality = authority.issue("modality")
        archive = Orthanc(folder / "orthanc", port, authority.issue("archive"))
        options = (*gateway_options(authority.issue("gateway")), *options)
    # The disks of test machines are small.
    gateway = GatewayProcess(folder, port, [archive.target], "--min-free", 100, *options)
    archive.start()
    try:
        gateway.start()
        # As long as the kills go on.
        pause = kills * sum(_KILL_AFTER) / 2 * SENDERS / images
        senders = _Senders(sent, port, folder, pause, random, modality)
        senders.start()
        at_work = _kill_repeatedly(gateway, kills, random)
        _outage(archive, outage)
        senders.join()
        _wait_until_sent(gateway)
        came_back = _send_back(archive, gateway)
        exit_status = gateway.stop()
        found = examine(folder, sent, archive, gateway)
        return KillResult(
            images=images,
            encrypted=tls,
            seed=seed,
            outage_seconds=outage,
            kills=kills,
            kills_at_work=at_work,
            captures=found.modalities["OT"],
            reports=found.modalities["SR"],
            other=found.modalities.total() - found.modalities["OT"] - found.modalities["SR"],
            reports_found=reports_found(archive, sent, modality),
            misfiled=found.misfiled,
            wrong=found.wrong,
            left_in_spool=found.left_in_spool,
            came_back=came_back,
            secrets_in_messages=found.secrets_in_messages,
            exit_status=exit_status,
            environment=Environment.here(),
        )
    finally:
        if gateway.process.poll() is None:
            gateway.kill()
        archive.stop()


class _Senders:
    """Four senders, each of which repeats an image until it is acknowledged, as modalities do."""

    def __init__(
        self,
        images: Sequence[SentImage],
        port: int,
        folder: Path,
        pause: float,
        random: Random,
        certificate: TlsFiles | None,
    ) -> None:
        self._port, self._log, self._certificate = port, folder / "storescu.log", certificate
        self._pause, self._random = pause, random
        shares = [images[first::SENDERS] for first in range(SENDERS)]
        self._threads = [threading.Thread(target=self._send, args=(share,)) for share in shares]

    def start(self) -> None:
        for thread in self._threads:
            thread.start()

    def join(self) -> None:
        for thread in self._threads:
            thread.join()

    def _send(self, images: Sequence[SentImage]) -> None:
        for image in images:
            time.sleep(self._random.uniform(0, 2 * self._pause))
            while not send(image, self._port, self._log, self._certificate):
                time.sleep(0.3)


def send(image: SentImage, port: int, log: Path, certificate: TlsFiles | None = None) -> bool:
    """Send an image by a process of storescu, encrypted if there is a certificate; return whether it was taken."""
    command = [dcmtk("storescu") or "storescu", *dcmtk_options(certificate)]
    command += [PROPOSALS[image.syntax], "-v", "-aec", "FRACTURE"]
    with log.open("ab") as stream:
        done = subprocess.run(  # noqa: S603
            [*command, "127.0.0.1", str(port), str(image.path)], stdout=stream, stderr=stream, check=False
        )
    return done.returncode == 0


def _kill_repeatedly(gateway: GatewayProcess, kills: int, random: Random) -> int:
    """Kill and restart the gateway, and return how many times it had work."""
    at_work = 0
    for number in range(kills):
        time.sleep(random.uniform(*_KILL_AFTER))
        end = time.monotonic() + _LONGEST_WAIT
        # Every other kill comes at a moment when there is something to lose.
        while number % 2 == 0 and not _has_work(gateway) and time.monotonic() < end:
            time.sleep(0.01)
        gateway.kill()
        at_work += _has_work(gateway)
        gateway.start(wait=False)
    wait_for_port(gateway.port, gateway.process)
    return at_work


def _has_work(gateway: GatewayProcess) -> bool:
    folders = (gateway.spool / name for name in ("in", "work", "out"))
    return any(path.is_file() for folder in folders for path in folder.rglob("*"))


def _outage(archive: Orthanc, seconds: float) -> None:
    if seconds:
        archive.stop()
        time.sleep(seconds)
        archive.start()


def _wait_until_sent(gateway: GatewayProcess) -> None:
    end = time.monotonic() + _SECONDS
    while _has_work(gateway):
        if time.monotonic() > end or gateway.process.poll() is not None:
            raise FractureEdgeError(f"the gateway does not come to an end; see {gateway.log}")
        time.sleep(0.2)


def _send_back(archive: Orthanc, gateway: GatewayProcess) -> int:
    """Let the archive send a capture and a report to the gateway; return how many results it recognised."""
    kinds: dict[str, str] = {}
    for instance in archive.instances():
        kinds.setdefault(tags(archive, instance)["Modality"], instance)
    for instance in kinds.values():
        archive.post("/modalities/gateway/store", instance)
    end = time.monotonic() + 30
    while time.monotonic() < end:
        found: int = gateway.status()["counts"]["own"]
        if found == len(kinds):
            break
        time.sleep(0.5)
    return found
