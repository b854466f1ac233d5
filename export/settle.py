"""Settle the operating points of a finished model file by out-of-fold predictions, without training anything.

`python -m export.settle --predictions benchmarks/results/folds.csv --network "edge (deep)"`, in a checkout.

The predictions are those of cross-validated networks of the model's own recipe (`fracture-edge train --folds`):
many more images than a validation split has, each predicted by a network that was not trained on it. Only the
metadata of the file changes; the graph stays byte for byte what it was, and so does every P(fractured). Benchmark
runs that measured the file (``--run``) are brought up to date: their predictions and times stay, what depends on
threshold and band is computed again.
"""

import argparse
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import onnx

from benchmarks.run_files import runs_of_file, update_runs
from export.embed import write_checks
from fracture_edge.classifier import FractureClassifier
from fracture_edge.console import say
from fracture_edge.errors import FractureEdgeError
from fracture_edge.files import atomic_path
from fracture_edge.modelfile import OPERATING_POINTS, ModelInfo, embed_info
from fracture_edge.models import EMBEDDED_FILE
from train.artifacts import sha256
from train.evaluation.folded import FoldedPredictions, read_folded
from train.evaluation.operating_points import fit_operating_points
from train.json_records import to_plain
from train.runs.training_record import out_of_fold_metrics


def settled(info: ModelInfo, folded: FoldedPredictions, *, version: str) -> ModelInfo:
    """Return metadata with operating points that are fitted to out-of-fold predictions.

    Args:
        info: Metadata of the file.
        folded: Predictions of networks of the same recipe.
        version: Version of the new file; that of `info` if empty.
    """
    points = fit_operating_points(folded.labels, folded.probabilities, folded.groups, folds=folded.folds)
    policy = points[OPERATING_POINTS[0]].policy
    found = out_of_fold_metrics(folded.labels, folded.probabilities, policy, folds=len(set(folded.folds)))
    # What depends on the threshold that is no longer in the file goes.
    validation = {
        name: value
        for name, value in info.metrics.get("validation", {}).items()
        if name not in ("balanced_accuracy", "uncertain_share")
    }
    metrics = {"validation": validation} if validation else {}
    return replace(
        info,
        policy=policy,
        operating_points=to_plain(points),
        metrics={**metrics, "out_of_fold": to_plain(found)},
        version=version or info.version,
    )


def write_settled(model: Path, info: ModelInfo) -> None:
    """Write new metadata into an ONNX file, atomically.

    Raises:
        FractureEdgeError: The graph would not stay what it is.
    """
    before = onnx.load(model).graph.SerializeToString(deterministic=True)
    with atomic_path(model, force=True) as temporary:
        embed_info(model, info, temporary)
        if onnx.load(temporary).graph.SerializeToString(deterministic=True) != before:
            raise FractureEdgeError(f"{model}: the graph changed while the metadata was written")


def settle(
    model: Path, predictions: Path, *, network: str, version: str = "", runs: Sequence[Path] = ()
) -> ModelInfo:
    """Settle the operating points of a model file, and bring benchmark runs of it up to date.

    Args:
        model: ONNX file with fracture-edge metadata.
        predictions: CSV file of out-of-fold predictions, see `train.evaluation.folded`.
        network: Column of the predictions.
        version: Version of the new file; that of the old one if empty.
        runs: ``RUN.json`` files that measured the file.

    Returns:
        Metadata of the file as it is now.

    Raises:
        FractureEdgeError: A file cannot be read or used. Nothing is written in this case.
    """
    folded = read_folded(predictions, network)
    old = sha256(model)
    measured = runs_of_file(runs, old)
    info = settled(FractureClassifier(model, threads=1).info, folded, version=version)
    write_settled(model, info)
    if model.resolve() == EMBEDDED_FILE.resolve():
        write_checks(model)
    update_runs(measured, old, model, info)
    return info


def main() -> None:
    """Settle the operating points of the file given on the command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("model", type=Path, nargs="?", default=EMBEDDED_FILE, help="default: the embedded model")
    parser.add_argument("--predictions", type=Path, required=True, metavar="FOLDS.csv")
    parser.add_argument("--network", default="probability", help="column of P(fractured); default: probability")
    parser.add_argument("--model-version", default="", help="version of the new file")
    parser.add_argument(
        "--run", type=Path, action="append", default=[], metavar="RUN.json", help="benchmark of it"
    )
    given = parser.parse_args()
    try:
        info = settle(
            given.model, given.predictions, network=given.network, version=given.model_version, runs=given.run
        )
    except FractureEdgeError as error:
        parser.exit(1, f"error: {error}\n")
    for name, point in info.operating_points.items():
        say(
            f"{name}: threshold {point['threshold']:.4f}, uncertain from {point['uncertain_low']:.4f} to "
            f"{point['uncertain_high']:.4f}; nested, {point['nested']['uncertain_share']:.1%} uncertain"
        )
    print(given.model)


if __name__ == "__main__":
    main()
