"""A log of training runs: `python -m benchmarks.studies run-log artifacts/edge --what "..."` adds one.

Failures belong in it as much as the run that ships. What differs between runs is read from their records, not
typed in; only `--what` says in words what was tried.
"""

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any

import typer

from fracture_edge.errors import FractureEdgeError
from fracture_edge.files import atomic_write_text
from train.evaluation.formatting import interval, markdown_cell

app = typer.Typer(add_completion=False, rich_markup_mode=None)
#: As `train.trainer.callbacks` and `train.runs.run_folder` call them, which need Keras to be imported.
_STATE, _SETTINGS = "state.json", "run.json"
LOG = Path(__file__).resolve().parents[2] / "results" / "edge-runs.json"


def entry_of(folder: Path, what: str) -> dict[str, Any]:
    """What the log says of one run.

    Args:
        folder: As `fracture-edge train` leaves it, or its unfinished one.
        what: What was tried, in words.

    Raises:
        FractureEdgeError: The folder holds no run.
    """
    if (folder / _STATE).is_file():
        return _given_up(folder, what)
    try:
        training = json.loads((folder / "training.json").read_text(encoding="utf-8"))
        judged = json.loads((folder / "evaluation-val.json").read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise FractureEdgeError(f"{folder}: no training run ({error})") from error
    return {
        "what": what,
        "created": training["created"],
        "recipe": training["recipe"],
        "initial_weights": training["initial_weights"],
        "seed": training["seed"],
        "epochs": training["epochs"],
        "kept_epoch": training["best_epoch"],
        "seconds": training["seconds"],
        "device": training["device"],
        "data_fingerprint": training["data"]["fingerprint"],
        "validation_auroc": judged["metrics"]["auroc"],
    }


def _given_up(folder: Path, what: str) -> dict[str, Any]:
    """Of a run that was not finished: the validation AUROC of its last epoch, without an interval."""
    settings = json.loads((folder / _SETTINGS).read_text(encoding="utf-8"))
    rows = json.loads((folder / _STATE).read_text(encoding="utf-8"))["rows"]
    ended = datetime.fromtimestamp((folder / _STATE).stat().st_mtime, UTC)
    return {
        "what": what,
        "created": ended.isoformat(timespec="seconds"),
        "recipe": settings["recipe"],
        "initial_weights": Path(settings["weights"]).name,
        "seed": settings["seed"],
        "epochs": len(rows),
        "kept_epoch": None,
        "seconds": round(sum(row["seconds"] for row in rows)),
        "device": None,
        "data_fingerprint": settings["data"],
        "validation_auroc": {"value": rows[-1]["val_auroc"]},
    }


def add(entry: dict[str, Any], log: Path = LOG) -> list[dict[str, Any]]:
    """Add a run at the end of the log; one with the same time of creation is replaced.

    Returns:
        The log.
    """
    held = json.loads(log.read_text(encoding="utf-8")) if log.is_file() else []
    runs = [run for run in held if run["created"] != entry["created"]] + [entry]
    runs.sort(key=lambda run: str(run["created"]))
    atomic_write_text(log, json.dumps(runs, indent=2) + "\n")
    return runs


def table_of(runs: list[dict[str, Any]]) -> str:
    """The log as a Markdown table."""
    lines = [
        "| run | what | input | started from | epochs (kept) | minutes | validation AUROC |",
        "| --- | --- | --- | --- | --- | --- | --- |",
    ]
    for number, run in enumerate(runs, 1):
        spec = run["recipe"]["preprocessing"]
        turned = ", upright" if spec.get("orientation") == "portrait" else ""
        done, auroc = run["epochs"], run["validation_auroc"]
        cells = (
            number,
            run["what"],
            f"{spec['height']}x{spec['width']}{turned}",
            run["initial_weights"],
            f"{done} ({run['kept_epoch']})" if run["kept_epoch"] else f"{done}, given up",
            f"{run['seconds'] / 60:.0f}",
            interval(auroc) if "low" in auroc else f"{auroc['value']:.3f}",
        )
        lines.append("| " + " | ".join(markdown_cell(cell) for cell in cells) + " |")
    return "\n".join(lines) + "\n"


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
