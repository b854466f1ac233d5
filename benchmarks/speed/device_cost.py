"""Time and memory of a prediction on a small computer: `python -P -m benchmarks.speed.device_cost -o FILE.json`.

Measures the start of a process (`benchmarks.speed.startup`), the time from file to decision of a large JPEG
compared with decoding it only, and peak memory. Must be run where a wheel is installed.
"""

import argparse
import io
import tempfile
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from PIL import Image

from benchmarks.records.environment import Environment
from benchmarks.speed import startup
from benchmarks.speed.latency import Percentiles, rounds, summary
from benchmarks.speed.ratio import Ratio, ratio
from benchmarks.speed.startup import Startup
from fracture_edge.classifier import FractureClassifier
from fracture_edge.doctor.speed import fresh_process
from fracture_edge.files import write_json
from fracture_edge.images.image_file import load_image

#: Height and width of FracAtlas's large radiographs, in pixels.
LARGE = (2880, 2304)
#: Standard deviations of the noise in the large JPEGs, in grey levels: the less noise, the smaller the share of
#: libjpeg in the total time.
GRAINS = (3.0, 1.0)
#: Number of files of the process that classifies many.
MANY = 100
#: Number of processes of each peak memory measurement.
PROCESSES = 5


@dataclass(frozen=True, slots=True, kw_only=True)
class LargeJpeg:
    """Latency of a large JPEG from file to decision, compared with libjpeg alone.

    Attributes:
        grain: Standard deviation of the noise in the image, in grey levels.
        decode: Time of libjpeg alone, in milliseconds.
        file_to_decision: Time from file to decision, in milliseconds.
        ratio: Median of file_to_decision / decode over the rounds.
        bytes: Size of the file.
        stored: Size of the image, ``WIDTHxHEIGHT``.
        decoded: Size of the image decoded at reduced scale, ``WIDTHxHEIGHT``.
    """

    grain: float
    decode: Percentiles
    file_to_decision: Percentiles
    ratio: Ratio
    bytes: int
    stored: str
    decoded: str


@dataclass(frozen=True, slots=True)
class PeakMemory:
    """Peak memory of a process, in MB (10^6 bytes); ``None`` if the system does not report it.

    Attributes:
        one: Peak memory with one small image.
        large_jpeg: Peak memory with one large JPEG.
        many: Peak memory with many small images.
    """

    one: float | None
    large_jpeg: float | None
    many: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class DeviceCost:
    """Time and memory of a prediction.

    Attributes:
        startup: Time of complete processes.
        large_jpegs: Latencies of large JPEGs, one per noise level of `GRAINS`.
        peak_memory_mb: Peak memory of processes.
        many: Number of images behind ``peak_memory_mb.many``.
        environment: Machine and package versions.
    """

    startup: Startup
    large_jpegs: tuple[LargeJpeg, ...]
    peak_memory_mb: PeakMemory
    many: int
    environment: Environment


def large_jpeg(path: Path, grain: float, runs: int) -> LargeJpeg:
    """Time a JPEG from file to decision, alternating with libjpeg alone at the same reduced scale.

    Args:
        path: Path of a greyscale JPEG file.
        grain: Standard deviation of the noise in the image, in grey levels; stored with the result.
        runs: Number of timed runs of each, after the warm-up.
    """
    data = path.read_bytes()
    with FractureClassifier() as classifier:
        size = classifier.info.preprocessing
        height, width = load_image(path, model_size=(size.height, size.width)).shape
        functions = {
            "decode": lambda given: _decode(data, (width, height)),
            "file_to_decision": classifier.predict,
        }
        seconds = rounds(functions, [path], runs)
    with Image.open(path) as image:
        stored = image.size
    return LargeJpeg(
        grain=grain,
        decode=summary(seconds["decode"]),
        file_to_decision=summary(seconds["file_to_decision"]),
        ratio=ratio(seconds["file_to_decision"], seconds["decode"]),
        bytes=len(data),
        stored=f"{stored[0]}x{stored[1]}",
        decoded=f"{width}x{height}",
    )


def _decode(data: bytes, size: tuple[int, int]) -> None:
    with Image.open(io.BytesIO(data)) as image:
        image.draft("L", size)
        image.load()
        if image.size != size:
            raise ValueError(f"libjpeg gives {image.size}, the classifier took {size}")


def peak_memory_mb(*paths: Path) -> float | None:
    """Measure the largest peak memory of `PROCESSES` processes that classify `paths` with ``--jobs 1``.

    Returns:
        Peak memory in MB (10^6 bytes), or ``None`` if the system does not report it.
    """
    arguments = ("classify", "--jsonl", "--jobs", "1", *map(str, paths))
    peaks = [fresh_process(*arguments)[1] for _ in range(PROCESSES)]
    known = [peak for peak in peaks if peak is not None]
    return max(known) if known else None


def device_cost(folder: Path, *, starts: int, runs: int) -> DeviceCost:
    """Measure start-up, large JPEGs and peak memory with generated images.

    Args:
        folder: Folder to write the images to.
        starts: Number of timed processes of each kind, for the start-up.
        runs: Number of timed runs, for the large JPEGs.
    """
    small = startup.example(folder)
    large = [folder / f"large{number}.jpg" for number in range(len(GRAINS))]
    for path, grain in zip(large, GRAINS, strict=True):
        Image.fromarray(startup.radiograph(*LARGE, grain=grain)).save(path, quality=90)
    return DeviceCost(
        startup=startup.measure(small, starts),
        large_jpegs=tuple(large_jpeg(path, grain, runs) for path, grain in zip(large, GRAINS, strict=True)),
        peak_memory_mb=PeakMemory(
            one=peak_memory_mb(small),
            large_jpeg=peak_memory_mb(large[0]),
            many=peak_memory_mb(*_copies(small, MANY)),
        ),
        many=MANY,
        environment=Environment.here(),
    )


def _copies(path: Path, count: int) -> Sequence[Path]:
    copies = [path.with_stem(f"{path.stem}{number}") for number in range(count)]
    for copy in copies:
        copy.write_bytes(path.read_bytes())
    return copies


def main() -> None:
    """Measure and write the result."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--output", "-o", type=Path, required=True)
    parser.add_argument("--starts", type=int, default=60)
    parser.add_argument("--runs", type=int, default=100)
    options = parser.parse_args()
    startup.refuse_editable()
    with tempfile.TemporaryDirectory() as folder:
        result = device_cost(Path(folder), starts=options.starts, runs=options.runs)
    # Not train.json_records: this runs where only the device package is installed.
    write_json(options.output, asdict(result))


if __name__ == "__main__":
    main()
