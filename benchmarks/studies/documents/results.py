"""Read the measured results that the documents contain."""

import csv
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import TypeVar

from benchmarks.records.measured_row import MeasuredRow, Quality
from benchmarks.records.result import BenchmarkResult
from benchmarks.records.result import read_result as read_benchmark
from fracture_edge.errors import FractureEdgeError
from train.json_records import from_plain, read_json

Record = TypeVar("Record")

ROOT = Path(__file__).resolve().parents[3]
RESULTS = ROOT / "benchmarks" / "results"
#: Benchmark of the embedded model and of all files exported from the same network.
EMBEDDED_RUN = "embedded.json"
#: Benchmark of the embedded model of version 0.6, the one before.
EMBEDDED_BEFORE = "embedded-0.6.json"
#: Benchmark of the networks of the reference notebook beside `edge` and the embedded model, in one run.
REFERENCE_RUN = "reference.json"
#: Earlier benchmark of the networks of the reference, with the embedded model of version 0.2.
RUN = "fracatlas.json"
#: Benchmark of the embedded model of version 0.2 on a processor without VNNI.
OLDER = "fracatlas-avx2.json"
EMBEDDED_ROW = "embedded/onnx int8"
#: Network of the cross-validation whose recipe the embedded model has.
EMBEDDED_NETWORK = "edge (deep)"


def read_stored(kind: type[Record], name: str) -> Record:
    """Read a record in the folder `RESULTS`.

    Args:
        kind: Class of the record.
        name: Name of the file.

    Raises:
        FractureEdgeError: The file does not exist or contains another kind of record.
    """
    return from_plain(kind, read_json(RESULTS / name), name)


def read_run(name: str) -> BenchmarkResult:
    """Read a result of `fracture-edge benchmark` in the folder `RESULTS`."""
    return read_benchmark(RESULTS / name)


def with_rows(run: BenchmarkResult, keep: Callable[[MeasuredRow], bool]) -> BenchmarkResult:
    """Return a copy of a run with only the rows for which `keep` is true."""
    return replace(run, rows=tuple(row for row in run.rows if keep(row)))


def row_of(run: BenchmarkResult, identifier: str) -> MeasuredRow:
    """Return the row with an id.

    Raises:
        FractureEdgeError: The run has no row with this id.
    """
    found = next((row for row in run.rows if row.id == identifier), None)
    if found is None:
        raise FractureEdgeError(f"the run of {run.created} has no row '{identifier}'")
    return found


def quality_of(run: BenchmarkResult, identifier: str) -> Quality:
    """Return the metrics of the row with an id.

    Raises:
        FractureEdgeError: The run has no such row, or the row has no metrics.
    """
    found = row_of(run, identifier).quality
    if found is None:
        raise FractureEdgeError(f"the run of {run.created} has no metrics of '{identifier}'")
    return found


def read_predictions(run: BenchmarkResult) -> list[dict[str, str]]:
    """Read the per-image predictions of a run in the folder `RESULTS`, one dictionary per image."""
    with (RESULTS / run.data.predictions).open(newline="", encoding="utf-8") as stream:
        return list(csv.DictReader(stream))
