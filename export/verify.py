"""Verification of exported files against their manifest, `fracture-edge export --verify`."""

from collections.abc import Mapping
from pathlib import Path

from export.gate import FIDELITY_IMAGES
from export.jobs import StepError, run_step, working_folder
from export.manifest import stale_reason
from export.options import CALIBRATION_IMAGES, Outcome
from export.recipes import Budget, load_budgets
from export.results import Compared, Prepared
from fracture_edge.errors import FractureEdgeError
from train.artifacts import read_record
from train.export_record import ExportEntry, read_manifest
from train.lock import exclusive_lock


def verify(
    folder: Path, *, data: Path | None = None, budgets: Mapping[str, Budget] | None = None
) -> list[Outcome]:
    """Check every accepted file of a manifest again: its checksum, its source, and the gate by running it.

    Args:
        folder: Folder of the model, ``artifacts/<model>``.
        data: Path of the data folder if it has moved since training.
        budgets: Budgets by precision, and by ``compressed``; the shipped ones if ``None``.

    Returns:
        An outcome for each accepted file, with the reason if the check fails.

    Raises:
        FractureEdgeError: The folder has no model or no exported files, or the data cannot be read.
    """
    record, manifest = read_record(folder), read_manifest(folder)
    files = {file: entry for file, entry in manifest.files.items() if not entry.broken}
    if not files:
        raise FractureEdgeError(
            f"{folder}: no exported files here; `fracture-edge export {folder.name}` makes them"
        )
    reasons = {file: stale_reason(folder, file, entry) for file, entry in files.items()}
    with exclusive_lock(folder), working_folder(folder.parent, folder.name) as work:
        # The first entry with a calibration records its images; float32 files are compared on those too.
        calibration = next((entry.calibration for entry in files.values() if entry.calibration), None)
        prepared, _ = run_step(
            "prepare",
            {
                "folder": str(folder),
                "work": str(work),
                "data": str(data) if data else None,
                "calibration_images": calibration.images if calibration else CALIBRATION_IMAGES,
                "seed": calibration.seed if calibration else 0,
                "compression": None,
                "training": False,
                "fidelity_images": FIDELITY_IMAGES,
                "learning_rate": 0.0,
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
        "format_name": entry.recipe,
        "file": str(path),
        "labels": prepared.labels,
        "groups": prepared.groups,
        "fidelity_labels": prepared.fidelity_labels if budgets[entry.budget].pooled else None,
        "threshold": threshold,
    }
    try:
        compared, _ = run_step("compare_with_keras", arguments, Compared)
    except StepError as error:
        return str(error)
    return "; ".join(budgets[entry.budget].broken(compared.gate, compared.fidelity))
