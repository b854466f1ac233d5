"""The per-image probabilities that a run leaves beside its JSON."""

import csv
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from benchmarks.records.result import BenchmarkResult
from fracture_edge.errors import FractureEdgeError

Floats = npt.NDArray[np.float64]
_ABOUT_THE_IMAGE = ("path", "label", "group", "body_part", "view", "hardware")


@dataclass(frozen=True, slots=True)
class Predictions:
    """P(fractured) of N images in every row of a run.

    Attributes:
        paths: Paths of the images within the data folder.
        labels: Truth, [N]; 1 is fractured.
        groups: Names of what belongs together.
        columns: P(fractured) by row id, [N] each; rows that failed are not in it.
    """

    paths: tuple[str, ...]
    labels: npt.NDArray[np.int64]
    groups: tuple[str, ...]
    columns: dict[str, Floats]


def read_predictions(path: Path) -> Predictions:
    """Read ``RUN.csv``.

    Raises:
        FractureEdgeError: It cannot be read, or is no such file.
    """
    try:
        with path.open(newline="", encoding="utf-8") as stream:
            rows = list(csv.DictReader(stream))
    except OSError as error:
        raise FractureEdgeError(f"{path}: {error.strerror}; the CSV belongs beside the JSON of its run") from error
    if not rows or not {"path", "label", "group"} <= rows[0].keys():
        raise FractureEdgeError(f"{path}: no per-image probabilities of a benchmark run")
    try:
        return Predictions(
            paths=tuple(row["path"] for row in rows),
            labels=np.array([int(row["label"]) for row in rows]),
            # An image without a group is one of its own.
            groups=tuple(row["group"] or row["path"] for row in rows),
            columns={
                name: np.array([float(row[name]) for row in rows])
                for name in rows[0]
                if name not in _ABOUT_THE_IMAGE and all(row[name] for row in rows)
            },
        )
    except (TypeError, ValueError) as error:
        raise FractureEdgeError(f"{path}: a damaged row: {error}") from error


def predictions_path(json_path: Path, result: BenchmarkResult) -> Path:
    """Locate the CSV of a result: beside its JSON, under the name that the JSON gives."""
    return json_path.with_name(Path(result.data.predictions).name)
