"""The same files through the command line and through the server: are the records the same?"""

import json
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.records.environment import Environment
from benchmarks.studies.page.pictures import KINDS, draw
from benchmarks.studies.serving.processes import form, running
from fracture_edge.errors import FractureEdgeError

_PER_REQUEST = 10


@dataclass(frozen=True, slots=True)
class ServingEquality:
    """Comparison of records.

    Attributes:
        files: Number of files, of all kinds that `benchmarks.studies.page.pictures` draws.
        records: Number of records of the command line; multi-frame files have several.
        classified: Number of records with a decision.
        same_probability: Number of records whose probability is bit for bit the same.
        same_record: Number of records that are the same but for ``elapsed_ms``.
        same_text: Whether both texts are the same but for ``elapsed_ms``, spaces and line ends included.
        seed: Seed of the pictures.
        environment: Machine and package versions.
    """

    files: int
    records: int
    classified: int
    same_probability: int
    same_record: int
    same_text: bool
    seed: int
    environment: Environment


def run_equal(folder: Path, *, files: int, seed: int) -> ServingEquality:
    """Classify drawn pictures by the command line and by the server.

    Args:
        folder: Folder for the files.
        files: Number of files.
        seed: Seed of the pictures.
    """
    kinds = list(KINDS)
    paths = []
    for index in range(files):
        drawn = draw(kinds[index % len(kinds)], seed + index, 300)
        paths.append(folder / drawn.name)
        paths[-1].write_bytes(drawn.data)
    command = [sys.executable, "-m", "fracture_edge", "classify", "--json", *map(str, paths)]
    done = subprocess.run(command, capture_output=True, check=False)  # noqa: S603
    expected = json.loads(done.stdout)
    answered: list[dict[str, Any]] = []
    same_text = True
    with running(folder) as server:
        for start in range(0, files, _PER_REQUEST):
            part = paths[start : start + _PER_REQUEST]
            kind, body = form([(str(path), path.read_bytes()) for path in part])
            status, text = server.ask("/v1/classify", body, kind)
            if status != 200:
                raise FractureEdgeError(f"the server answers {status}: {text[:200]!r}")
            answered += json.loads(text)
            same_text &= text.decode() == _as_printed(json.loads(text))
        server.stop()
    same_text &= done.stdout.decode() == _as_printed(expected)
    pairs = list(zip(expected, answered, strict=True))
    return ServingEquality(
        files=files,
        records=len(expected),
        classified=sum(record["decision"] is not None for record in expected),
        same_probability=sum(one["probability"] == other["probability"] for one, other in pairs),
        same_record=sum(_untimed(one) == _untimed(other) for one, other in pairs),
        same_text=same_text and all(list(one) == list(other) for one, other in pairs),
        seed=seed,
        environment=Environment.here(),
    )


def _untimed(record: dict[str, Any]) -> dict[str, Any]:
    return {**record, "elapsed_ms": 0}


def _as_printed(records: list[dict[str, Any]]) -> str:
    """Write records as `fracture_edge.batch.records.render` does."""
    return "[\n  " + ",\n  ".join(map(json.dumps, records)) + "\n]\n"
