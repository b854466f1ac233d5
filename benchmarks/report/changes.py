"""What changed between two runs: rows, figures, circumstances, and the same images in pairs."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.report.cells import Cell, Line, Table
from benchmarks.report.predictions import Predictions, predictions_path, read_predictions
from benchmarks.report.rows import Row, check_schema, latency, measured
from benchmarks.report.tables import names_of, paired_cells
from fracture_edge.errors import FractureEdgeError
from train.evaluation.formatting import NONE, markdown_cell, megabytes, milliseconds
from train.evaluation.paired import compare_pairs

#: Medians of two runs on one machine differ by some per cent; less than this ratio is not listed.
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


def changes(a: Path, b: Path) -> str:
    """Compare two runs.

    Args:
        a: ``RUN.json`` of the earlier run, its CSV beside it.
        b: Of the later one.

    Returns:
        Markdown: what is new and gone, whether the two can be compared at all, every figure that changed, and for
        rows of both runs the paired comparison of their probabilities.

    Raises:
        FractureEdgeError: A file cannot be read, or is of another schema.
    """
    before, after = _read(a), _read(b)
    found = [*_circumstances(before, after), *_rows(before, after), *_figures(before, after)]
    pairs = _pairs(before, after, a, b)
    title = f"# From {markdown_cell(before['created'])} (A) to {markdown_cell(after['created'])} (B)"
    if not found and not pairs:
        return f"{title}\n\nNothing changed.\n"
    return "\n\n".join(part.rstrip("\n") for part in [title, *found, *pairs]) + "\n"


def _read(path: Path) -> dict[str, Any]:
    try:
        result: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise FractureEdgeError(f"{path}: {error.strerror}") from error
    except ValueError as error:
        raise FractureEdgeError(f"{path}: not JSON ({error}); give the RUN.json of a benchmark") from error
    if not isinstance(result, dict):
        raise FractureEdgeError(f"{path}: not the RUN.json of a benchmark")
    check_schema(result)
    return result


def _circumstances(before: dict[str, Any], after: dict[str, Any]) -> list[str]:
    data = list(_differing(before["data"], after["data"], without=("predictions",)))
    machine = list(_differing(before["environment"], after["environment"], without=("versions",)))
    machine += _differing(before["environment"]["versions"], after["environment"]["versions"])
    machine += _differing(before["settings"], after["settings"])
    models = [
        f"{name}: {difference}"
        for name in before["models"]
        if name in after["models"]
        for difference in _differing(before["models"][name], after["models"][name], without=("history",))
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


def _differing(before: dict[str, Any], after: dict[str, Any], *, without: tuple[str, ...] = ()) -> Iterator[str]:
    for name in dict.fromkeys((*before, *after)):
        old, new = before.get(name), after.get(name)
        if name not in without and old != new:
            yield f"{name}: {_word(old)}, now {_word(new)}"


def _word(value: object) -> str:
    return "none" if value is None else value if isinstance(value, str) else json.dumps(value)


def _rows(before: dict[str, Any], after: dict[str, Any]) -> list[str]:
    old, new = ([row["id"] for row in result["rows"]] for result in (before, after))
    lists = (("New rows", [name for name in new if name not in old]), ("Gone", [n for n in old if n not in new]))
    return [f"{title}: {', '.join(map(markdown_cell, names))}." for title, names in lists if names]


def _figures(before: dict[str, Any], after: dict[str, Any]) -> list[str]:
    lines = [
        Line((*names_of(new), *(Cell(text) for text in texts)))
        for old, new in _both(before["rows"], after["rows"])
        for texts in _changed(old, new)
    ]
    if not lines:
        return []
    table = Table(("model", "format", "figure", "A", "B", "change"), tuple(lines), names=2)
    note = f"Medians are listed where they differ by more than {TIMING_NOISE - 1:.0%}."
    return ["## Figures that changed", table.markdown(), note]


def _both(before: list[Row], after: list[Row]) -> list[tuple[Row, Row]]:
    old = {row["id"]: row for row in before}
    return [(old[row["id"]], row) for row in after if row["id"] in old]


def _changed(old: Row, new: Row) -> Iterator[tuple[str, str, str, str]]:
    """Name, both values and their change, of everything in a row that changed."""
    for name in ("error", "speed_error", "gate"):
        if old[name] != new[name]:
            yield name.replace("_", " "), _word(old[name]), _word(new[name]), ""
    if old["sha256"] != new["sha256"]:
        yield "file (sha256)", old["sha256"][:12], new["sha256"][:12], ""
    if old["bytes"] != new["bytes"]:
        yield "MB", megabytes(old["bytes"]), megabytes(new["bytes"]), _ratio(old["bytes"], new["bytes"])
    if old["quality"] and new["quality"]:
        for name in _QUALITY:
            yield from _quality(name, old["quality"]["metrics"][name], new["quality"]["metrics"][name])
    for name, one, other in _medians(old, new):
        if one and other and max(one, other) > TIMING_NOISE * min(one, other):
            yield name, milliseconds(one), milliseconds(other), _ratio(one, other)


def _quality(
    name: str, old: dict[str, float] | None, new: dict[str, float] | None
) -> Iterator[tuple[str, str, str, str]]:
    before, after = (each["value"] if each else None for each in (old, new))
    if before != after:
        texts = [NONE if value is None else f"{value:.4f}" for value in (before, after)]
        difference = "" if before is None or after is None else f"{after - before:+.4f}"
        yield name.replace("_", " "), texts[0], texts[1], difference


def _medians(old: Row, new: Row) -> Iterator[tuple[str, float | None, float | None]]:
    for threads in sorted({*(old["speed"] or {}), *(new["speed"] or {})}, key=int):
        one, other = (_median(latency(row, int(threads))) for row in (old, new))
        yield f"inference p50 ms, threads: {threads}", one, other
        one, other = (
            _median(((row["speed"] or {}).get(threads) or {}).get("file_to_decision_ms")) for row in (old, new)
        )
        yield f"file to decision p50 ms, threads: {threads}", one, other
    yield "first answer p50 ms", _median(old["first_answer_ms"]), _median(new["first_answer_ms"])
    yield "peak memory MB", old["peak_memory_mb"], new["peak_memory_mb"]


def _median(percentiles: dict[str, float] | None) -> float | None:
    return percentiles["p50"] if percentiles else None


def _ratio(old: float, new: float) -> str:
    return f"x {new / old:.2f}"


def _pairs(before: dict[str, Any], after: dict[str, Any], a: Path, b: Path) -> list[str]:
    files = [predictions_path(path, result) for path, result in ((a, before), (b, after))]
    if missing := [file.name for file in files if not file.is_file()]:
        return [f"{', '.join(missing)} is not beside its JSON, so no row can be compared in pairs."]
    one, other = map(read_predictions, files)
    order = _same_images(one, other)
    if order is None:
        return ["The images are not the same ones, so no row can be compared in pairs."]
    lines = []
    for _, row in _both(measured(before), measured(after)):
        old, new = one.columns.get(row["id"]), other.columns.get(row["id"])
        if old is None or new is None or np.array_equal(old, new[order]):
            continue
        threshold = before["models"][row["model"]]["threshold"]
        paired = compare_pairs(one.labels.tolist(), one.groups, old, new[order], threshold).to_json()
        lines.append(Line((*names_of(row), *paired_cells(paired))))
    if not lines:
        return []
    columns = (
        *("model", "format", "same decision", "mean / largest difference of P", "AUROC, change"),
        *("sensitivity, change", "specificity, change", "only A / only B right", "McNemar p"),
    )
    note = "Both at the threshold of A. Rows that are not listed give every image the same probability."
    return ["## The same images in pairs", Table(columns, tuple(lines), names=2).markdown(), note]


def _same_images(one: Predictions, other: Predictions) -> list[int] | None:
    """Where in `other` the images of `one` are, or ``None`` when images or labels are not the same."""
    place = {path: number for number, path in enumerate(other.paths)}
    if place.keys() != set(one.paths) or len(one.paths) != len(other.paths):
        return None
    order = [place[path] for path in one.paths]
    return order if np.array_equal(one.labels, other.labels[order]) else None
