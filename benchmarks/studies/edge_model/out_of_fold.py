"""Check of operating points from out-of-fold predictions: `python -m benchmarks.studies out-of-fold`.

A model's operating points may be settled by predictions of cross-validated networks of its recipe, not by its own.
Three questions about that, none of which looks at the test split:

- Are both on one scale? Log-odds, calibration and decisions are compared on the validation images, unless the
  model is a final one (`train --final`), which was trained on them.
- How do the decisions differ between body parts? Each fold is decided by a point that is fitted to the others.
- Would a calibration that knows the body part help? Its log loss is compared with that of one that does not, each
  fitted to all folds but one and judged on that one.
"""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import numpy.typing as npt
import typer
from scipy.special import logit
from sklearn.linear_model import LogisticRegression

from benchmarks.studies.edge_model.out_of_fold_result import (
    OutOfFold,
    PartRow,
    Scale,
    describe_scale,
    table_of_costs,
    table_of_parts,
)
from fracture_edge.classifier import FractureClassifier
from fracture_edge.errors import FractureEdgeError
from fracture_edge.policy import Policy
from train.artifacts import DecidedMetrics
from train.cli.options import DataOption, SplitsOption
from train.data.batches import load_pixels
from train.data.dataset import ImageTable, read_splits
from train.evaluation import bootstrap
from train.evaluation.bootstrap import Floats, Roc
from train.evaluation.decided import decided_metrics, decisions
from train.evaluation.folded import FoldedPredictions, read_folded
from train.evaluation.metrics import Estimate, auroc, basic, percentile
from train.evaluation.operating_points import DEFAULT, RULES, Aim, fit_operating_points, nested_decisions, raised
from train.json_records import write_record

app = typer.Typer(add_completion=False, rich_markup_mode=None)
#: Body parts of FracAtlas; an image may show several.
PARTS = ("hand", "leg", "hip", "shoulder")
SEVERAL = "several"
#: Figures whose cost in uncertain images is measured.
WANTED = (0.80, 0.85, 0.90, 0.95)
_RESAMPLES = 2000
#: The predictions have six decimals.
_CLIP = 1e-6


def compare_scale(
    labels: npt.NDArray[np.bool_], groups: list[str], model: Floats, folded: Floats, policy: Policy
) -> Scale:
    """Compare P(fractured) of a model and of the cross-validated networks for the same images.

    Args:
        labels: Whether each image is fractured, [N].
        groups: Group of each image, [N].
        model: P(fractured) of the model, [N].
        folded: P(fractured) out of fold, [N].
        policy: Default operating point.
    """
    own, other = (logit(np.clip(values, _CLIP, 1 - _CLIP)) for values in (model, folded))

    def statistics(weights: Floats) -> Mapping[str, Any]:
        first, second = (Roc.of(labels, values, weights).area() for values in (model, folded))
        return {
            "auroc": first,
            "auroc_out_of_fold": second,
            "auroc_change": first - second,
            "shift": bootstrap.mean(own - other, weights),
            "spread": _deviation(own, weights) / _deviation(other, weights),
            "ece": bootstrap.calibration_error(labels, model, weights),
            "ece_out_of_fold": bootstrap.calibration_error(labels, folded, weights),
        }

    values = statistics(np.ones((1, len(labels))))
    samples = bootstrap.resampled(statistics, labels, groups, resamples=_RESAMPLES, seed=0)
    found = {
        name: (basic if name.startswith("ece") else percentile)(float(value[0]), samples[name])
        for name, value in values.items()
    }
    return Scale(
        images=len(labels),
        fractured=int(labels.sum()),
        **found,
        decided=decided_metrics(labels, decisions(model, policy), groups),
        decided_out_of_fold=decided_metrics(labels, decisions(folded, policy), groups),
    )


def _deviation(values: Floats, weights: Floats) -> Floats:
    return np.asarray(np.sqrt(bootstrap.mean(values**2, weights) - bootstrap.mean(values, weights) ** 2))


def decide_parts(folded: FoldedPredictions, parts: list[str]) -> dict[str, PartRow]:
    """Decide the images of each body part by the default operating point of the other folds.

    Args:
        folded: Out-of-fold predictions.
        parts: Body parts of each image, joined by ``+``, [N].
    """
    every, folds = np.array(folded.labels), np.array(folded.folds)
    points = fit_operating_points(folded.labels, folded.probabilities, folded.groups, folds=folded.folds)
    rule = raised(RULES[DEFAULT], points[DEFAULT])
    decided = nested_decisions(rule, every, folded.probabilities, folds)
    rows = {}
    for name in (*PARTS, SEVERAL):
        members = np.array([part == name or (name == SEVERAL and "+" in part) for part in parts])
        if members.any():
            labels, groups = every[members], [folded.groups[row] for row in np.flatnonzero(members)]
            both = 0 < labels.sum() < len(labels)
            rows[name] = PartRow(
                images=len(labels),
                fractured=int(labels.sum()),
                auroc=auroc(labels.tolist(), folded.probabilities[members], groups),
                decided=decided_metrics(labels, decided[members], groups if both else None),
            )
    return rows


def cost_of_aims(folded: FoldedPredictions) -> dict[str, DecidedMetrics]:
    """Decide by bands that want the same sensitivity and specificity, each fold by a band of the others.

    Args:
        folded: Out-of-fold predictions.

    Returns:
        Metrics of the decisions by what was wanted, without margins.
    """
    labels, folds = np.array(folded.labels), np.array(folded.folds)
    return {
        f"{wanted:.2f}": decided_metrics(
            labels,
            nested_decisions(
                replace(RULES[DEFAULT], aim=Aim(wanted, wanted)), labels, folded.probabilities, folds
            ),
            folded.groups,
        )
        for wanted in WANTED
    }


def calibrate_parts(folded: FoldedPredictions, parts: list[str]) -> tuple[float, dict[str, Estimate]]:
    """Compare calibrations that know the body part with one that does not, nested by fold.

    Each is a logistic regression on the log-odds, fitted to the other folds with a weak penalty (C = 1), which
    keeps body parts with hardly any fracture from running away.

    Args:
        folded: Out-of-fold predictions.
        parts: Body parts of each image, joined by ``+``, [N].

    Returns:
        Log loss of the calibration without body parts, in nats, and the changes of the others against it.
    """
    scores = logit(np.clip(folded.probabilities, _CLIP, 1 - _CLIP))[:, None]
    shown = np.array([[name in part.split("+") for name in PARTS] for part in parts], np.float64)
    designs = {
        "": scores,
        "an intercept for each body part": np.hstack([scores, shown]),
        "intercept and slope for each body part": np.hstack([scores, shown, shown * scores]),
    }
    losses = {name: _nested_loss(folded, design) for name, design in designs.items()}
    plain = losses.pop("")

    def change(values: Floats) -> Estimate:
        samples = bootstrap.resampled(
            lambda weights: {"change": bootstrap.mean(values - plain, weights)},
            np.array(folded.labels) == 1,
            folded.groups,
            resamples=_RESAMPLES,
            seed=0,
        )
        return percentile(float(np.mean(values - plain)), samples["change"])

    return float(plain.mean()), {name: change(values) for name, values in losses.items()}


def _nested_loss(folded: FoldedPredictions, design: Floats) -> Floats:
    """Compute the log loss of each image, [N], by a regression that is fitted to the other folds."""
    labels, folds = np.array(folded.labels), np.array(folded.folds)
    losses = np.zeros(len(labels))
    for fold in np.unique(folds):
        held = folds == fold
        fitted = LogisticRegression(C=1.0, max_iter=1000).fit(design[~held], labels[~held])
        odds = fitted.decision_function(design[held])
        losses[held] = np.logaddexp(0, odds) - labels[held] * odds
    return losses


def measure(table: ImageTable, folded: FoldedPredictions, network: str, model: FractureClassifier) -> OutOfFold:
    """Answer all three questions; the first one only for a model that has not seen the validation images.

    Args:
        table: Images with splits and body parts.
        folded: Out-of-fold predictions for all images of training and validation.
        network: Name of the network that they are of.
        model: Model with the operating points.

    Raises:
        FractureEdgeError: The table lacks an image of the predictions, or these a validation image.
    """
    known = {item.path: item for item in table}
    if missing := [path for path in folded.paths if path not in known]:
        raise FractureEdgeError(
            f"{table.root}: lacks {len(missing)} images of the predictions, first: {missing[0]}"
        )
    parts = [known[path].body_part for path in folded.paths]
    log_loss, changes = calibrate_parts(folded, parts)
    return OutOfFold(
        model=model.info.full_name,
        model_sha256=model.sha256,
        network=network,
        # A file without figures of the validation images is of a model that was trained on them.
        scale=_scale_on_validation(table, folded, model) if "validation" in model.info.metrics else None,
        parts=decide_parts(folded, parts),
        costs=cost_of_aims(folded),
        log_loss=log_loss,
        log_loss_changes=changes,
    )


def _scale_on_validation(table: ImageTable, folded: FoldedPredictions, model: FractureClassifier) -> Scale:
    val = table.where("val")
    row_of = {path: row for row, path in enumerate(folded.paths)}
    if left := [item.path for item in val if item.path not in row_of]:
        raise FractureEdgeError(f"the table lacks {len(left)} validation images, first: {left[0]}")
    rows = np.array([row_of[item.path] for item in val])
    own = model.probabilities(load_pixels(val, model.info.preprocessing, label="reading val"))
    return compare_scale(
        np.array(folded.labels)[rows] == 1,
        [folded.groups[row] for row in rows],
        np.asarray(own, np.float64).ravel(),
        folded.probabilities[rows],
        model.policy,
    )


@app.command()
def out_of_fold(
    data: DataOption,
    splits: SplitsOption,
    predictions: Annotated[
        Path, typer.Option(metavar="FOLDS.csv", help="Predictions written by the study cross-validated.")
    ],
    network: Annotated[str, typer.Option(help="Name of the network in the table.")] = "edge (deep)",
    model: Annotated[
        Path | None, typer.Option(metavar="MODEL", help="Model file. Default: the embedded model.")
    ] = None,
    output: Annotated[
        Path | None, typer.Option("--output", "-o", metavar="FILE.json", help="Write the JSON here.")
    ] = None,
) -> None:
    """Judge operating points out of fold: by body part, by what is wanted, and beside the model on validation.

    A final model was trained on the validation images and is not compared on them.
    """
    result = measure(
        read_splits(data, splits), read_folded(predictions, network), network, FractureClassifier(model)
    )
    if output is not None:
        write_record(output, result)
    tables = [table_of_parts(result), table_of_costs(result)]
    if result.scale is not None:
        tables.insert(0, describe_scale(result, result.scale))
    print(*tables, sep="\n", end="")
