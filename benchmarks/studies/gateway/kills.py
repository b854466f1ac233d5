"""Senders that send while the gateway is killed at random moments and the archive is down for a while."""

import io
import json
import re
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from random import Random
from typing import Any, NamedTuple

from benchmarks.records.environment import Environment
from benchmarks.studies.gateway.images import PROPOSALS, SentImage, write_images
from benchmarks.studies.gateway.processes import GatewayProcess, Orthanc, dcmtk
from benchmarks.studies.network import free_port, wait_for_port
from fracture_edge.errors import FractureEdgeError

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
    folder: Path, *, images: int, kills: int, outage: float, seed: int, options: Sequence[object] = ()
) -> KillResult:
    """Send images from four processes, kill the gateway meanwhile, stop the archive for a while, and count.

    Args:
        folder: Folder for everything.
        images: Number of images.
        kills: Number of kills.
        outage: Seconds during which the archive is down.
        seed: Seed of images and moments.
        options: Further options of the gateway.
    """
    random = Random(seed)  # noqa: S311
    sent = write_images(folder / "images", images, random)
    port = free_port()
    archive = Orthanc(folder / "orthanc", port)
    # The disks of test machines are small.
    gateway = GatewayProcess(folder, port, [archive.target], "--min-free", 100, *options)
    archive.start()
    try:
        gateway.start()
        # As long as the kills go on.
        pause = kills * sum(_KILL_AFTER) / 2 * SENDERS / images
        senders = _Senders(sent, port, folder, pause, random)
        senders.start()
        at_work = _kill_repeatedly(gateway, kills, random)
        _outage(archive, outage)
        senders.join()
        _wait_until_sent(gateway)
        came_back = _send_back(archive, gateway)
        exit_status = gateway.stop()
        found = _count(folder, sent, archive, gateway)
        return KillResult(
            images=images,
            seed=seed,
            outage_seconds=outage,
            kills=kills,
            kills_at_work=at_work,
            captures=found.modalities["OT"],
            reports=found.modalities["SR"],
            other=found.modalities.total() - found.modalities["OT"] - found.modalities["SR"],
            reports_found=_reports_found(archive, sent),
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

    def __init__(self, images: Sequence[SentImage], port: int, folder: Path, pause: float, random: Random) -> None:
        self._port, self._log = port, folder / "storescu.log"
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
            while not send(image, self._port, self._log):
                time.sleep(0.3)


def send(image: SentImage, port: int, log: Path) -> bool:
    """Send an image by a process of storescu, and return whether it was acknowledged."""
    command = [dcmtk("storescu") or "storescu", PROPOSALS[image.syntax], "-v", "-aec", "FRACTURE"]
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


def tags(archive: Orthanc, instance: str) -> dict[str, str]:
    """Return the header of an instance in the archive."""
    found: dict[str, str] = json.loads(archive.get(f"/instances/{instance}/simplified-tags"))
    return found


class _Count(NamedTuple):
    """What the archive holds, and what is left elsewhere.

    Attributes:
        modalities: Number of objects in the archive by modality.
        misfiled: Number of results that are not in the study of their source.
        wrong: Number of reports with another probability.
        left_in_spool: Files that are left in the spool.
        secrets_in_messages: Number of secrets in messages.
    """

    modalities: Counter[str]
    misfiled: int
    wrong: int
    left_in_spool: tuple[str, ...]
    secrets_in_messages: int


def _count(folder: Path, sent: Sequence[SentImage], archive: Orthanc, gateway: GatewayProcess) -> _Count:
    import pydicom

    expected = probabilities(folder / "images")
    by_instance = {image.instance: image for image in sent}
    modalities: Counter[str] = Counter()
    misfiled = wrong = 0
    for instance in archive.instances():
        found = pydicom.dcmread(io.BytesIO(archive.get(f"/instances/{instance}/file")))
        modalities[found.Modality] += 1
        image = by_instance[source_of(found)]
        misfiled += found.StudyInstanceUID != image.study or str(found.PatientID) != image.secrets[1]
        if found.Modality == "SR":
            wrong += probability_of(found) != expected[str(image.path)]
    messages = b"".join(path.read_bytes() for path in (gateway.log, archive.log, folder / "storescu.log"))
    messages += (gateway.spool / "status.json").read_bytes()
    left = [str(path.relative_to(gateway.spool)) for path in gateway.spool.rglob("*") if path.is_file()]
    return _Count(
        modalities,
        misfiled,
        wrong,
        tuple(sorted(set(left) - {"lock", "status.json"})),
        sum(secret.encode() in messages for image in sent for secret in image.secrets),
    )


def source_of(result: Any) -> str:
    """Return the SOP Instance UID of the image that a result is of."""
    sources = result.get("SourceImageSequence")
    if sources:
        return str(sources[0].ReferencedSOPInstanceUID)
    evidence = result.CurrentRequestedProcedureEvidenceSequence[0]
    return str(evidence.ReferencedSeriesSequence[0].ReferencedSOPSequence[0].ReferencedSOPInstanceUID)


def probability_of(report: object) -> float:
    """Return the probability in a report of one frame."""
    import highdicom

    groups = highdicom.sr.Comprehensive3DSR.from_dataset(report).content.get_image_measurement_groups()
    values = [item.value for item in groups[0].get_measurements() if item.name.value == "122157"]
    return float(values[0])


def probabilities(folder: Path) -> dict[str, float]:
    """Return what the command line says, by path."""
    command = [sys.executable, "-m", "fracture_edge", "classify", str(folder), "--json"]
    done = subprocess.run(command, capture_output=True, check=True)  # noqa: S603
    return {record["path"]: record["probability"] for record in json.loads(done.stdout)}


def _reports_found(archive: Orthanc, sent: Sequence[SentImage]) -> int:
    """Ask by findscu for the series of reports in each study, and return how many there are."""
    found = 0
    for image in sent:
        command = [dcmtk("findscu") or "findscu", "-S", "-aec", "ORTHANC", "-k", "QueryRetrieveLevel=SERIES"]
        keys = [f"StudyInstanceUID={image.study}", "Modality=SR", "SeriesInstanceUID"]
        words = [word for key in keys for word in ("-k", key)]
        done = subprocess.run(  # noqa: S603
            [*command, *words, "127.0.0.1", str(archive.port)], capture_output=True, check=True
        )
        found += len(re.findall(rb"\(0008,0060\) CS \[SR", done.stdout + done.stderr))
    return found
