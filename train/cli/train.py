"""Command `fracture-edge train`."""

from pathlib import Path
from typing import Annotated

import typer

from fracture_edge.console import say
from train.cli.options import (
    ArtifactsOption,
    DataOption,
    DistributeOption,
    EpochsOption,
    ForceOption,
    OptionalSplitsOption,
    PrecisionOption,
    SeedOption,
    SetOption,
    TensorBoardOption,
)
from train.quiet_tensorflow import quiet_tensorflow

app = typer.Typer(add_completion=False, rich_markup_mode=None)


@app.command()
def train(
    model: Annotated[
        str,
        typer.Argument(
            metavar="MODEL", help="resnet50, vgg16, custom_cnn, edge, densenet121 or efficientnetv2b0."
        ),
    ],
    data: DataOption,
    splits: OptionalSplitsOption = None,
    out: ArtifactsOption = Path("artifacts"),
    recipe: Annotated[
        str | None,
        typer.Option(
            help="Recipe: notebook (as the reference), corrected, probed, finetune, robust or deep (edge "
            "only), scratch (resnet50 only), or a .toml file. If not given: for edge deep, the recipe of the "
            "embedded model (finetune with the weights of a complete network, such as embedded; corrected with "
            "none), for all others corrected."
        ),
    ] = None,
    weights: Annotated[
        str | None,
        typer.Option(
            help="Initial weights: none, imagenet (published ones of the backbone), embedded (those of the model "
            "that ships with fracture-edge, for edge), or a file: .npz or .h5 of the backbone, .keras or "
            ".weights.h5 of the complete network. The recipe's if not given."
        ),
    ] = None,
    epochs: EpochsOption = None,
    batch_size: Annotated[int | None, typer.Option(min=1, help="Number of images per step.")] = None,
    learning_rate: Annotated[
        float | None,
        typer.Option(help="Learning rate of the first phase; those of later phases keep their ratio to it."),
    ] = None,
    image_size: Annotated[
        int | None, typer.Option(min=32, help="Height and width of the input in pixels.")
    ] = None,
    settings: SetOption = None,
    folds: Annotated[
        int | None,
        typer.Option(
            min=3,
            help="Cross-validate instead, with this number of folds: train a model for each, test it on the fold, "
            "and write artifacts/MODEL-folds. The test images of --splits are not used.",
        ),
    ] = None,
    final: Annotated[
        bool,
        typer.Option(
            "--final",
            help="With --folds: afterwards train the model to ship, artifacts/MODEL, on all images of training "
            "and validation. Number of epochs, calibration, threshold and bands are settled by the predictions of "
            "the folds. --resume goes on with it, or takes the folds of a finished cross-validation.",
        ),
    ] = False,
    keep_models: Annotated[
        bool,
        typer.Option("--keep-models", help="With --folds: keep each network, MODEL-folds/fold-K/model.keras."),
    ] = False,
    seed: SeedOption = 0,
    precision: PrecisionOption = "auto",
    distribute: DistributeOption = False,
    tensorboard: TensorBoardOption = None,
    resume: Annotated[
        bool, typer.Option("--resume", help="Continue an interrupted run after its last complete epoch.")
    ] = False,
    force: ForceOption = False,
) -> None:
    """Train MODEL and write artifacts/MODEL: model.keras, training.json, history.csv, plots and more.

    Calibration, threshold and uncertain band are chosen on the validation split, or out of fold with --folds
    --final; the test split is not used.
    The folder appears when everything in it is complete. A GPU is used where there is one. The environment
    variable KERAS_BACKEND chooses tensorflow, jax or torch.

    Example: fracture-edge train edge --data fracatlas --splits splits.csv --weights lite0.npz

    Example, cross-validated and then trained on all images but the test images: fracture-edge train edge --folds 5
    --final --data fracatlas --splits splits.csv

    Example, adapting the embedded model to your own images: fracture-edge train edge --weights embedded --data
    my_folder
    """
    if folds is None and (final or keep_models):
        option = "--final" if final else "--keep-models"
        raise typer.BadParameter(f"{option} needs the folds of a cross-validation: give --folds 5 too")
    quiet_tensorflow()
    from train.recipes.recipe import default_recipe, load_recipe, override
    from train.runs.options import RunOptions

    name = recipe or default_recipe(model, weights)
    chosen = override(
        load_recipe(model, name),
        epochs=epochs,
        batch_size=batch_size,
        learning_rate=learning_rate,
        image_size=image_size,
        settings=settings or (),
    )
    options = RunOptions(
        data=data,
        splits=splits,
        out=out,
        weights=weights,
        recipe_name=name,
        seed=seed,
        precision=precision,
        distribute=distribute,
        keep_models=keep_models,
        tensorboard=tensorboard,
        resume=resume,
        force=force,
    )
    if final and folds is not None:
        from train.runs.final_model import train_final

        print(train_final(chosen, options, folds=folds))
        say(f"next: fracture-edge export {model}; fracture-edge evaluate {model}, the last look at the test split")
    elif folds is None:
        from train.runs.train_model import train_model

        print(train_model(chosen, options))
        say(f"next: fracture-edge export {model}; fracture-edge evaluate {model}, the last look at the test split")
    else:
        from train.runs.cross_validation import cross_validate

        print(cross_validate(chosen, options, folds=folds))
