"""What an archive and the spool hold after the kills."""

import io
import json
import re
import subprocess
import sys
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

from benchmarks.studies.gateway.certificates import dcmtk_options
from benchmarks.studies.gateway.images import SentImage
from benchmarks.studies.gateway.processes import GatewayProcess, Orthanc, dcmtk
from fracture_edge.pacs.gateway.options import TlsFiles


def tags(archive: Orthanc, instance: str) -> dict[str, str]:
    """Return the header of an instance in the archive."""
    found: dict[str, str] = json.loads(archive.get(f"/instances/{instance}/simplified-tags"))
    return found


class Found(NamedTuple):
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


def examine(folder: Path, sent: Sequence[SentImage], archive: Orthanc, gateway: GatewayProcess) -> Found:
    """Compare what the archive holds with the images that were sent and with what the command line says."""
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
    return Found(
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


def reports_found(archive: Orthanc, sent: Sequence[SentImage], certificate: TlsFiles | None) -> int:
    """Ask by findscu for the series of reports in each study, and return how many there are."""
    found = 0
    for image in sent:
        command = [
            dcmtk("findscu") or "findscu",
            *dcmtk_options(certificate),
            "-S",
            "-aec",
            "ORTHANC",
        ]
        keys = ["QueryRetrieveLevel=SERIES", f"StudyInstanceUID={image.study}", "Modality=SR", "SeriesInstanceUID"]
        words = [word for key in keys for word in ("-k", key)]
        done = subprocess.run(  # noqa: S603
            [*command, *words, "127.0.0.1", str(archive.port)], capture_output=True, check=True
        )
        found += len(re.findall(rb"\(0008,0060\) CS \[SR", done.stdout + done.stderr))
    return found
