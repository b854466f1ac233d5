"""Counts and times of the server, in Prometheus' text format."""

import os
import time
from collections import Counter
from collections.abc import Iterable, Mapping
from pathlib import Path
from threading import Lock

from fracture_edge._version import __version__
from fracture_edge.prediction import Prediction

#: Media type of the format, version 0.0.4 (https://prometheus.io/docs/instrumenting/exposition_formats/).
METRICS_TYPE = "text/plain; version=0.0.4; charset=utf-8"
#: Upper bounds of the histogram of request times, in seconds.
BOUNDS = (0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)


class Metrics:
    """Counts since the start; threads may share it. No label has a value that a client has chosen."""

    def __init__(self, model: str, sha256: str) -> None:
        """Begin to count.

        Args:
            model: Name of the model.
            sha256: SHA-256 of the model file.
        """
        self._model, self._sha256, self._started = model, sha256, time.time()
        self._lock = Lock()
        self._requests: Counter[tuple[str, str]] = Counter()
        self._images: Counter[tuple[str, str]] = Counter()
        self._cut_off: Counter[str] = Counter()
        self._buckets = [0] * (len(BOUNDS) + 1)
        self._seconds = 0.0

    def add_request(self, path: str, status: int, seconds: float) -> None:
        """Count a request.

        Args:
            path: Path of its route.
            status: Status of the response; 499 if the client went away before it.
            seconds: Time until the end of the response.
        """
        with self._lock:
            self._requests[path, str(status)] += 1
            if path == "/v1/classify":
                self._seconds += seconds
                self._buckets[next((n for n, bound in enumerate(BOUNDS) if seconds <= bound), len(BOUNDS))] += 1

    def add_prediction(self, prediction: Prediction) -> None:
        """Count an image or frame."""
        with self._lock:
            self._images[str(prediction.status), str(prediction.decision or "")] += 1

    def add_cut_off(self, reason: str) -> None:
        """Count a connection that was cut off."""
        with self._lock:
            self._cut_off[reason] += 1

    def text(self, gauges: Mapping[str, tuple[str, float]]) -> str:
        """Return everything in Prometheus' text format.

        Args:
            gauges: Help and present value of further gauges, by their name without prefix.
        """
        with self._lock:
            requests, images, cut_off = dict(self._requests), dict(self._images), dict(self._cut_off)
            buckets, seconds = list(self._buckets), self._seconds
        label = {"version": __version__, "model": self._model, "model_sha256": self._sha256}
        lines = _family("info", "gauge", "Version and model.", [(label, 1)])
        lines += _family("start_time_seconds", "gauge", "Unix time of the start.", [({}, self._started)])
        named = [({"path": path, "status": status}, count) for (path, status), count in requests.items()]
        lines += _family("requests_total", "counter", "Requests by route and HTTP status.", named)
        named = [({"status": status, "decision": decision}, count) for (status, decision), count in images.items()]
        lines += _family("images_total", "counter", "Images and frames by status and decision.", named)
        named = [({"reason": reason}, count) for reason, count in cut_off.items()]
        lines += _family("connections_cut_off_total", "counter", "Connections that were cut off.", named)
        lines += _histogram(buckets, seconds)
        for name, (about, value) in gauges.items():
            lines += _family(name, "gauge", about, [({}, value)])
        if (resident := _resident_bytes()) is not None:
            lines += _family("resident_memory_bytes", "gauge", "Resident memory.", [({}, resident)])
        return "\n".join(lines) + "\n"


def _histogram(buckets: Iterable[int], seconds: float) -> list[str]:
    total, samples = 0, []
    for bound, count in zip((*map(str, BOUNDS), "+Inf"), buckets, strict=True):
        total += count
        samples.append(f'fracture_edge_classify_seconds_bucket{{le="{bound}"}} {total}')
    return [
        "# HELP fracture_edge_classify_seconds Time of a request to /v1/classify, from its header to its answer.",
        "# TYPE fracture_edge_classify_seconds histogram",
        *samples,
        f"fracture_edge_classify_seconds_sum {seconds}",
        f"fracture_edge_classify_seconds_count {total}",
    ]


def _family(name: str, kind: str, about: str, samples: Iterable[tuple[Mapping[str, str], float]]) -> list[str]:
    full = f"fracture_edge_{name}"
    lines = [f"# HELP {full} {about}", f"# TYPE {full} {kind}"]
    for labels, value in samples:
        inside = ",".join(f'{key}="{_escaped(text)}"' for key, text in labels.items())
        lines.append(f"{full}{{{inside}}} {value}" if inside else f"{full} {value}")
    return lines


def _escaped(text: str) -> str:
    return text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")


def _resident_bytes() -> int | None:
    try:
        pages = Path("/proc/self/statm").read_text(encoding="ascii").split()[1]
    except OSError:
        return None
    return int(pages) * os.sysconf("SC_PAGE_SIZE")
