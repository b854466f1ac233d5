"""Where the measured results of the documents lie, and how they are read."""

import csv
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

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


def read_result(name: str) -> dict[str, Any]:
    """Read a JSON file of `RESULTS`."""
    values: dict[str, Any] = json.loads((RESULTS / name).read_text(encoding="utf-8"))
    return values


def read_entries(name: str) -> list[dict[str, Any]]:
    """Read what `benchmarks.studies.edge_model.cross_validated` wrote."""
    values: list[dict[str, Any]] = json.loads((RESULTS / name).read_text(encoding="utf-8"))
    return values


def with_rows(result: dict[str, Any], keep: Callable[[dict[str, Any]], bool]) -> dict[str, Any]:
    """Give a run with some of its rows."""
    return result | {"rows": [row for row in result["rows"] if keep(row)]}


def read_predictions(run: dict[str, Any]) -> list[dict[str, str]]:
    """Read the probabilities that lie beside a run, a row for each image."""
    with (RESULTS / run["data"]["predictions"]).open(newline="", encoding="utf-8") as stream:
        return list(csv.DictReader(stream))
