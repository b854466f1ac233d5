"""Reading RUN.json and writing it again leaves it unchanged."""

import json
from pathlib import Path
from typing import Any

import pytest

from benchmarks.records.result import Run, read_result, result_of
from benchmarks.run_files import files_of, json_text, read_run, write_run
from fracture_edge.errors import FractureEdgeError
from train.json_records import to_plain

RESULTS = Path(__file__).resolve().parents[2] / "benchmarks" / "results"
RUNS = ("embedded", "embedded-0.6", "fracatlas", "fracatlas-avx2", "reference")


def _keys(value: Any) -> Any:
    """Return the keys in order, which equality of dictionaries ignores."""
    if isinstance(value, dict):
        return [(name, _keys(each)) for name, each in value.items()]
    return [_keys(each) for each in value] if isinstance(value, list) else type(value)


@pytest.fixture(scope="module", params=RUNS)
def plain(request: pytest.FixtureRequest) -> dict[str, Any]:
    values: dict[str, Any] = json.loads((RESULTS / f"{request.param}.json").read_text(encoding="utf-8"))
    return values


def test_reading_and_writing_changes_nothing(plain: dict[str, Any]) -> None:
    # Keys, their order, types and null values.
    written = json.loads(json_text(result_of(plain)))
    assert written == plain
    assert _keys(written) == _keys(plain)


def test_every_row_and_every_model_is_a_line(plain: dict[str, Any]) -> None:
    lines = json_text(result_of(plain)).splitlines()
    records = [line.strip().rstrip(",") for line in lines if line.startswith("    ")]
    models = [json.loads(f"{{{record}}}") for record in records[: len(plain["models"])]]
    assert models == [{name: model} for name, model in plain["models"].items()]
    assert [json.loads(record) for record in records[len(models) :]] == plain["rows"]
    # The other keys, and the brackets around everything, models and rows.
    assert len(lines) == len(records) + len(plain) + 4


@pytest.mark.parametrize("name", RUNS)
def test_committed_runs_are_in_the_format_that_is_written(name: str) -> None:
    path = RESULTS / f"{name}.json"
    assert path.read_text(encoding="utf-8") == json_text(read_result(path))


def test_a_run_and_its_files(tmp_path: Path) -> None:
    committed = read_run(RESULTS / "embedded-0.6.json")
    output = tmp_path / "run.json"
    write_run(committed, output, force=False)
    assert all(path.is_file() for path in files_of(output, force=True))
    again = read_run(output)
    assert again.result.data.predictions == "run.csv"
    assert again.result.rows == committed.result.rows
    assert again.predictions == committed.predictions
    with pytest.raises(FractureEdgeError, match="exists already"):
        write_run(committed, output, force=False)
    with pytest.raises(FractureEdgeError, match=r"must end in \.json"):
        write_run(committed, tmp_path / "run.txt", force=False)


def test_undefined_values_are_null(plain: dict[str, Any]) -> None:
    undefined = plain | {"trivial_baseline": None}
    result = result_of(undefined)
    assert not result.trivial_baseline.defined
    assert json.loads(json_text(result))["trivial_baseline"] is None


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            {"rows": [{"id": "edge/onnx int8"}]},
            r"run\.json: .*required field missing @ BenchmarkResult\.rows\[0\]",
        ),
        ({"trivial_baseline": {"value": 0.5}}, "required field missing"),
        ({"settings": None}, "BenchmarkResult.settings"),
    ],
)
def test_damaged_files_are_reported(change: dict[str, Any], message: str) -> None:
    plain = json.loads((RESULTS / "embedded-0.6.json").read_text(encoding="utf-8"))
    with pytest.raises(FractureEdgeError, match=message):
        result_of(plain | change, "run.json")


def test_a_run_before_it_is_written_names_no_file() -> None:
    run = read_run(RESULTS / "embedded-0.6.json")
    assert isinstance(run, Run)
    fresh = result_of(to_plain(run.result) | {"data": {**to_plain(run.result)["data"], "predictions": ""}})
    assert "predictions" not in to_plain(fresh)["data"]
