"""Latency of a request beside that of `predict`, and throughput with several clients."""

import http.client
import os
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from benchmarks.records.environment import Environment
from benchmarks.studies.page.pictures import draw
from benchmarks.studies.serving.processes import ServerProcess, ask_over, running
from fracture_edge.classifier import FractureClassifier
from fracture_edge.errors import FractureEdgeError

_WARM_UP = 20


@dataclass(frozen=True, slots=True)
class Latency:
    """Latencies in milliseconds.

    Attributes:
        p50: Median.
        p99: 99th percentile.
    """

    p50: float
    p99: float


@dataclass(frozen=True, slots=True)
class Throughput:
    """Requests with a number of clients.

    Attributes:
        clients: Number of clients, each with one connection and one request at a time.
        per_second: Requests answered per second, median of the rounds.
        latency: Latency of a request.
    """

    clients: int
    per_second: float
    latency: Latency


@dataclass(frozen=True, slots=True)
class ServingLoad:
    """Latency and throughput of a server.

    Attributes:
        image_kb: Size of the image, a JPEG file, in kB (10^3 bytes).
        megapixels: Its pixels, in millions.
        requests: Number of requests and of predictions whose latency was measured, in turns.
        post: Latency of a POST over an open connection.
        predict: Latency of `FractureClassifier.predict` with one thread, in a process of its own.
        added_ms: Median of the differences between a POST and the prediction after it.
        rounds: Number of rounds with each number of clients, in turns.
        throughput: Throughput with each number of clients.
        memory_mb: Resident memory of the server at the end, in MB (10^6 bytes).
        load_average: Average number of processes that wanted to run in the minute before the start.
        environment: Machine and package versions.
    """

    image_kb: float
    megapixels: float
    requests: int
    post: Latency
    predict: Latency
    added_ms: float
    rounds: int
    throughput: tuple[Throughput, ...]
    memory_mb: float
    load_average: float
    environment: Environment


def run_load(
    folder: Path, *, requests: int, rounds: int, seconds: float, clients: Sequence[int], seed: int
) -> ServingLoad:
    """Measure a server.

    Args:
        folder: Folder for messages.
        requests: Number of requests for the latency.
        rounds: Number of rounds for the throughput.
        seconds: Seconds of a round with one number of clients.
        clients: Numbers of clients.
        seed: Seed of the image.
    """
    load_average = os.getloadavg()[0]
    picture = draw("jpg-grey", seed, 900).data
    with running(folder) as server:
        posts, predictions = _in_turns(server, picture, requests)
        times: dict[int, list[float]] = {number: [] for number in clients}
        rates: dict[int, list[float]] = {number: [] for number in clients}
        for _ in range(rounds):
            for number in clients:
                found = _load(server, picture, number, seconds)
                times[number] += found
                rates[number].append(len(found) / seconds)
        memory = server.memory_mb()
        if server.stop() != 0:
            raise FractureEdgeError(f"the server failed: {server.log.read_text()}")
    return ServingLoad(
        image_kb=len(picture) / 1e3,
        megapixels=_megapixels(picture),
        requests=requests,
        post=_latency(posts),
        predict=_latency(predictions),
        added_ms=float(np.median(np.subtract(posts, predictions)) * 1000),
        rounds=rounds,
        throughput=tuple(
            Throughput(number, float(np.median(rates[number])), _latency(times[number])) for number in clients
        ),
        memory_mb=memory,
        load_average=load_average,
        environment=Environment.here(),
    )


def _in_turns(server: ServerProcess, picture: bytes, number: int) -> tuple[list[float], list[float]]:
    """Time a POST and a prediction in turns; return the seconds of each."""
    classifier = FractureClassifier(threads=1)
    connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=120)
    posts, predictions = [], []
    for index in range(number + _WARM_UP):
        started = time.perf_counter()
        status, _ = ask_over(connection, "/v1/classify", picture)
        between = time.perf_counter()
        prediction = classifier.predict(picture)
        ended = time.perf_counter()
        if status != 200 or not prediction.ok:
            raise FractureEdgeError(f"a request was answered with {status}")
        if index >= _WARM_UP:
            posts.append(between - started)
            predictions.append(ended - between)
    connection.close()
    return posts, predictions


def _load(server: ServerProcess, picture: bytes, clients: int, seconds: float) -> list[float]:
    """Send requests with several clients for a time; return the seconds of each request that ended within it."""
    found: list[float] = []
    failed: list[int] = []
    end = time.perf_counter() + seconds

    def send() -> None:
        connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=120)
        while (started := time.perf_counter()) < end:
            status, _ = ask_over(connection, "/v1/classify", picture)
            ended = time.perf_counter()
            if status != 200:
                failed.append(status)
            elif ended <= end:
                found.append(ended - started)
        connection.close()

    threads = [threading.Thread(target=send) for _ in range(clients)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if failed:
        raise FractureEdgeError(f"{len(failed)} requests were not answered, first with {failed[0]}")
    return found


def _latency(seconds: Sequence[float]) -> Latency:
    p50, p99 = np.percentile(np.array(seconds) * 1000, (50, 99))
    return Latency(float(p50), float(p99))


def _megapixels(picture: bytes) -> float:
    import io

    from PIL import Image

    with Image.open(io.BytesIO(picture)) as image:
        return image.width * image.height / 1e6
