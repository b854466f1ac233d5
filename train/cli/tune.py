"""Command `fracture-edge tune`."""

from pathlib import Path
from typing import Annotated

import typer

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
def tune(
    model: Annotated[str, typer.Argument(metavar="MODEL", help="Architecture, see `fracture-edge train`.")],
    data: DataOption,
    splits: OptionalSplitsOption = None,
    out: ArtifactsOption = Path("artifacts"),
    trials: Annotated[
        int, typer.Option(min=1, help="Total number of trials, those of a resumed search included.")
    ] = 20,
    space: Annotated[
        Path | None,
        typer.Option(
            help="Search space, a TOML file: for each key of the recipe low and high (and log), or choices. If "
            "not given: learning rate, label smoothing, class balance and augmentation."
        ),
    ] = None,
    recipe: Annotated[
        str | None,
        typer.Option(
            help="Recipe to start from, a name or a .toml file; as in `fracture-edge train` if not given."
        ),
    ] = None,
    weights: Annotated[
        str | None, typer.Option(help="Initial weights, see `fracture-edge train`; the recipe's if not given.")
    ] = None,
    epochs: EpochsOption = None,
    settings: SetOption = None,
    seed: SeedOption = 0,
    precision: PrecisionOption = "auto",
    resume: Annotated[bool, typer.Option("--resume", help="Continue an interrupted search.")] = False,
    force: ForceOption = False,
) -> None:
    """Search for the hyper-parameters with the greatest validation AUROC, with Optuna.

    The first trial is the recipe as it is; trials that fall behind are stopped early. The test split is not
    used. artifacts/MODEL-tune contains study.db, trials.csv, trials.png and best.toml, a recipe for
    `fracture-edge train --recipe`.

    Example: fracture-edge tune edge --recipe probed --data fracatlas --splits splits.csv --trials 30 --epochs 5
    """
    quiet_tensorflow()
    from train.recipes.recipe import default_recipe, load_recipe, override
    from train.recipes.search_space import load_space
    from train.runs.options import RunOptions
    from train.runs.tune import tune as search

    name = recipe or default_recipe(model, weights)
    chosen = override(load_recipe(model, name), epochs=epochs, settings=settings or ())
    options = RunOptions(
        data=data,
        splits=splits,
        out=out,
        weights=weights,
        recipe_name=name,
        seed=seed,
        precision=precision,
        resume=resume,
        force=force,
    )
    folder = search(chosen, options, load_space(space), trials=trials)
    print((folder / "trials.csv").read_text(encoding="utf-8"), end="")
    typer.echo(f"wrote {folder}", err=True)
