"""What an answer costs a small computer: `python -P -m benchmarks.speed.device_cost --output FILE.json`.

The start of a process (`benchmarks.speed.startup`), a large JPEG from file to decision beside its bare decoding,
and peak memory. To be run where a wheel is installed.
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

#: Rows and columns of FracAtlas's large radiographs.
LARGE = (2880, 2304)
#: Grain of the large JPEGs, grey levels: the less there is, the less libjpeg has to do beside the network.
GRAINS = (3.0, 1.0)
#: Files of the process that classifies many.
MANY = 100
PROCESSES = 5


@dataclass(frozen=True, slots=True, kw_only=True)
class LargeJpeg:
    """The way from a large JPEG file to its decision, beside libjpeg alone.

    Attributes:
        grain: Grain of the picture, grey levels.
        decode: Time of libjpeg alone, in milliseconds.
        file_to_decision: Time of the whole way, in milliseconds.
        ratio: Median of file_to_decision / decode over the rounds.
        bytes: Size of the file.
        stored: Size of the picture, ``WIDTHxHEIGHT``.
        decoded: Size at the reduced scale, likewise.
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
    """Peak memory of a process in units of 10^6 bytes; ``None`` where the system does not tell.

    Attributes:
        one: Peak with one small picture.
        large_jpeg: Peak with one large JPEG.
        many: Peak with many small pictures.
    """

    one: float | None
    large_jpeg: float | None
    many: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class DeviceCost:
    """What an answer costs.

    Attributes:
        startup: Time of whole processes.
        large_jpegs: Times of large pictures, by grain.
        peak_memory_mb: Memory of processes.
        many: Number of many small pictures.
        environment: Machine and versions.
    """

    startup: Startup
    large_jpegs: tuple[LargeJpeg, ...]
    peak_memory_mb: PeakMemory
    many: int
    environment: Environment


def large_jpeg(path: Path, grain: float, runs: int) -> LargeJpeg:
    """Time the way from a JPEG file to its decision, in turns with libjpeg alone at the same reduced scale.

    Args:
        path: Path of a grey JPEG file.
        grain: Grain of its picture, to be told with the result.
        runs: Timed ways of each, after those that do not count.
    """
    data = path.read_bytes()
    with FractureClassifier() as classifier:
        size = classifier.info.preprocessing
        height, width = load_image(path, model_size=(size.height, size.width)).shape
        contenders = {
            "decode": lambda given: _decode(data, (width, height)),
            "file_to_decision": classifier.predict,
        }
        seconds = rounds(contenders, [path], runs)
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
    """The greatest peak of `PROCESSES` processes that classify `paths` with ``--jobs 1``, in MB (10^6 bytes).

    ``None`` where the system does not tell.
    """
    arguments = ("classify", "--jsonl", "--jobs", "1", *map(str, paths))
    peaks = [fresh_process(*arguments)[1] for _ in range(PROCESSES)]
    known = [peak for peak in peaks if peak is not None]
    return max(known) if known else None


def device_cost(folder: Path, *, starts: int, runs: int) -> DeviceCost:
    """Measure all of it with generated pictures.

    Args:
        folder: Where the pictures go.
        starts: Processes of each kind that count, for the start.
        runs: Decisions that count, for the large JPEG.
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
    """Measure, and write the result."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--output", "-o", type=Path, required=True)
    parser.add_argument("--starts", type=int, default=60)
    parser.add_argument("--runs", type=int, default=100)
    options = parser.parse_args()
    startup.refuse_editable()
    with tempfile.TemporaryDirectory() as folder:
        result = device_cost(Path(folder), starts=options.starts, runs=options.runs)
    # Not train.json_records: this runs where nothing but the device package is installed.
    write_json(options.output, asdict(result))


if __name__ == "__main__":
    main()
