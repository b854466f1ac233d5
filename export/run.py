"""`fracture-edge export`: from ``artifacts/<model>/`` to files in every format, checked, and ``export.json``."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from export.attempts import _Export
from export.jobs import run_step, working_folder
from export.options import ExportOptions, Outcome
from export.recipes import Recipe
from fracture_edge.console import say
from fracture_edge.files import refuse_overwrite
from train.artifacts import read_manifest, read_record
from train.lock import alone

#: Fewer calibration images than this are said aloud: the ranges of rare activations are missed.
FEW_IMAGES = 200


def export_model(
    name: str, recipes: Sequence[Recipe], *, artifacts: Path, options: ExportOptions
) -> list[Outcome]:
    """Export one model in several formats; one that fails does not stop the others.

    Args:
        name: Of the model; its folder in `artifacts`.
        recipes: The formats.
        artifacts: Folder of all artefacts.
        options: How.

    Returns:
        An outcome for each recipe, in order.

    Raises:
        FractureEdgeError: No such trained model, its data cannot be read, or a file exists already.
    """
    folder = artifacts / name
    record = read_record(folder)
    stem = "-".join([name, *_variant(options.compression)])
    if not options.force:
        for recipe in recipes:
            refuse_overwrite(folder / recipe.file_name(stem))
    read_manifest(folder)
    with alone(folder), working_folder(artifacts, name) as work:
        say(f"{name}: reading images, answers of the Keras model" + (", compressing" * bool(options.compression)))
        prepared = run_step(
            "prepare",
            {
                "folder": str(folder),
                "work": str(work),
                "data": str(options.data) if options.data else None,
                "calibration_images": options.calibration_images,
                "seed": options.seed,
                "compression": dict(options.compression),
                "training": any(recipe.retrained for recipe in recipes),
            },
            quiet=False,
        )
        if prepared["calibration"]["images"] < FEW_IMAGES and any(recipe.calibrated for recipe in recipes):
            say(f"{name}: only {prepared['calibration']['images']} images to calibrate int8 with")
        export = _Export(folder, work, stem, record, prepared, options)
        return [export.produce(recipe) for recipe in recipes]


def _variant(compression: Mapping[str, Any]) -> list[str]:
    """What the name of a compressed model's files says: ``factorised64``, ``pruned80``, ``clustered16``."""
    words = []
    if rank := compression.get("rank"):
        words.append(f"factorised{rank}")
    if sparsity := compression.get("sparsity"):
        words.append(f"pruned{sparsity:.0%}".removesuffix("%"))
    if clusters := compression.get("clusters"):
        words.append(f"clustered{clusters}")
    return words
