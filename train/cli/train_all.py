"""Command `fracture-edge train-all`."""

from pathlib import Path
from typing import Annotated

import typer

from fracture_edge.errors import EXIT_FAILED, EXIT_SOME_FAILED
from train.cli.options import (
    ArtifactsOption,
    DataOption,
    EpochsOption,
    ForceOption,
    OptionalSplitsOption,
    PrecisionOption,
    SeedOption,
    SetOption,
)
from train.quiet_tensorflow import quiet_tensorflow

app = typer.Typer(add_completion=False, rich_markup_mode=None)


@app.command()
def train_all(
    data: DataOption,
    splits: OptionalSplitsOption = None,
    out: ArtifactsOption = Path("artifacts"),
    models: Annotated[
        str, typer.Option(help="Names of the models, separated by commas.")
    ] = "resnet50,vgg16,custom_cnn,edge",
    recipe: Annotated[
        str | None,
        typer.Option(help="Recipe: notebook (as the reference), corrected ...; see `fracture-edge train`."),
    ] = None,
    weights: Annotated[
        list[str] | None,
        typer.Option(
            metavar="MODEL=WEIGHTS",
            help="Initial weights of one model, see `fracture-edge train`; the recipe's if not given.",
        ),
    ] = None,
    epochs: EpochsOption = None,
    settings: SetOption = None,
    seed: SeedOption = 0,
    precision: PrecisionOption = "auto",
    split: Annotated[
        str,
        typer.Option(help="Compare on val, or on test: the final evaluation, when nothing is left to choose."),
    ] = "val",
    resume: Annotated[
        bool, typer.Option("--resume", help="Continue an interrupted run; finished models are not trained again.")
    ] = False,
    force: ForceOption = False,
) -> None:
    """Train the reference's three models and edge, and compare them: table, JSON and bar charts.

    Each has a folder like that of `fracture-edge train`. The comparison is printed and written to
    artifacts/comparison-SPLIT.md, .json and .png; fractured is the positive class.

    Exit status: 0 if all models were trained, 1 if none was, 3 if some were not.

    Example: fracture-edge train-all --data fracatlas --splits splits.csv --weights vgg16=vgg16.npz
    """
    if split not in ("val", "test"):
        raise typer.BadParameter("give --split val or --split test")
    names = [name.strip() for name in models.split(",") if name.strip()]
    if not names:
        raise typer.BadParameter("--models must name at least one model")
    quiet_tensorflow()
    from train.evaluation.compare import table
    from train.recipes.recipe import default_recipe, load_recipe, override
    from train.runs.options import RunOptions
    from train.runs.train_all import train_all as train_each
    from train.runs.train_all import weights_of

    starts = weights_of(weights or (), names)
    recipe_names = {name: recipe or default_recipe(name, starts.get(name)) for name in names}
    outcomes = train_each(
        {
            name: override(load_recipe(name, chosen), epochs=epochs, settings=settings or ())
            for name, chosen in recipe_names.items()
        },
        RunOptions(
            data=data,
            splits=splits,
            out=out,
            seed=seed,
            precision=precision,
            resume=resume,
            force=force,
        ),
        recipe_names=recipe_names,
        weights=starts,
        split=split,
    )
    if outcomes.comparison:
        print(table(outcomes.comparison), end="")
    if outcomes.failed:
        typer.echo(f"fracture-edge: not trained: {', '.join(outcomes.failed)} (see above)", err=True)
        raise typer.Exit(EXIT_SOME_FAILED if outcomes.trained else EXIT_FAILED)
