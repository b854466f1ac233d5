"""Many images, one after the other: memory, throughput, and the share of the time that is not inference."""

import os
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from random import Random

import numpy as np

from benchmarks.records.environment import Environment
from benchmarks.studies.gateway.images import new_uid, write_images
from benchmarks.studies.gateway.processes import GatewayProcess, dcmtk
from benchmarks.studies.network import free_port, wait_for_port
from fracture_edge.errors import FractureEdgeError

_SYNTAX = "1.2.840.10008.1.2.1"
#: Number of images in one association, and that may wait in the spool before the sender pauses.
_PER_ASSOCIATION, _MOST_WAITING = 20, 40
_SECONDS = 1800.0
_INFERENCES = 50


@dataclass(frozen=True, slots=True)
class LoadResult:
    """Memory and throughput of a gateway.

    Attributes:
        images: Number of images.
        megapixels: Pixels of each, in millions; 12 bits, uncompressed.
        seconds: Seconds from the first byte of the first image to the acknowledgement of the last result.
        images_per_second: Throughput.
        inference_ms: Median time of one inference in a process of its own, in ms, measured after the run.
        repeated: Number of images that had to be sent again because their association was lost.
        share_not_inference: Share of `seconds` that is not inference, 0 to 1.
        memory_mb: Resident memory after each tenth of the images, in MB (10^6 bytes).
        load_average: Average number of processes that wanted to run in the 15 minutes before the end, this
            study's own among them.
        environment: Machine and package versions.
    """

    images: int
    megapixels: float
    seconds: float
    images_per_second: float
    inference_ms: float
    repeated: int
    share_not_inference: float
    memory_mb: tuple[float, ...]
    load_average: float
    environment: Environment


def run_load(folder: Path, *, images: int, size: tuple[int, int], seed: int) -> LoadResult:
    """Send images through a gateway to an archive that acknowledges and forgets.

    Args:
        folder: Folder for everything.
        images: Number of images, at least 10.
        size: Height and width in pixels.
        seed: Seed of the images.
    """
    (image,) = write_images(folder / "images", 1, Random(seed), size=size, syntaxes=[_SYNTAX])  # noqa: S311
    memory = []
    repeated = 0
    with _forgetful_archive() as target:
        gateway = GatewayProcess(folder, free_port(), [target], "--min-free", 100)
        gateway.start()
        try:
            started = time.perf_counter()
            for tenth in range(10):
                share = images * (tenth + 1) // 10 - images * tenth // 10
                repeated += _send(image.path, share, gateway)
                memory.append(round(gateway.memory_mb(), 1))
            _wait_until(gateway, 0)
            seconds = time.perf_counter() - started
            if gateway.stop() or gateway.status()["counts"]["sent"] < 2 * images:
                raise FractureEdgeError(f"not every result was sent: {gateway.log.read_text()}")
        finally:
            if gateway.process.poll() is None:
                gateway.kill()
    inference = _inference_seconds()
    return LoadResult(
        images=images,
        megapixels=size[0] * size[1] / 1e6,
        seconds=seconds,
        images_per_second=images / seconds,
        inference_ms=1000 * inference,
        repeated=repeated,
        share_not_inference=1 - images * inference / seconds,
        memory_mb=tuple(memory),
        load_average=os.getloadavg()[2],
        environment=Environment.here(),
    )


@contextmanager
def _forgetful_archive() -> Iterator[str]:
    port = free_port()
    command = [dcmtk("storescp") or "storescp", "--ignore", "-aet", "PACS", str(port)]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)  # noqa: S603
    try:
        wait_for_port(port, process)
        yield f"PACS@127.0.0.1:{port}"
    finally:
        process.terminate()
        process.wait()


def _send(path: Path, number: int, gateway: GatewayProcess) -> int:
    """Send copies of an image with new UIDs, with pauses for the gateway; return how many were repeated."""
    import pydicom
    from pynetdicom import AE

    dataset = pydicom.dcmread(path)
    entity = AE("LOAD")
    entity.add_requested_context(dataset.SOPClassUID, _SYNTAX)
    sent = repeated = 0
    while sent < number:
        _wait_until(gateway, _MOST_WAITING)
        association = entity.associate("127.0.0.1", gateway.port, ae_title="FRACTURE")
        for _ in range(min(_PER_ASSOCIATION, number - sent)):
            dataset.SOPInstanceUID = dataset.file_meta.MediaStorageSOPInstanceUID = new_uid()
            dataset.StudyInstanceUID, dataset.SeriesInstanceUID = new_uid(), new_uid()
            if not association.is_established or association.send_c_store(dataset).get("Status") != 0:
                repeated += 1
                if repeated > number:
                    raise FractureEdgeError(f"the gateway takes no images; see {gateway.log}")
                break
            sent += 1
        if association.is_established:
            association.release()
    return repeated


def _wait_until(gateway: GatewayProcess, most: int) -> None:
    end = time.monotonic() + _SECONDS
    while _waiting(gateway) > most and time.monotonic() < end:
        time.sleep(0.05)


def _waiting(gateway: GatewayProcess) -> int:
    return sum(path.is_file() for name in ("in", "work", "out") for path in (gateway.spool / name).rglob("*"))


def _inference_seconds() -> float:
    """Return the median time of one inference of the embedded model."""
    from fracture_edge.classifier import FractureClassifier

    classifier = FractureClassifier()
    shape = (1, classifier.info.preprocessing.height, classifier.info.preprocessing.width, 1)
    pixels = np.zeros(shape, np.uint8)
    times = []
    for _ in range(_INFERENCES):
        started = time.perf_counter()
        classifier.probabilities(pixels)
        times.append(time.perf_counter() - started)
    return float(np.median(times))
