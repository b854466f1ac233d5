"""What an answer costs a small computer: `python -P -m benchmarks.speed.device_cost --output FILE.json`.

The start of a process (`benchmarks.speed.startup`), a large JPEG from file to decision beside its bare decoding,
and peak memory. To be run where a wheel is installed.
"""

import argparse
import io
import json
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from PIL import Image

from benchmarks.environment import environment
from benchmarks.speed import startup
from benchmarks.speed.latency import rounds, summary
from benchmarks.speed.ratio import ratio
from fracture_edge.classifier import FractureClassifier
from fracture_edge.doctor.speed import fresh_process
from fracture_edge.files import atomic_write_text
from fracture_edge.images.image_file import load_image

#: Rows and columns of FracAtlas's large radiographs.
LARGE = (2880, 2304)
#: Grain of the large JPEGs, grey levels: the less there is, the less libjpeg has to do beside the network.
GRAINS = (3.0, 1.0)
#: Files of the process that classifies many.
MANY = 100
PROCESSES = 5


def large_jpeg(path: Path, runs: int) -> dict[str, Any]:
    """Time the way from a JPEG file to its decision, in turns with libjpeg alone at the same reduced scale.

    Args:
        path: Of a grey JPEG file.
        runs: Of each, after those that do not count.

    Returns:
        Percentiles of both in milliseconds, the median of the rounds' ratios with its 95 % interval, and the
        sizes as stored and as decoded.
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
    return {
        **{name: summary(values) for name, values in seconds.items()},
        "ratio": ratio(seconds["file_to_decision"], seconds["decode"]),
        "bytes": len(data),
        "stored": f"{stored[0]}x{stored[1]}",
        "decoded": f"{width}x{height}",
    }


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


def device_cost(folder: Path, *, starts: int, runs: int) -> dict[str, Any]:
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
    return {
        "startup": startup.measure(small, starts),
        "large_jpegs": [
            {"grain": grain, **large_jpeg(path, runs)} for path, grain in zip(large, GRAINS, strict=True)
        ],
        "peak_memory_mb": {
            "one": peak_memory_mb(small),
            "large_jpeg": peak_memory_mb(large[0]),
            "many": peak_memory_mb(*_copies(small, MANY)),
        },
        "many": MANY,
        "environment": environment(),
    }


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
    atomic_write_text(options.output, json.dumps(result, indent=2) + "\n")


if __name__ == "__main__":
    main()
