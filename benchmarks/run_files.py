"""Read and write the files of a run: results (JSON), per-image probabilities (CSV), report (Markdown and HTML).

A run that measured a model file can be brought up to date when the file changes, and its probabilities do not.
"""

import csv
import json
from collections.abc import Iterable, Mapping
from dataclasses import replace
from pathlib import Path

from benchmarks.predicted_parts import part_column
from benchmarks.quality import compare_with_source, quality
from benchmarks.records.measured_row import MeasuredRow
from benchmarks.records.result import BenchmarkResult, Run, read_result
from benchmarks.report.html import html
from benchmarks.report.markdown import markdown
from benchmarks.report.predictions import predictions_path, read_predictions
from fracture_edge.errors import FractureEdgeError
from fracture_edge.files import atomic_path, atomic_write_text, refuse_overwrite
from fracture_edge.modelfile import ModelInfo
from train.artifacts import sha256
from train.json_records import to_plain

_SUFFIXES = (".json", ".csv", ".md", ".html")


def files_of(output: Path, *, force: bool) -> tuple[Path, ...]:
    """Return the paths of the JSON, CSV, Markdown and HTML files of a run.

    Args:
        output: Path of the JSON file; the others have the same name with another suffix.
        force: Whether the files may exist already.

    Raises:
        FractureEdgeError: The name does not end in ``.json``, or one of the files exists.
    """
    if output.suffix != ".json":
        raise FractureEdgeError(f"{output}: the name must end in .json; .csv, .md and .html are written beside it")
    files = tuple(output.with_suffix(suffix) for suffix in _SUFFIXES)
    if not force:
        for file in files:
            refuse_overwrite(file)
    return files


def read_run(output: Path) -> Run:
    """Read a run that was written by `write_run`.

    Args:
        output: Path of the JSON file.

    Raises:
        FractureEdgeError: The JSON or CSV file cannot be read, or has another schema version.
    """
    result = read_result(output)
    try:
        with predictions_path(output, result).open(
            newline="", encoding="utf-8", errors="surrogateescape"
        ) as stream:
            predictions = list(csv.DictReader(stream))
    except OSError as error:
        raise FractureEdgeError(f"{error.filename}: {error.strerror}") from error
    return Run(result, predictions)


def write_run(run: Run, output: Path, *, force: bool) -> None:
    """Write the four files of a run.

    Args:
        run: Run to write.
        output: Path of the JSON file; the others are written beside it.
        force: Whether existing files may be replaced.

    Raises:
        FractureEdgeError: The name does not end in ``.json``, or one of the files exists.
    """
    json_path, csv_path, markdown_path, html_path = files_of(output, force=force)
    result = replace(run.result, data=replace(run.result.data, predictions=csv_path.name))
    with (
        atomic_path(csv_path, force=force) as path,
        path.open("w", newline="", encoding="utf-8", errors="surrogateescape") as stream,
    ):
        writer = csv.DictWriter(stream, run.predictions[0], lineterminator="\n")
        writer.writeheader()
        writer.writerows(run.predictions)
    atomic_write_text(json_path, json_text(result), force=force)
    write_report(result, csv_path, markdown_path, html_path, force=force)


def json_text(result: BenchmarkResult) -> str:
    """Format a result as JSON with one line per row and per model, so that diffs are readable."""
    plain = to_plain(result)
    texts = {name: _line(value) for name, value in plain.items()}
    models = (f"{_line(name)}: {_line(model)}" for name, model in plain["models"].items())
    texts |= {"models": _lines("{", models, "}"), "rows": _lines("[", map(_line, plain["rows"]), "]")}
    return "{\n" + ",\n".join(f"  {_line(name)}: {text}" for name, text in texts.items()) + "\n}\n"


def _lines(start: str, records: Iterable[str], end: str) -> str:
    return f"{start}\n    " + ",\n    ".join(records) + f"\n  {end}"


def _line(value: object) -> str:
    return json.dumps(value, allow_nan=False)


def write_report(
    result: BenchmarkResult, csv_path: Path, markdown_path: Path, html_path: Path, *, force: bool = False
) -> None:
    """Write the report as Markdown and as HTML.

    Args:
        result: Contents of ``RUN.json``.
        csv_path: Path of ``RUN.csv``, the probabilities of every image.
        markdown_path: Path of the Markdown file to write.
        html_path: Path of the HTML file to write.
        force: Whether existing files may be replaced.

    Raises:
        FractureEdgeError: The CSV belongs to another run, or a file exists.
    """
    if not force:
        refuse_overwrite(markdown_path)
        refuse_overwrite(html_path)
    page = html(result, read_predictions(csv_path))
    atomic_write_text(markdown_path, markdown(result), force=force)
    atomic_write_text(html_path, page, force=force)


def runs_of_file(paths: Iterable[Path], digest: str) -> dict[Path, Run]:
    """Read the benchmark runs that measured a file.

    Args:
        paths: Paths of ``RUN.json`` files.
        digest: SHA-256 of the file.

    Raises:
        FractureEdgeError: A run cannot be read, or see `rows_of_file`; the message names the run.
    """
    runs = {path: read_run(path) for path in paths}
    for path, run in runs.items():
        try:
            rows_of_file(run, digest)
        except FractureEdgeError as error:
            raise FractureEdgeError(f"{path}: {error}") from error
    return runs


def update_runs(runs: Mapping[Path, Run], old: str, model: Path, info: ModelInfo, *, parts: bool = True) -> None:
    """Write benchmark runs of a file that was written again, see `decide_again`.

    Args:
        runs: Runs by path, as `runs_of_file` returns them.
        old: SHA-256 of the file as it was.
        model: The file as it is.
        info: Its metadata.
        parts: Whether it predicts the same body parts.
    """
    for path, run in runs.items():
        write_run(decide_again(run, old, model, info, parts=parts), path, force=True)


def rows_of_file(run: Run, digest: str) -> list[MeasuredRow]:
    """Return the rows of a run that measured a file.

    Args:
        run: Run to search.
        digest: SHA-256 of the file.

    Raises:
        FractureEdgeError: No row measured the file, or its model also has rows of other files, which share its
            threshold.
    """
    names = {row.model for row in run.result.rows if row.sha256 == digest}
    rows = [row for row in run.result.rows if row.model in names]
    if not rows:
        raise FractureEdgeError(f"did not measure the file as it is (SHA-256 {digest[:12]})")
    if {row.sha256 for row in rows} != {digest}:
        raise FractureEdgeError(
            f"measured other files of {', '.join(sorted(names))} too, which have one threshold"
        )
    return rows


def decide_again(run: Run, old: str, model: Path, info: ModelInfo, *, parts: bool = True) -> Run:
    """Update a benchmark run for a file that was written again with the same probabilities.

    Predictions of its rows stay, and times with the checksum of the file that was timed; metrics that depend on
    threshold and band are computed again.

    Args:
        run: Run that measured the file as it was.
        old: SHA-256 of the file as it was.
        model: The file as it is.
        info: Its metadata.
        parts: Whether it predicts the same body parts; if not, those of the run are removed.

    Raises:
        FractureEdgeError: See `rows_of_file`.
    """
    rows, policy = rows_of_file(run, old), info.policy
    names = {row.model for row in rows}
    gone = set() if parts else {part_column(row.id) for row in rows}
    predictions = [{name: cell for name, cell in line.items() if name not in gone} for line in run.predictions]
    new = {
        row.id: replace(
            row,
            sha256=sha256(model),
            bytes=model.stat().st_size,
            timed_sha256=row.sha256_of_times,
            quality=row.quality
            and quality(predictions, row.id, policy.threshold, (policy.uncertain_low, policy.uncertain_high)),
            against_source=row.against_source
            and compare_with_source(predictions, row.against_source.source, row.id, policy.threshold),
        )
        for row in rows
    }
    models = {
        name: replace(
            described,
            threshold=policy.threshold,
            uncertain_low=policy.uncertain_low,
            uncertain_high=policy.uncertain_high,
        )
        if name in names
        else described
        for name, described in run.result.models.items()
    }
    result = replace(run.result, models=models, rows=tuple(new.get(row.id, row) for row in run.result.rows))
    return Run(result, predictions)
