"""Report of the changes between two runs: rows, metrics, conditions, and paired comparisons of predictions."""

import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np

from benchmarks.records.environment import Environment
from benchmarks.records.measured_row import MeasuredRow, PairedChange
from benchmarks.records.result import BenchmarkData, BenchmarkResult, ModelDescription, Settings, read_result
from benchmarks.report.cells import Cell, Line, Table
from benchmarks.report.predictions import Predictions, predictions_path, read_predictions
from benchmarks.report.rows import measured, speed_of
from benchmarks.report.tables import names_of, paired_cells
from benchmarks.speed.latency import Percentiles
from train.evaluation.formatting import NONE, markdown_cell, megabytes, milliseconds
from train.evaluation.metrics import Estimate
from train.evaluation.paired import compare_pairs
from train.json_records import to_plain

#: Medians of two runs on one machine differ by a few per cent; smaller ratios than this are not listed.
TIMING_NOISE = 1.1
_QUALITY = (
    "auroc",
    "accuracy",
    "precision",
    "recall",
    "specificity",
    "f1",
    "sensitivity_at_specificity_90",
    "ece",
)
_Part = BenchmarkData | Environment | Mapping[str, str] | ModelDescription | Settings


def changes(a: Path, b: Path) -> str:
    """Compare two runs.

    Args:
        a: Path of ``RUN.json`` of the earlier run, with its CSV beside it.
        b: Path of ``RUN.json`` of the later run, with its CSV beside it.

    Returns:
        Markdown with differences that make the runs incomparable, new and missing rows, every value that changed,
        and for rows of both runs the paired comparison of their predictions.

    Raises:
        FractureEdgeError: A file cannot be read, or has another schema version.
    """
    before, after = read_result(a), read_result(b)
    found = [*_circumstances(before, after), *_rows(before, after), *_figures(before, after)]
    pairs = _pairs(before, after, a, b)
    title = f"# From {markdown_cell(before.created)} (A) to {markdown_cell(after.created)} (B)"
    if not found and not pairs:
        return f"{title}\n\nNothing changed.\n"
    return "\n\n".join(part.rstrip("\n") for part in [title, *found, *pairs]) + "\n"


def _circumstances(before: BenchmarkResult, after: BenchmarkResult) -> list[str]:
    old, new = before.environment, after.environment
    data = list(_differing(before.data, after.data, without=("predictions",)))
    machine = list(_differing(old, new, without=("versions",)))
    machine += _differing(old.versions, new.versions)
    machine += _differing(before.settings, after.settings)
    models = [
        f"{name}: {difference}"
        for name, model in before.models.items()
        if name in after.models
        for difference in _differing(model, after.models[name], without=("history",))
    ]
    warnings = (
        ("**Not the same data: figures of quality cannot be compared.**", data),
        ("**Not the same machine, versions or settings: timings cannot be compared.**", machine),
        ("**Not the same models or thresholds: changes of quality are theirs, not those of a format.**", models),
    )
    return [
        "\n".join([warning, "", *(f"- {markdown_cell(line)}" for line in lines)])
        for warning, lines in warnings
        if lines
    ]


def _differing(before: _Part, after: _Part, *, without: tuple[str, ...] = ()) -> Iterator[str]:
    """Describe the values that differ between two records of the same type."""
    one: Mapping[str, object] = to_plain(before)
    other: Mapping[str, object] = to_plain(after)
    for name in dict.fromkeys((*one, *other)):
        old, new = one.get(name), other.get(name)
        if name not in without and old != new:
            yield f"{name}: {_word(old)}, now {_word(new)}"


def _word(value: object) -> str:
    return "none" if value is None else value if isinstance(value, str) else json.dumps(value)


def _rows(before: BenchmarkResult, after: BenchmarkResult) -> list[str]:
    old, new = ([row.id for row in result.rows] for result in (before, after))
    lists = (("New rows", [name for name in new if name not in old]), ("Gone", [n for n in old if n not in new]))
    return [f"{title}: {', '.join(map(markdown_cell, names))}." for title, names in lists if names]


def _figures(before: BenchmarkResult, after: BenchmarkResult) -> list[str]:
    lines = [
        Line((*names_of(new), *(Cell(text) for text in texts)))
        for old, new in _both(before.rows, after.rows)
        for texts in _changed(old, new)
    ]
    if not lines:
        return []
    table = Table(("model", "format", "figure", "A", "B", "change"), tuple(lines), names=2)
    note = f"Medians are listed where they differ by more than {TIMING_NOISE - 1:.0%}."
    return ["## Figures that changed", table.markdown(), note]


def _both(before: Sequence[MeasuredRow], after: Sequence[MeasuredRow]) -> list[tuple[MeasuredRow, MeasuredRow]]:
    old = {row.id: row for row in before}
    return [(old[row.id], row) for row in after if row.id in old]


def _changed(old: MeasuredRow, new: MeasuredRow) -> Iterator[tuple[str, str, str, str]]:
    """Yield name, both values and their change for everything in a row that changed."""
    states = (
        ("error", old.error, new.error),
        ("speed error", old.speed_error, new.speed_error),
        ("gate", old.gate, new.gate),
    )
    for name, one, other in states:
        if one != other:
            yield name, _word(one), _word(other), ""
    if old.sha256 != new.sha256:
        yield "file (sha256)", old.sha256[:12], new.sha256[:12], ""
    if old.bytes != new.bytes:
        yield "MB", megabytes(old.bytes), megabytes(new.bytes), _ratio(old.bytes, new.bytes)
    if old.quality and new.quality:
        for name in _QUALITY:
            yield from _quality(name, old.quality.metrics[name], new.quality.metrics[name])
    for name, before, after in _medians(old, new):
        if before and after and max(before, after) > TIMING_NOISE * min(before, after):
            yield name, milliseconds(before), milliseconds(after), _ratio(before, after)


def _quality(name: str, old: Estimate, new: Estimate) -> Iterator[tuple[str, str, str, str]]:
    if old.value != new.value and (old.defined or new.defined):
        before, after = (f"{each.value:.4f}" if each.defined else NONE for each in (old, new))
        difference = f"{new.value - old.value:+.4f}" if old.defined and new.defined else ""
        yield name.replace("_", " "), before, after, difference


def _medians(old: MeasuredRow, new: MeasuredRow) -> Iterator[tuple[str, float | None, float | None]]:
    for threads in sorted({int(number) for row in (old, new) for number in row.speed or {}}):
        one, other = speed_of(old, threads), speed_of(new, threads)
        yield (
            f"inference p50 ms, threads: {threads}",
            _median(one.inference_ms if one else None),
            _median(other.inference_ms if other else None),
        )
        yield (
            f"file to decision p50 ms, threads: {threads}",
            _median(one.file_to_decision_ms if one else None),
            _median(other.file_to_decision_ms if other else None),
        )
    yield "first answer p50 ms", _median(old.first_answer_ms), _median(new.first_answer_ms)
    yield "peak memory MB", old.peak_memory_mb, new.peak_memory_mb


def _median(percentiles: Percentiles | None) -> float | None:
    return percentiles.p50 if percentiles else None


def _ratio(old: float, new: float) -> str:
    return f"x {new / old:.2f}"


def _pairs(before: BenchmarkResult, after: BenchmarkResult, a: Path, b: Path) -> list[str]:
    files = [predictions_path(path, result) for path, result in ((a, before), (b, after))]
    if missing := [file.name for file in files if not file.is_file()]:
        return [f"{', '.join(missing)} is not beside its JSON, so no row can be compared in pairs."]
    one, other = map(read_predictions, files)
    order = _same_images(one, other)
    if order is None:
        return ["The images are not the same ones, so no row can be compared in pairs."]
    lines = []
    for _, row in _both(measured(before), measured(after)):
        old, new = one.columns.get(row.id), other.columns.get(row.id)
        if old is None or new is None or np.array_equal(old, new[order]):
            continue
        threshold = before.models[row.model].threshold
        found = compare_pairs(one.labels.tolist(), one.groups, old, new[order], threshold)
        lines.append(Line((*names_of(row), *paired_cells(PairedChange.of(row.id, found)))))
    if not lines:
        return []
    columns = (
        *("model", "format", "same decision", "mean / largest difference of P", "AUROC, change"),
        *("sensitivity, change", "specificity, change", "only A / only B right", "McNemar p"),
    )
    note = "Both at the threshold of A. Rows that are not listed give every image the same probability."
    return ["## The same images in pairs", Table(columns, tuple(lines), names=2).markdown(), note]


def _same_images(one: Predictions, other: Predictions) -> list[int] | None:
    """Return the indices in `other` of the images of `one`, or ``None`` if images or labels differ."""
    place = {path: number for number, path in enumerate(other.paths)}
    if place.keys() != set(one.paths) or len(one.paths) != len(other.paths):
        return None
    order = [place[path] for path in one.paths]
    return order if np.array_equal(one.labels, other.labels[order]) else None
