"""Command `fracture-edge evaluate`."""

from pathlib import Path
from typing import Annotated

import typer

from train.cli.options import ArtifactsOption
from train.quiet_tensorflow import quiet_tensorflow

app = typer.Typer(add_completion=False, rich_markup_mode=None)


@app.command()
def evaluate(
    models: Annotated[list[str], typer.Argument(metavar="MODEL...", help="Trained models; several are compared.")],
    artifacts: ArtifactsOption = Path("artifacts"),
    split: Annotated[
        str, typer.Option(help="test, for the final evaluation, when nothing is left to choose; or val.")
    ] = "test",
    data: Annotated[Path | None, typer.Option(help="Data folder, if not that of the training.")] = None,
) -> None:
    """Evaluate trained Keras models on a split: metrics with 95 % intervals, report per class, plots.

    Files in the model's folder: evaluation-SPLIT.json, SPLIT-report.txt, SPLIT-confusion.png, SPLIT-roc-pr.png,
    SPLIT-reliability.png, predictions-SPLIT.csv. For exported formats and latency see `fracture-edge benchmark`.

    Example: fracture-edge evaluate vgg16 custom_cnn edge
    """
    if split not in ("val", "test"):
        raise typer.BadParameter("give --split val or --split test")
    quiet_tensorflow()
    from train.evaluation.compare import compare_models, table
    from train.evaluation.evaluate import evaluate_model

    for model in models:
        evaluate_model(artifacts / model, split, data=data)
        print((artifacts / model / f"{split}-report.txt").read_text(encoding="utf-8"))
    print(table(compare_models(models, artifacts, split)), end="")
