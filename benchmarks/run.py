"""`fracture-edge benchmark`: the same images through every model in every format."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path

from benchmarks.benchmarked_model import BenchmarkedModel, about_image, data_of, model_of
from benchmarks.predictions import answers
from benchmarks.quality import against, quality
from benchmarks.records.environment import Environment
from benchmarks.records.measured_row import MeasuredRow
from benchmarks.records.result import RESULT_SCHEMA, BenchmarkData, BenchmarkResult, Run, Settings
from benchmarks.rows import BenchmarkRow, rows_of
from benchmarks.speed.speed import RowSpeed, SpeedOptions, Speeds, measure_speed
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
    """What to measure, on what.

    Attributes:
        artifacts: Folder of all artefacts.
        data: Data folder; that of the training when ``None``.
        splits: Split file; likewise.
        split: Name of the split that judges: ``test``, or ``val`` while something is still being chosen.
        speed: Way in which latency and memory are measured; ``None`` leaves them out.
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
    fresh = _begun(table, part, options)
    run = fresh if before is None else _taken_up(before, fresh)
    for each in judged:
        if not _is_measured(each, run):
            run = _measured(each, part, _without(each.name, run), options.speed)
            save(run)
    return run


def _begun(table: ImageTable, part: ImageTable, options: BenchmarkOptions) -> Run:
    """Describe the circumstances of a run in which nothing is measured yet."""
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


def _taken_up(before: Run, fresh: Run) -> Run:
    """Go on with `before` under the circumstances of `fresh`.

    Raises:
        FractureEdgeError: They are other circumstances.
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
            raise FractureEdgeError(f"the run to go on with was measured with {what}; --force begins again")
    return Run(replace(new, harness=old.harness, models=old.models, rows=old.rows), before.predictions)


def _is_measured(each: BenchmarkedModel, run: Run) -> bool:
    """Whether `run` holds every file of a model as it is now."""
    held = {row.id: row.sha256 for row in run.result.rows}
    return all(held.get(row.id) == row.sha256 for row in each.rows)


def _without(name: str, run: Run) -> Run:
    """Leave a model out of a run."""
    gone = {row.id for row in run.result.rows if row.model == name}
    result = replace(
        run.result,
        models={other: model for other, model in run.result.models.items() if other != name},
        rows=tuple(row for row in run.result.rows if row.id not in gone),
    )
    return Run(
        result,
        [{column: cell for column, cell in line.items() if column not in gone} for line in run.predictions],
    )


def _measured(each: BenchmarkedModel, part: ImageTable, run: Run, options: SpeedOptions | None) -> Run:
    """Measure a model that `run` does not hold, and add it."""
    pixels = load_pixels(part, each.preprocessing, label=f"{each.name}: reading {part.items[0].split}")
    found, errors = answers(each.rows, pixels, threads=usable_cores())
    predictions = [
        {**line, **{row.id: f"{found[row.id][number]:.6f}" if row.id in found else "" for row in each.rows}}
        for number, line in enumerate(run.predictions)
    ]
    speeds = _speeds(each, part, errors, options)
    rows = [_row(row, each, predictions, errors.get(row.id), speeds.rows.get(row.id)) for row in each.rows]
    result = replace(
        run.result,
        harness=run.result.harness or speeds.harness,
        models={**run.result.models, each.name: each.described(run.result.data.fingerprint)},
        rows=(*run.result.rows, *rows),
    )
    return Run(result, predictions)


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
    judged = None if error else quality(predictions, row.id, threshold, band)
    source = each.source
    compared = judged and source and source != row.id and predictions[0][source] != ""
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
        quality=judged,
        against_source=against(predictions, source, row.id, threshold) if compared and source else None,
        speed=taken.speed,
        first_answer_ms=taken.first_answer_ms,
        peak_memory_mb=taken.peak_memory_mb,
        speed_error=taken.speed_error,
    )
