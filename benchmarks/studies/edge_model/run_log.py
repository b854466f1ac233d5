"""Log of training runs: `python -m benchmarks.studies run-log artifacts/edge --what "..."` adds one.

Failed attempts belong in it just like the run that ships. All values are read from the records of the runs; only
`--what` is entered by hand.
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
#: File names as in `train.trainer.callbacks` and `train.runs.run_folder`, which cannot be imported without Keras.
_STATE, _SETTINGS = "state.json", "run.json"
LOG = Path(__file__).resolve().parents[2] / "results" / "edge-runs.json"


@dataclass(frozen=True, slots=True)
class ValidationAuroc:
    """AUROC of the validation images; without an interval if the run was stopped before its end."""

    value: float
    low: float | None = None
    high: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class LoggedRun:
    """Entry of the log.

    Attributes:
        what: Description of the experiment.
        created: Time of the end of the run, ISO 8601, UTC.
        recipe: Recipe that was trained, of this version or an older one.
        initial_weights: Initial weights, in words.
        seed: Random seed of initialisation, order and augmentation.
        epochs: Number of epochs trained.
        kept_epoch: Epoch whose weights were kept, counted from 1; ``None`` if the run was stopped before its end.
        seconds: Duration of the run, in seconds, rounded.
        device: Device and backend, in words; ``None`` if the run was stopped before its end.
        data_fingerprint: Checksum of data and splits.
        validation_auroc: AUROC of the weights that were kept, or of the last epoch if the run was stopped before
            its end.
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
    """Create the log entry of a run.

    Args:
        folder: Folder of a model trained by `fracture-edge train`, or of an unfinished run.
        what: Description of the experiment.

    Raises:
        FractureEdgeError: The folder contains no run.
    """
    if (folder / _STATE).is_file():
        return _unfinished(folder, what)
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


def _unfinished(folder: Path, what: str) -> LoggedRun:
    """Create the log entry of an unfinished run."""
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
        FractureEdgeError: The file does not exist or is not a log.
    """
    return from_plain(list[LoggedRun], read_json(log), str(log))


def add(entry: LoggedRun, log: Path = LOG) -> list[LoggedRun]:
    """Add a run to the log; a run with the same time of creation is replaced.

    Args:
        entry: Run to add.
        log: Path of the log; created if it does not exist.

    Returns:
        All runs of the log, ordered by time of creation.
    """
    held = read_log(log) if log.is_file() else []
    runs = [run for run in held if run.created != entry.created] + [entry]
    runs.sort(key=lambda run: run.created)
    write_record(log, runs)
    return runs


def table_of(runs: Sequence[LoggedRun]) -> str:
    """Render the log as a Markdown table."""
    return markdown_table(
        ("run", "what", "input", "started from", "epochs (kept)", "minutes", "validation AUROC"),
        ([markdown_cell(cell) for cell in _cells(number, run)] for number, run in enumerate(runs, 1)),
    )


def _cells(number: int, run: LoggedRun) -> tuple[object, ...]:
    spec, auroc = run.recipe["preprocessing"], run.validation_auroc
    turned = ", upright" if spec.get("orientation") == "portrait" else ""
    if auroc.low is None or auroc.high is None:
        validation = f"{auroc.value:.3f}"
    else:
        validation = interval(Estimate(auroc.value, auroc.low, auroc.high))
    return (
        number,
        run.what,
        f"{spec['height']}x{spec['width']}{turned}",
        run.initial_weights,
        f"{run.epochs} ({run.kept_epoch})" if run.kept_epoch else f"{run.epochs}, given up",
        f"{run.seconds / 60:.0f}",
        validation,
    )


@app.command()
def run_log(
    folder: Annotated[
        Path, typer.Argument(metavar="ARTIFACTS/MODEL", help="Folder of a training run, finished or not.")
    ],
    what: Annotated[str, typer.Option(help="Description of the experiment.")],
    log: Annotated[Path, typer.Option(metavar="LOG.json", help="Log of runs.", show_default=False)] = LOG,
) -> None:
    """Add a training run to the log, and print the log as a table."""
    print(table_of(add(entry_of(folder, what), log)), end="")
