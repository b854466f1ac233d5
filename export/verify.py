"""`fracture-edge export --verify`: whether exported files are still what the manifest says, and still good."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from export.jobs import StepError, run_step, working_folder
from export.manifest import stale
from export.options import Outcome
from export.recipes import Budget, load_budgets
from fracture_edge.errors import FractureEdgeError
from train.artifacts import read_manifest, read_record
from train.lock import alone


def verify(
    folder: Path, *, data: Path | None = None, budgets: Mapping[str, Budget] | None = None
) -> list[Outcome]:
    """Check every file of a manifest again: checksums, source, and the gate's figures by running it.

    Args:
        folder: ``artifacts/<model>``.
        data: The data folder, where it is not the one of the training run any more.
        budgets: By precision, and ``compressed``; the shipped ones when ``None``.

    Returns:
        An outcome for each accepted file; a reason says what does not hold.

    Raises:
        FractureEdgeError: No model or no manifest there, or its data cannot be read.
    """
    record, manifest = read_record(folder), read_manifest(folder)
    files = {file: entry for file, entry in manifest["files"].items() if not entry["broken"]}
    if not files:
        raise FractureEdgeError(f"{folder}: nothing exported here; `fracture-edge export {folder.name}` does")
    reasons = {file: stale(folder, file, entry) for file, entry in files.items()}
    with alone(folder), working_folder(folder.parent, folder.name) as work:
        arguments = {"folder": str(folder), "work": str(work), "data": str(data) if data else None}
        # The first entry with calibration knows the draw; float32 is compared on those images too.
        drawn: dict[str, Any] = next((e["calibration"] for e in files.values() if "calibration" in e), {})
        arguments |= {"calibration_images": drawn.get("images", 256), "seed": drawn.get("seed", 0)}
        prepared = run_step("prepare", arguments | {"compression": {}, "training": False}, quiet=False)
        for file, entry in files.items():
            reasons[file] = reasons[file] or _judged_again(
                folder / file, entry, record, prepared, work, budgets or load_budgets()
            )
    return [Outcome(file, folder / file, reason) for file, reason in reasons.items()]


def _judged_again(
    path: Path,
    entry: Mapping[str, Any],
    record: dict[str, Any],
    prepared: dict[str, Any],
    work: Path,
    budgets: Mapping[str, Budget],
) -> str:
    arguments = {"work": str(work), "recipe": entry["recipe"], "file": str(path), "threshold": record["threshold"]}
    try:
        figures = run_step("judge", arguments | {name: prepared[name] for name in ("labels", "groups")})
    except StepError as error:
        return str(error)
    return "; ".join(budgets[entry["budget"]].broken(figures))
