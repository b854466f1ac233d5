"""Evaluate an ensemble of cross-validated networks: `python -m benchmarks.studies averaged folds.csv NETWORK...`.

Averages the log-odds of the named networks, from the predictions that `cross_validated` writes, and compares the
AUROC of the average with that of the first network. An ensemble takes as much time as all its networks together;
it shows what one network could still learn from the others by distillation.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import numpy as np
import typer

from benchmarks.studies.edge_model.answers import FoldPredictions
from fracture_edge.errors import FractureEdgeError
from train.evaluation.formatting import interval
from train.evaluation.metrics import auroc

app = typer.Typer(add_completion=False, rich_markup_mode=None)
#: Probabilities are clipped to this distance from 0 and 1: the table has six decimals.
_CLIP = 1e-6


def average_log_odds(predictions: FoldPredictions, names: Sequence[str], *, resamples: int = 2000) -> str:
    """Average the log-odds of networks, and describe the AUROC and its change against the first network.

    Args:
        predictions: Predictions of all networks for the same images.
        names: Names of at least two networks.
        resamples: Number of resamples of the bootstrap over groups.

    Returns:
        A sentence.

    Raises:
        FractureEdgeError: There are no predictions of one of the networks.
    """
    known = predictions.probabilities
    if missing := set(names) - set(known):
        raise FractureEdgeError(f"no predictions of '{min(missing)}'; must be one of: {', '.join(sorted(known))}")
    clipped = [np.clip(known[name], _CLIP, 1 - _CLIP) for name in names]
    log_odds = np.mean([np.log(values / (1 - values)) for values in clipped], axis=0)
    average = 1 / (1 + np.exp(-log_odds))
    both = FoldPredictions(predictions.images, {names[0]: known[names[0]], "average": average})
    labels = [int(label) for _, _, label, _ in predictions.images]
    groups = [group or path for path, _, _, group in predictions.images]
    found = auroc(labels, average, groups, resamples=resamples)
    change = both.auroc_change(names[0], "average", resamples=resamples)
    return (
        f"The log-odds of {' and '.join(names)} averaged: AUROC {interval(found)}, "
        f"{interval(change)} more than {names[0]} alone (95 % intervals of a bootstrap over groups)."
    )


@app.command()
def averages(
    predictions: Annotated[
        Path, typer.Argument(metavar="FOLDS.csv", help="Predictions written by the study cross-validated.")
    ],
    names: Annotated[
        list[str], typer.Argument(metavar="NETWORK...", help="Names of networks in the table, at least two.")
    ],
) -> None:
    """Average the log-odds of networks, and compare the AUROC with that of the first network."""
    print(average_log_odds(FoldPredictions.read(predictions), names))
