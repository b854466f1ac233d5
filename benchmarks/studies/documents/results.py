"""Where the measured results of the documents lie, and how they are read."""

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
#: The model in the package, and the files exported from the network that it is made of.
EMBEDDED_RUN = "embedded.json"
#: The model in the package on another processor.
EMBEDDED_ELSEWHERE = "embedded-epyc.json"
#: The reference's networks beside the `edge` of version 0.2.
RUN = "fracatlas.json"
#: The embedded model of version 0.2 on a processor without VNNI.
OLDER = "fracatlas-avx2.json"
EMBEDDED_ROW = "embedded/onnx int8"


def read_stored(kind: type[Record], name: str) -> Record:
    """Read a record of `RESULTS`.

    Raises:
        FractureEdgeError: It is not there, or of another kind.
    """
    return from_plain(kind, read_json(RESULTS / name), name)


def read_run(name: str) -> BenchmarkResult:
    """Read what `fracture-edge benchmark` wrote."""
    return read_benchmark(RESULTS / name)


def with_rows(run: BenchmarkResult, keep: Callable[[MeasuredRow], bool]) -> BenchmarkResult:
    """Give a run with some of its rows."""
    return replace(run, rows=tuple(row for row in run.rows if keep(row)))


def row_of(run: BenchmarkResult, identifier: str) -> MeasuredRow:
    """Find a row.

    Raises:
        FractureEdgeError: The run has none of that id.
    """
    found = next((row for row in run.rows if row.id == identifier), None)
    if found is None:
        raise FractureEdgeError(f"the run of {run.created} has no row '{identifier}'")
    return found


def quality_of(run: BenchmarkResult, identifier: str) -> Quality:
    """Find the figures of a row.

    Raises:
        FractureEdgeError: The run has none.
    """
    found = row_of(run, identifier).quality
    if found is None:
        raise FractureEdgeError(f"the run of {run.created} has no figures of '{identifier}'")
    return found


def read_predictions(run: BenchmarkResult) -> list[dict[str, str]]:
    """Read the probabilities that lie beside a run, a row for each image."""
    with (RESULTS / run.data.predictions).open(newline="", encoding="utf-8") as stream:
        return list(csv.DictReader(stream))
