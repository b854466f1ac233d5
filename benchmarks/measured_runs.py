"""Bring benchmark runs up to date with a model file that has changed but gives the same probabilities."""

from dataclasses import replace
from pathlib import Path

from benchmarks.quality import compare_with_source, quality
from benchmarks.records.measured_row import MeasuredRow
from benchmarks.records.result import Run
from fracture_edge.errors import FractureEdgeError
from fracture_edge.modelfile import ModelInfo
from train.artifacts import sha256


def rows_of_file(run: Run, digest: str) -> list[MeasuredRow]:
    """Return the rows of a run that measured a file.

    Args:
        run: Run to search.
        digest: SHA-256 of the file.

    Raises:
        FractureEdgeError: There are none, or the model that they belong to has rows of other files, which keep
            their threshold.
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


def decide_again(run: Run, old: str, model: Path, info: ModelInfo) -> Run:
    """Bring a benchmark run up to date with a file whose metadata has changed.

    Predictions and times of its rows stay; metrics that depend on threshold and band are computed again.

    Args:
        run: Run that measured the file as it was.
        old: SHA-256 of the file as it was.
        model: The file as it is.
        info: Its metadata.

    Raises:
        FractureEdgeError: See `rows_of_file`.
    """
    rows, policy = rows_of_file(run, old), info.policy
    names = {row.model for row in rows}
    new = {
        row.id: replace(
            row,
            sha256=sha256(model),
            bytes=model.stat().st_size,
            quality=row.quality
            and quality(run.predictions, row.id, policy.threshold, (policy.uncertain_low, policy.uncertain_high)),
            against_source=row.against_source
            and compare_with_source(run.predictions, row.against_source.source, row.id, policy.threshold),
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
    return Run(result, run.predictions)
