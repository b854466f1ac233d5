"""Find the files of an earlier export that the same options would make again: `export --resume` keeps them."""

from collections.abc import Sequence
from pathlib import Path

from export.gate import GATE_VERSION
from export.manifest import REJECTED, stale_reason
from export.options import ExportOptions, Outcome, has_heatmap, retraining
from export.recipes import CONVERSION_VERSION, Format, rungs_of
from fracture_edge.console import say
from train.artifacts import TrainingRecord
from train.export_record import ExportEntry, read_manifest


def finished(
    folder: Path, stem: str, formats: Sequence[Format], options: ExportOptions, record: TrainingRecord
) -> dict[str, Outcome]:
    """Return the outcomes of formats that an export with the same options has finished, by name of the format.

    A file is made again if the model, the gate or its settings have changed since, or if it was touched.

    Args:
        folder: Folder of the model, ``artifacts/<model>``.
        stem: First part of the file names.
        formats: Formats to export.
        options: Options of the export.
        record: Training record of the model.
    """
    files = read_manifest(folder).files
    counts = record.data.images["train"]
    found = {}
    for chosen in formats:
        name = chosen.file_name(stem)
        for file in (name, f"{REJECTED}/{name}"):
            entry = files.get(file)
            if (
                entry
                and not stale_reason(folder, file, entry)
                and same_settings(entry, chosen, options, counts.fractured + counts.not_fractured)
            ):
                say(f"{name}: {'rejected' if entry.broken else 'accepted'} before, kept")
                found[chosen.name] = Outcome(name, folder / file, "; ".join(entry.broken), entry)
    return found


def same_settings(entry: ExportEntry, chosen: Format, options: ExportOptions, training_images: int) -> bool:
    """Return whether a file was made and judged by the settings that an export would use now.

    Args:
        entry: Entry of the file.
        chosen: Format of the file.
        options: Options of the export.
        training_images: Number of training images; no more can be sampled for the calibration.
    """
    names = tuple(rung.name for rung in rungs_of(chosen, options.ladder))
    calibration = entry.calibration
    return (
        (entry.gate_version, entry.conversion_version) == (GATE_VERSION, CONVERSION_VERSION)
        and entry.heatmap == has_heatmap(chosen, options)
        and entry.compression == options.compression
        and (
            calibration is None
            or (calibration.seed, calibration.images)
            == (options.seed, min(options.calibration_images, training_images))
        )
        # A rejected file may pass by an attempt that there was not.
        and (not entry.rung or (set(names) <= set(entry.ladder) if entry.broken else entry.rung in names))
        and (entry.licence, entry.version) == (options.licence, options.version)
        and (entry.retrained is None or entry.retrained == retraining(options))
        and entry.broken == options.budgets[entry.budget].broken(entry.gate, entry.fidelity)
    )
