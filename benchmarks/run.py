"""`fracture-edge benchmark`: the same images through every model in every format."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from benchmarks.benchmarked_model import BenchmarkedModel, about_image, data_of, model_of
from benchmarks.environment import environment
from benchmarks.predictions import answers
from benchmarks.quality import against, quality
from benchmarks.report.rows import RESULT_SCHEMA
from benchmarks.rows import BenchmarkRow, rows_of
from benchmarks.speed.speed import SpeedOptions, Speeds, measure_speed
from fracture_edge.errors import FractureEdgeError
from fracture_edge.machine import usable_cores
from fracture_edge.modelfile import POSITIVE_CLASS
from train.artifacts import trained_models
from train.data.batches import fingerprint, load_pixels
from train.data.dataset import ImageTable, read_splits
from train.evaluation.baseline import trivial_baseline
from train.evaluation.predictions import groups_of


@dataclass(frozen=True, slots=True, kw_only=True)
class BenchmarkOptions:
    """What to measure, on what.

    Attributes:
        artifacts: Folder of all artefacts.
        data: The data folder; that of the training when ``None``.
        splits: The split file; likewise.
        split: Which split judges: ``test``, or ``val`` while something is still being chosen.
        speed: How latency and memory are measured; ``None`` leaves them out.
        openvino: Whether OpenVINO is measured beside the others, where it is installed.
        rejected: Whether files that the export rejected are measured too.
    """

    artifacts: Path = Path("artifacts")
    data: Path | None = None
    splits: Path | None = None
    split: str = "test"
    speed: SpeedOptions | None = None
    openvino: bool = True
    rejected: bool = False


@dataclass(frozen=True, slots=True)
class Run:
    """What was measured.

    Attributes:
        result: The JSON, schema 2; ``benchmarks/report`` reads it.
        predictions: A row per image: path, label, group, what is known of it, and P(fractured) by row id.
    """

    result: dict[str, Any]
    predictions: list[dict[str, str]]


def benchmark(
    models: Sequence[str],
    options: BenchmarkOptions,
    *,
    before: Run | None = None,
    save: Callable[[Run], None] = lambda run: None,
) -> Run:
    """Measure models in all their formats, one model after the other.

    Args:
        models: Names of trained models, ``embedded``, or paths of exported files; all trained ones when empty.
        options: How.
        before: A run to go on with: the models that it holds are not measured again unless their files have
            changed since, and those that are not named stay in it.
        save: Is given what there is after each model, so that an interruption costs one model at most.

    Raises:
        FractureEdgeError: A model or the data cannot be found or read, or `before` was measured on other images or
            in another way.
    """
    names = list(dict.fromkeys(models)) or trained_models(options.artifacts)
    judged = [
        model_of(rows_of(name, options.artifacts, openvino=options.openvino, rejected=options.rejected))
        for name in names
    ]
    root, split_file = data_of(judged, options.data, options.splits)
    table = read_splits(root, split_file)
    part = table.where(options.split)
    if set(part.labels) != {0, 1}:
        raise FractureEdgeError(f"{split_file}: the {options.split} split lacks a class")
    seen = fingerprint(table)
    predictions = [
        {"path": item.path, "label": str(item.label), "group": item.group, **about_image(item)} for item in part
    ]
    result = {
        "schema_version": RESULT_SCHEMA,
        "created": datetime.now(UTC).isoformat(timespec="seconds"),
        "positive_class": POSITIVE_CLASS,
        "environment": environment(),
        "data": {
            "layout": table.layout,
            "split": options.split,
            "images": len(part),
            "fractured": sum(part.labels),
            "groups": len(set(groups_of(part))),
            "fingerprint": seen,
        },
        "trivial_baseline": trivial_baseline(table, options.split),
        "settings": _settings(options.speed),
        "harness": None,
        "models": {},
        "rows": [],
    }
    run = Run(result, predictions) if before is None else _taken_up(before, Run(result, predictions))
    for each in judged:
        if _is_measured(each, run):
            continue
        _forget(each.name, run)
        errors = _answer(each, part, run.predictions)
        speeds = _speeds(each, part, errors, options.speed)
        run.result["harness"] = run.result["harness"] or (speeds.harness if speeds else None)
        run.result["models"][each.name] = each.description | {"splits_of_training": seen == each.fingerprint}
        run.result["rows"] += [_row(row, each, run.predictions, errors.get(row.id), speeds) for row in each.rows]
        save(run)
    return run


def _taken_up(before: Run, fresh: Run) -> Run:
    """The run that `before` becomes when it is gone on with under the circumstances of `fresh`.

    Raises:
        FractureEdgeError: They are other circumstances.
    """
    data = {name: value for name, value in before.result["data"].items() if name != "predictions"}
    images = [line["path"] for line in before.predictions]
    same = (
        (data, fresh.result["data"], "other images"),
        (images, [line["path"] for line in fresh.predictions], "other images"),
        (before.result["settings"], fresh.result["settings"], "other settings"),
        (before.result["environment"], fresh.result["environment"], "another machine or other versions"),
    )
    for old, new, what in same:
        if old != new:
            raise FractureEdgeError(f"the run to go on with was measured with {what}; --force begins again")
    kept = {name: before.result[name] for name in ("harness", "models", "rows")}
    return Run(fresh.result | kept, before.predictions)


def _is_measured(each: BenchmarkedModel, run: Run) -> bool:
    """Whether `run` holds every file of a model as it is now."""
    held = {row["id"]: row["sha256"] for row in run.result["rows"]}
    return all(held.get(row.id) == row.sha256 for row in each.rows)


def _forget(name: str, run: Run) -> None:
    gone = {row["id"] for row in run.result["rows"] if row["model"] == name}
    run.result["rows"] = [row for row in run.result["rows"] if row["id"] not in gone]
    run.result["models"].pop(name, None)
    for line in run.predictions:
        for column in gone:
            line.pop(column, None)


def _answer(each: BenchmarkedModel, part: ImageTable, predictions: list[dict[str, str]]) -> dict[str, str]:
    """Add the answers of one model's rows to the predictions; by row id, why a row failed."""
    pixels = load_pixels(part, each.preprocessing, label=f"{each.name}: reading {part.items[0].split}")
    found, errors = answers(each.rows, pixels, threads=usable_cores())
    for row in each.rows:
        scores = found.get(row.id)
        for number, line in enumerate(predictions):
            line[row.id] = "" if scores is None else f"{scores[number]:.6f}"
    return errors


def _speeds(
    each: BenchmarkedModel, part: ImageTable, errors: dict[str, str], options: SpeedOptions | None
) -> Speeds | None:
    rows = [row for row in each.rows if row.id not in errors]
    if options is None or not rows:
        return None
    return measure_speed(rows, [part.file(item) for item in part], options)


def _row(
    row: BenchmarkRow,
    each: BenchmarkedModel,
    predictions: list[dict[str, str]],
    error: str | None,
    speeds: Speeds | None,
) -> dict[str, Any]:
    threshold, band = each.policy.threshold, (each.policy.uncertain_low, each.policy.uncertain_high)
    judged = None if error else quality(predictions, row.id, threshold, band)
    source = each.source
    compared = judged and source not in (None, row.id) and predictions[0][str(source)] != ""
    not_measured = {"speed": None, "first_answer_ms": None, "peak_memory_mb": None, "speed_error": None}
    return {
        "id": row.id,
        "model": row.model,
        "runtime": row.runtime,
        "format": row.format,
        "precision": row.precision,
        "file": row.file,
        "bytes": row.bytes,
        "sha256": row.sha256,
        "error": error,
        "gate": row.gate,
        "quality": judged,
        "against_source": against(predictions, str(source), row.id, threshold) if compared else None,
        **(speeds.rows.get(row.id, not_measured) if speeds else not_measured),
    }


def _settings(options: SpeedOptions | None) -> dict[str, Any]:
    if options is None:
        return {"runs": 0, "rounds": 0, "threads": [], "batches": [], "first_answers": 0}
    return {
        "runs": options.runs_a_turn * options.turns,
        "rounds": options.turns,
        "threads": list(options.threads),
        "batches": list(options.batches),
        "first_answers": options.first_answers,
    }
