"""Measure how often the gate changes its mind: `python -m export.stability artifacts/MODEL`.

The gate looks at the validation images and at a draw of training images. This draws other images in their place,
as many of each, from all that the calibration has left, and counts on how many draws each int8 file gets another
verdict than most draws give it. Writes ``benchmarks/results/stability/MODEL.json``.
"""

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import numpy.typing as npt
import typer

from benchmarks.runtimes.runners import runner_of
from benchmarks.studies.cost.stability_result import RESULTS, ModelStability, Stability
from export.gate import FIDELITY_IMAGES, compare, fidelity
from export.recipes import load_budgets
from fracture_edge.console import say
from fracture_edge.errors import FractureEdgeError
from train.artifacts import read_record
from train.export_record import read_manifest
from train.json_records import write_record

Floats = npt.NDArray[np.floating[Any]]
DRAWS = 200
#: Number of resamples of the interval of the change of sensitivity: one of its ends is compared with 0.
_RESAMPLES = 200


def stability(
    labels: Sequence[int], reference: Floats, exported: Floats, threshold: float, *, validation: int, budget: str
) -> Stability:
    """Judge one file on many draws of images.

    Args:
        labels: Labels of all images, 0 or 1, [N].
        reference: P(fractured) from Keras, [N].
        exported: P(fractured) from the file, [N].
        threshold: Frozen threshold on P(fractured).
        validation: Number of images in the place of the validation images.
        budget: Name of the bounds, a key of `export.recipes.load_budgets`.
    """
    bounds, accepted = load_budgets()[budget], 0
    truth = np.asarray(labels)
    for seed in range(DRAWS):
        rows = np.random.default_rng(seed).permutation(len(truth))
        own, others = rows[:validation], rows[validation:]
        # As `export.source.Source.outside_calibration` draws them.
        fractured = others[truth[others] == 1][: FIDELITY_IMAGES // 2]
        drawn = np.concatenate([fractured, others[~np.isin(others, fractured)]])[:FIDELITY_IMAGES]
        metrics = compare(
            truth[own].tolist(),
            [str(row) for row in own],
            reference[own],
            exported[own],
            threshold,
            resamples=_RESAMPLES,
        )
        both = np.concatenate([own, drawn])
        followed = fidelity(truth[both].tolist(), reference[both], exported[both], threshold)
        accepted += not bounds.broken(metrics, followed)
    share = accepted / DRAWS
    return Stability(len(truth), DRAWS, share, min(share, 1 - share))


def measure(folder: Path) -> ModelStability:
    """Judge all int8 files of a model on many draws.

    Args:
        folder: Folder of the exported model, ``artifacts/<model>``.
    """
    from export.conversion.convert import use_tensorflow

    use_tensorflow()
    import keras

    from export.source import read_source
    from train.evaluation.predict import predict

    source, record = read_source(folder), read_record(folder)
    files = {
        file: entry
        for file, entry in read_manifest(folder).files.items()
        if entry.precision == "int8" and entry.budget == "int8" and entry.calibration
    }
    drawn = next((entry.calibration for entry in files.values() if entry.calibration), None)
    if drawn is None:
        raise FractureEdgeError(
            f"{folder}: no int8 files; `fracture-edge export {record.model} --int8` makes them"
        )
    pixels, labels = source.outside_calibration(drawn.images, len(source.train), drawn.seed)
    pixels, labels = np.concatenate([source.validation(), pixels]), [*source.val.labels, *labels]
    reference = predict(keras.saving.load_model(folder / "model.keras", compile=False), pixels)
    found = {}
    for file, entry in files.items():
        say(f"{file}: {DRAWS} draws from {len(labels)} images")
        runner = runner_of(folder / file, threads=os.cpu_count() or 1)
        exported = np.concatenate([runner.probabilities(pixels[k : k + 16]) for k in range(0, len(pixels), 16)])
        found[file] = stability(
            labels, reference, exported, record.threshold, validation=len(source.val), budget=entry.budget
        )
    return ModelStability(record.model, len(source.val), found)


def main(
    folders: Annotated[
        list[Path], typer.Argument(metavar="ARTIFACTS/MODEL...", help="Folders of exported models.")
    ],
) -> None:
    """Count how often the gate changes its mind about int8 files, for the table of docs/formats.md."""
    for folder in folders:
        result = measure(folder)
        write_record(RESULTS / f"{result.model}.json", result)


if __name__ == "__main__":
    typer.run(main)
