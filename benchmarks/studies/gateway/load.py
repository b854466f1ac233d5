"""Many images, one after the other: memory, throughput, and where the time goes."""

import os
import resource
import subprocess
import time
from collections.abc import Callable, Iterator
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
#: Number of times that a step is measured.
_STEPS = 30


@dataclass(frozen=True, slots=True)
class LoadResult:
    """Memory and throughput of a gateway.

    Attributes:
        images: Number of images.
        megapixels: Pixels of each, in millions; 12 bits, uncompressed.
        seconds: Seconds from the first byte of the first image to the acknowledgement of the last result.
        images_per_second: Throughput.
        gateway_cpu_ms: Processor time of the gateway for each image, in ms, on all cores.
        inference_ms: Median processor time of one inference in a process that does nothing else, in ms, measured
            after the run; so are the next two.
        classify_ms: Median processor time of one classification: reading and decoding the file, checks, inference.
        results_ms: Median processor time of making the results of one image: heat map, capture and report.
        repeated: Number of images that had to be sent again because their association was lost.
        memory_mb: Resident memory after each tenth of the images, in MB (10^6 bytes).
        other_work: Share of the processor time of the machine that programs outside this study took during the
            run, 0 to 1.
        environment: Machine and package versions.
    """

    images: int
    megapixels: float
    seconds: float
    images_per_second: float
    gateway_cpu_ms: float
    inference_ms: float
    classify_ms: float
    results_ms: float
    repeated: int
    memory_mb: tuple[float, ...]
    other_work: float
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
    machine_before, own_before = _machine_seconds(), _own_seconds()
    with _forgetful_archive() as target:
        gateway = GatewayProcess(folder, free_port(), [target], "--min-free", 100)
        gateway.start()
        try:
            cpu_before = gateway.cpu_seconds()
            started = time.perf_counter()
            for tenth in range(10):
                share = images * (tenth + 1) // 10 - images * tenth // 10
                repeated += _send(image.path, share, gateway)
                memory.append(round(gateway.memory_mb(), 1))
            _wait_until(gateway, 0)
            seconds = time.perf_counter() - started
            cpu = gateway.cpu_seconds() - cpu_before
            if gateway.stop() or gateway.status()["counts"]["sent"] < 2 * images:
                raise FractureEdgeError(f"not every result was sent: {gateway.log.read_text()}")
        finally:
            if gateway.process.poll() is None:
                gateway.kill()
    busy, total = (after - before for after, before in zip(_machine_seconds(), machine_before, strict=True))
    other = max(0.0, busy - (_own_seconds() - own_before)) / total
    steps = _measure_steps(image.path)
    return LoadResult(
        images=images,
        megapixels=size[0] * size[1] / 1e6,
        seconds=seconds,
        images_per_second=images / seconds,
        gateway_cpu_ms=1000 * cpu / images,
        inference_ms=steps[0],
        classify_ms=steps[1],
        results_ms=steps[2],
        repeated=repeated,
        memory_mb=tuple(memory),
        other_work=other,
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


def _machine_seconds() -> tuple[float, float]:
    """Return the seconds of all cores since the start of the machine: busy ones, and all (proc(5), /proc/stat)."""
    words = Path("/proc/stat").read_text().split("\n", 1)[0].split()[1:]
    # The times of guests are part of the first two.
    user, nice, system, idle, waiting, *interrupts = (int(word) / os.sysconf("SC_CLK_TCK") for word in words[:8])
    busy = user + nice + system + sum(interrupts)
    return busy, busy + idle + waiting


def _own_seconds() -> float:
    """Return the processor seconds of this process and of those that it has started and that have ended."""
    used = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(one.ru_utime + one.ru_stime for one in used)


def _measure_steps(path: Path) -> tuple[float, float, float]:
    """Return the processor times of one inference, one classification and of making the results, in ms."""
    from fracture_edge.classifier import FractureClassifier
    from fracture_edge.pacs.results.make import ResultMaker

    classifier = FractureClassifier()
    maker = ResultMaker(classifier)
    preprocessing = classifier.info.preprocessing
    pixels = np.zeros((1, preprocessing.height, preprocessing.width, 1), np.uint8)
    predictions = list(classifier.predict_frames(path))
    return (
        _median_ms(lambda: classifier.probabilities(pixels)),
        _median_ms(lambda: list(classifier.predict_frames(path))),
        _median_ms(lambda: maker.make(path, predictions)),
    )


def _median_ms(step: Callable[[], object]) -> float:
    # The first time has imports.
    step()
    times = []
    for _ in range(_STEPS):
        started = time.process_time()
        step()
        times.append(time.process_time() - started)
    return 1000 * float(np.median(times))
