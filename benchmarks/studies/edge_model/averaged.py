"""What cross-validated networks know together: `python -m benchmarks.studies averaged folds.csv NETWORK...`.

Takes the answers that `cross_validated` keeps, averages the log-odds of the networks named, and says how much
that adds to the first of them. An average costs as much time as its networks do together; it shows what one of
them could still learn from the others (distillation), or that it could not.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import numpy as np
import typer

from benchmarks.studies.edge_model.answers import Answers
from fracture_edge.errors import FractureEdgeError
from train.evaluation.formatting import interval
from train.evaluation.metrics import auroc

app = typer.Typer(add_completion=False, rich_markup_mode=None)
#: Beyond this probability an answer counts no more: the table has six decimals.
_SURE = 1e-6


def averaged(answers: Answers, names: Sequence[str], *, resamples: int = 2000) -> str:
    """A sentence with the AUROC of the average, and its change against the first network.

    Args:
        answers: Of all networks on the same images.
        names: At least two of them.
        resamples: Of the bootstrap over groups.

    Raises:
        FractureEdgeError: One of the networks has no answers there.
    """
    if missing := set(names) - set(answers.given):
        raise FractureEdgeError(f"no answers of '{min(missing)}'; there are {', '.join(sorted(answers.given))}")
    clipped = [np.clip(answers.given[name], _SURE, 1 - _SURE) for name in names]
    log_odds = np.mean([np.log(values / (1 - values)) for values in clipped], axis=0)
    together = Answers(answers.images, {names[0]: answers.given[names[0]], "average": 1 / (1 + np.exp(-log_odds))})
    labels = [int(label) for _, _, label, _ in answers.images]
    groups = [group or path for path, _, _, group in answers.images]
    found = auroc(labels, together.given["average"], groups, resamples=resamples)
    change = together.change(names[0], "average", resamples=resamples)
    return (
        f"The log-odds of {' and '.join(names)} averaged: AUROC {interval(found)}, "
        f"{interval(change)} more than {names[0]} alone (95 % intervals of a bootstrap over groups)."
    )


@app.command()
def averages(
    answers: Annotated[Path, typer.Argument(metavar="FOLDS.csv", help="As the study cross-validated writes it.")],
    names: Annotated[
        list[str], typer.Argument(metavar="NETWORK...", help="As the table calls them, at least two.")
    ],
) -> None:
    """Average the log-odds of networks, and say how much that adds to the first of them."""
    print(averaged(Answers.read(answers), names))
