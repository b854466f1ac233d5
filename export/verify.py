"""`fracture-edge export --verify`: whether exported files are still what the manifest says, and still good."""

from collections.abc import Mapping
from pathlib import Path

from export.jobs import StepError, run_step, working_folder
from export.manifest import stale
from export.options import CALIBRATION_IMAGES, Outcome
from export.recipes import Budget, load_budgets
from export.results import Prepared
from fracture_edge.errors import FractureEdgeError
from train.artifacts import read_record
from train.export_record import ExportEntry, GateMetrics, read_manifest
from train.lock import exclusive_lock


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
    files = {file: entry for file, entry in manifest.files.items() if not entry.broken}
    if not files:
        raise FractureEdgeError(f"{folder}: nothing exported here; `fracture-edge export {folder.name}` does")
    reasons = {file: stale(folder, file, entry) for file, entry in files.items()}
    with exclusive_lock(folder), working_folder(folder.parent, folder.name) as work:
        # The first entry with a calibration knows its images; float32 is compared on those too.
        drawn = next((entry.calibration for entry in files.values() if entry.calibration), None)
        prepared, _ = run_step(
            "prepare",
            {
                "folder": str(folder),
                "work": str(work),
                "data": str(data) if data else None,
                "calibration_images": drawn.images if drawn else CALIBRATION_IMAGES,
                "seed": drawn.seed if drawn else 0,
                "compression": None,
                "training": False,
            },
            Prepared,
            quiet=False,
        )
        for file, entry in files.items():
            reasons[file] = reasons[file] or _compared_again(
                folder / file, entry, record.threshold, prepared, work, budgets or load_budgets()
            )
    return [Outcome(file, folder / file, reason) for file, reason in reasons.items()]


def _compared_again(
    path: Path,
    entry: ExportEntry,
    threshold: float,
    prepared: Prepared,
    work: Path,
    budgets: Mapping[str, Budget],
) -> str:
    arguments = {
        "work": str(work),
        "recipe": entry.recipe,
        "file": str(path),
        "labels": prepared.labels,
        "groups": prepared.groups,
        "threshold": threshold,
    }
    try:
        gate, _ = run_step("compare_with_keras", arguments, GateMetrics)
    except StepError as error:
        return str(error)
    return "; ".join(budgets[entry.budget].broken(gate))
