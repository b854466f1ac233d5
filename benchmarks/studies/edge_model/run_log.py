"""A log of training runs: `python -m benchmarks.studies run-log artifacts/edge --what "..."` adds one.

Failures belong in it as much as the run that ships. What differs between runs is read from their records, not
typed in; only `--what` says in words what was tried.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any

import typer

from fracture_edge.errors import FractureEdgeError
from train.artifacts import read_record
from train.evaluation.formatting import interval, markdown_cell, markdown_table
from train.evaluation.metrics import Estimate
from train.evaluation.record import read_evaluation
from train.json_records import from_plain, read_json, write_record

app = typer.Typer(add_completion=False, rich_markup_mode=None)
#: As `train.trainer.callbacks` and `train.runs.run_folder` call them, which need Keras to be imported.
_STATE, _SETTINGS = "state.json", "run.json"
LOG = Path(__file__).resolve().parents[2] / "results" / "edge-runs.json"


@dataclass(frozen=True, slots=True)
class ValidationAuroc:
    """AUROC of the validation images; without an interval where a run was given up."""

    value: float
    low: float | None = None
    high: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class LoggedRun:
    """What the log says of one run.

    Attributes:
        what: What was tried, in words.
        created: Time of its end, ISO 8601, UTC.
        recipe: Recipe as it was trained, of this version or an older one.
        initial_weights: Initial weights, in words.
        seed: Seed of initialisation, order and augmentation.
        epochs: Number of epochs trained.
        kept_epoch: Epoch whose weights were kept, counted from 1; ``None`` where the run was given up.
        seconds: Duration of the run, in whole seconds.
        device: Device and backend, in words; ``None`` where the run was given up.
        data_fingerprint: Checksum of data and splits.
        validation_auroc: AUROC of the weights that were kept; of the last epoch where the run was given up.
    """

    what: str
    created: str
    recipe: Mapping[str, Any]
    initial_weights: str
    seed: int
    epochs: int
    kept_epoch: int | None
    seconds: int
    device: str | None
    data_fingerprint: str
    validation_auroc: ValidationAuroc


def entry_of(folder: Path, what: str) -> LoggedRun:
    """Read what the log says of one run.

    Args:
        folder: As `fracture-edge train` leaves it, or its unfinished one.
        what: What was tried, in words.

    Raises:
        FractureEdgeError: The folder holds no run.
    """
    if (folder / _STATE).is_file():
        return _given_up(folder, what)
    try:
        training, evaluation = read_record(folder), read_evaluation(folder, "val")
    except FractureEdgeError as error:
        raise FractureEdgeError(f"{folder}: no training run ({error})") from error
    auroc = evaluation.metrics["auroc"]
    return LoggedRun(
        what=what,
        created=training.created,
        recipe=training.recipe,
        initial_weights=training.initial_weights,
        seed=training.seed,
        epochs=training.epochs,
        kept_epoch=training.best_epoch,
        seconds=round(training.seconds),
        device=training.device,
        data_fingerprint=training.data.fingerprint,
        validation_auroc=ValidationAuroc(auroc.value, auroc.low, auroc.high),
    )


def _given_up(folder: Path, what: str) -> LoggedRun:
    """Read what there is of a run that was not finished."""
    settings = json.loads((folder / _SETTINGS).read_text(encoding="utf-8"))
    rows = json.loads((folder / _STATE).read_text(encoding="utf-8"))["rows"]
    ended = datetime.fromtimestamp((folder / _STATE).stat().st_mtime, UTC)
    return LoggedRun(
        what=what,
        created=ended.isoformat(timespec="seconds"),
        recipe=settings["recipe"],
        initial_weights=Path(settings["weights"]).name,
        seed=settings["seed"],
        epochs=len(rows),
        kept_epoch=None,
        seconds=round(sum(row["seconds"] for row in rows)),
        device=None,
        data_fingerprint=settings["data"],
        validation_auroc=ValidationAuroc(rows[-1]["val_auroc"]),
    )


def read_log(log: Path = LOG) -> list[LoggedRun]:
    """Read a log of runs.

    Raises:
        FractureEdgeError: There is none, or it is none.
    """
    return from_plain(list[LoggedRun], read_json(log), str(log))


def add(entry: LoggedRun, log: Path = LOG) -> list[LoggedRun]:
    """Add a run at the end of the log; one with the same time of creation is replaced.

    Returns:
        The log.
    """
    held = read_log(log) if log.is_file() else []
    runs = [run for run in held if run.created != entry.created] + [entry]
    runs.sort(key=lambda run: run.created)
    write_record(log, runs)
    return runs


def table_of(runs: Sequence[LoggedRun]) -> str:
    """Tabulate the log, as Markdown."""
    return markdown_table(
        ("run", "what", "input", "started from", "epochs (kept)", "minutes", "validation AUROC"),
        ([markdown_cell(cell) for cell in _cells(number, run)] for number, run in enumerate(runs, 1)),
    )


def _cells(number: int, run: LoggedRun) -> tuple[object, ...]:
    spec, auroc = run.recipe["preprocessing"], run.validation_auroc
    turned = ", upright" if spec.get("orientation") == "portrait" else ""
    if auroc.low is None or auroc.high is None:
        judged = f"{auroc.value:.3f}"
    else:
        judged = interval(Estimate(auroc.value, auroc.low, auroc.high))
    return (
        number,
        run.what,
        f"{spec['height']}x{spec['width']}{turned}",
        run.initial_weights,
        f"{run.epochs} ({run.kept_epoch})" if run.kept_epoch else f"{run.epochs}, given up",
        f"{run.seconds / 60:.0f}",
        judged,
    )


@app.command()
def run_log(
    folder: Annotated[
        Path, typer.Argument(metavar="ARTIFACTS/MODEL", help="What `fracture-edge train` left, finished or not.")
    ],
    what: Annotated[str, typer.Option(help="What was tried, in words.")],
    log: Annotated[Path, typer.Option(metavar="LOG.json", help="Log of runs.", show_default=False)] = LOG,
) -> None:
    """Add a training run to the log, and print the log as a table."""
    print(table_of(add(entry_of(folder, what), log)), end="")
