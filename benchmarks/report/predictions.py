"""Per-image predictions of a run, stored as CSV beside its JSON."""

import csv
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from benchmarks.predicted_parts import is_part_column
from benchmarks.records.result import BenchmarkResult
from fracture_edge.errors import FractureEdgeError

Floats = npt.NDArray[np.float64]
_ABOUT_THE_IMAGE = ("path", "label", "group", "body_part", "view", "hardware")


@dataclass(frozen=True, slots=True)
class Predictions:
    """Predictions of every row of a run for N images.

    Attributes:
        paths: Paths of the images within the data folder, N.
        labels: Labels, 1 for fractured and 0 for not, [N].
        groups: Groups of the images, such as patients, N; an image without a group is a group of its own.
        columns: P(fractured), [N], by row id; failed rows are missing.
    """

    paths: tuple[str, ...]
    labels: npt.NDArray[np.int64]
    groups: tuple[str, ...]
    columns: dict[str, Floats]


def read_predictions(path: Path) -> Predictions:
    """Read ``RUN.csv``.

    Args:
        path: Path of the file.

    Raises:
        FractureEdgeError: The file cannot be read, or is not the CSV of a benchmark run.
    """
    try:
        with path.open(newline="", encoding="utf-8", errors="surrogateescape") as stream:
            rows = list(csv.DictReader(stream))
    except OSError as error:
        raise FractureEdgeError(f"{path}: {error.strerror}; the CSV belongs beside the JSON of its run") from error
    if not rows or not {"path", "label", "group"} <= rows[0].keys():
        raise FractureEdgeError(f"{path}: no per-image probabilities of a benchmark run")
    try:
        return Predictions(
            paths=tuple(row["path"] for row in rows),
            labels=np.array([int(row["label"]) for row in rows]),
            # An image without a group is a group of its own.
            groups=tuple(row["group"] or row["path"] for row in rows),
            columns={
                name: np.array([float(row[name]) for row in rows])
                for name in rows[0]
                if name not in _ABOUT_THE_IMAGE and not is_part_column(name) and all(row[name] for row in rows)
            },
        )
    except (TypeError, ValueError) as error:
        raise FractureEdgeError(f"{path}: a damaged row: {error}") from error


def predictions_path(json_path: Path, result: BenchmarkResult) -> Path:
    """Return the path of the CSV of a result: the name in the JSON, in the folder of the JSON."""
    return json_path.with_name(Path(result.data.predictions).name)
