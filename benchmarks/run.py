"""Measure every model in every format on the same images, for `fracture-edge benchmark`."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import numpy.typing as npt

from benchmarks.benchmarked_model import BenchmarkedModel, about_image, data_of, model_of
from benchmarks.predicted_parts import RUNTIMES, part_column, predicted_parts
from benchmarks.predictions import predict_rows
from benchmarks.quality import compare_with_source, quality
from benchmarks.records.environment import Environment
from benchmarks.records.measured_row import MeasuredRow
from benchmarks.records.result import RESULT_SCHEMA, BenchmarkData, BenchmarkResult, Run, Settings
from benchmarks.rows import BenchmarkRow, rows_of
from benchmarks.speed.speed import RowSpeed, SpeedOptions, Speeds, measure_speed
from fracture_edge.console import say
from fracture_edge.errors import FractureEdgeError
from fracture_edge.machine import usable_cores
from fracture_edge.modelfile import POSITIVE_CLASS
from train.artifacts import trained_models
from train.data.batches import fingerprint, load_pixels
from train.data.dataset import ImageTable, read_splits
from train.evaluation.baseline import trivial_baseline
from train.evaluation.metrics import UNDEFINED
from train.evaluation.predictions import groups_of

_NO_SPEED = Settings(runs=0, rounds=0, threads=(), batches=(), first_answers=0)


@dataclass(frozen=True, slots=True, kw_only=True)
class BenchmarkOptions:
    """Options of a benchmark.

    Attributes:
        artifacts: Folder of all artefacts.
        data: Data folder; ``None`` for that of the training run.
        splits: Split file; ``None`` for that of the training run.
        split: Split to evaluate on: ``test``, or ``val`` while anything is still being chosen.
        speed: Options of the latency and memory measurement; ``None`` skips it.
        openvino: Whether to measure OpenVINO as well, if it is installed.
        rejected: Whether to measure files that the export gate rejected as well.
    """

    artifacts: Path = Path("artifacts")
    data: Path | None = None
    splits: Path | None = None
    split: str = "test"
    speed: SpeedOptions | None = None
    openvino: bool = True
    rejected: bool = False


def benchmark(
    models: Sequence[str],
    options: BenchmarkOptions,
    *,
    before: Run | None = None,
    save: Callable[[Run], None] = lambda run: None,
) -> Run:
    """Measure models in all their formats, one model after the other.

    Args:
        models: Names of trained models, ``embedded``, or paths of exported files; empty for all trained models.
        options: Options of the benchmark.
        before: Earlier run to continue. Its models are measured again only if their files have changed; its models
            that are not in `models` are kept.
        save: Function that receives the run after each model, so that an interruption loses at most one model.

    Raises:
        FractureEdgeError: A model or the data cannot be found or read, or `before` was measured on other images,
            with other settings, or on another machine.
    """
    names = list(dict.fromkeys(models)) or trained_models(options.artifacts)
    selected = [
        model_of(rows_of(name, options.artifacts, openvino=options.openvino, rejected=options.rejected))
        for name in names
    ]
    if options.split == "val" and (seen := [each.name for each in selected if not each.has_validation]):
        raise FractureEdgeError(f"{seen[0]} was trained on its validation images too: use --split test")
    root, split_file = data_of(selected, options.data, options.splits)
    table = read_splits(root, split_file)
    part = table.where(options.split)
    if set(part.labels) != {0, 1}:
        raise FractureEdgeError(f"{split_file}: the {options.split} split lacks a class")
    fresh = _empty_run(table, part, options)
    run = fresh if before is None else _resume(before, fresh)
    for each in selected:
        if not _is_measured(each, run):
            run = _measure(each, part, _without(each.name, run), options.speed)
            save(run)
    return run


def _empty_run(table: ImageTable, part: ImageTable, options: BenchmarkOptions) -> Run:
    """Create a run without measurements that describes data, machine and settings."""
    baseline = trivial_baseline(table, options.split)
    result = BenchmarkResult(
        schema_version=RESULT_SCHEMA,
        created=datetime.now(UTC).isoformat(timespec="seconds"),
        positive_class=POSITIVE_CLASS,
        environment=Environment.here(),
        data=BenchmarkData(
            layout=table.layout,
            split=options.split,
            images=len(part),
            fractured=sum(part.labels),
            groups=len(set(groups_of(part))),
            fingerprint=fingerprint(table),
        ),
        trivial_baseline=baseline or UNDEFINED,
        settings=options.speed.settings if options.speed else _NO_SPEED,
        harness=None,
        models={},
        rows=(),
    )
    return Run(
        result,
        [{"path": item.path, "label": str(item.label), "group": item.group, **about_image(item)} for item in part],
    )


def _resume(before: Run, fresh: Run) -> Run:
    """Copy the measurements of `before` into `fresh`.

    Raises:
        FractureEdgeError: The two runs differ in images, settings or machine.
    """
    old, new = before.result, fresh.result
    images, these = ([line["path"] for line in run.predictions] for run in (before, fresh))
    same = (
        (replace(old.data, predictions="") == new.data, "other images"),
        (images == these, "other images"),
        (old.settings == new.settings, "other settings"),
        (old.environment == new.environment, "another machine or other versions"),
    )
    for alike, what in same:
        if not alike:
            raise FractureEdgeError(f"the run to resume was measured with {what}; use --force to start again")
    return Run(replace(new, harness=old.harness, models=old.models, rows=old.rows), before.predictions)


def _is_measured(each: BenchmarkedModel, run: Run) -> bool:
    """Return whether `run` contains every file of a model, measured and timed as it is."""
    held = {row.id: {row.sha256, row.sha256_of_times} for row in run.result.rows}
    return all(held.get(row.id) == {row.sha256} for row in each.rows)


def _without(name: str, run: Run) -> Run:
    """Remove a model from a run."""
    gone = {row.id for row in run.result.rows if row.model == name}
    columns = gone | {part_column(row) for row in gone}
    result = replace(
        run.result,
        models={other: model for other, model in run.result.models.items() if other != name},
        rows=tuple(row for row in run.result.rows if row.id not in gone),
    )
    return Run(
        result,
        [{column: cell for column, cell in line.items() if column not in columns} for line in run.predictions],
    )


def _measure(each: BenchmarkedModel, part: ImageTable, run: Run, options: SpeedOptions | None) -> Run:
    """Measure a model and add it to `run`, which must not contain it."""
    pixels = load_pixels(part, each.preprocessing, label=f"{each.name}: reading {part.items[0].split}")
    found, errors = predict_rows(each.rows, pixels, threads=usable_cores())
    columns = {row.id: [f"{score:.6f}" for score in found.get(row.id, ())] for row in each.rows}
    if not any(item.body_part for item in part):
        columns |= _predicted_parts([row for row in each.rows if row.id in found], pixels)
    predictions = [
        {**line, **{name: cells[number] if cells else "" for name, cells in columns.items()}}
        for number, line in enumerate(run.predictions)
    ]
    speeds = _speeds(each, part, errors, options)
    rows = [_row(row, each, predictions, errors.get(row.id), speeds.rows.get(row.id)) for row in each.rows]
    result = replace(
        run.result,
        harness=run.result.harness or speeds.harness,
        models={**run.result.models, each.name: each.describe(run.result.data.fingerprint)},
        rows=(*run.result.rows, *rows),
    )
    return Run(result, predictions)


def _predicted_parts(rows: Sequence[BenchmarkRow], pixels: npt.NDArray[np.uint8]) -> dict[str, list[str]]:
    """Predict the body parts of the images with each row that can, by the name of the column for them."""
    columns = {}
    for row in rows:
        if row.runtime not in RUNTIMES:
            continue
        try:
            parts = predicted_parts(row.path, pixels, threads=usable_cores())
        except FractureEdgeError as error:
            # Subgroups alone are lost.
            say(f"{row.id}: no body parts predicted: {error}")
            continue
        if parts:
            columns[part_column(row.id)] = parts
    return columns


def _speeds(
    each: BenchmarkedModel, part: ImageTable, errors: Mapping[str, str], options: SpeedOptions | None
) -> Speeds:
    rows = [row for row in each.rows if row.id not in errors]
    if options is None or not rows:
        return Speeds({}, None)
    return measure_speed(rows, [part.file(item) for item in part], options)


def _row(
    row: BenchmarkRow,
    each: BenchmarkedModel,
    predictions: Sequence[Mapping[str, str]],
    error: str | None,
    speed: RowSpeed | None,
) -> MeasuredRow:
    threshold, band = each.policy.threshold, (each.policy.uncertain_low, each.policy.uncertain_high)
    evaluated = None if error else quality(predictions, row.id, threshold, band)
    source = each.source
    compared = evaluated and source and source != row.id and predictions[0][source] != ""
    taken = speed or RowSpeed()
    return MeasuredRow(
        id=row.id,
        model=row.model,
        runtime=row.runtime,
        format=row.format,
        precision=row.precision,
        file=row.file,
        bytes=row.bytes,
        sha256=row.sha256,
        error=error,
        gate=row.gate,
        quality=evaluated,
        against_source=(
            compare_with_source(predictions, source, row.id, threshold) if compared and source else None
        ),
        speed=taken.speed,
        first_answer_ms=taken.first_answer_ms,
        peak_memory_mb=taken.peak_memory_mb,
        speed_error=taken.speed_error,
    )
