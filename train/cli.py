"""`fracture-edge train`."""

import sys
from pathlib import Path
from typing import Annotated

import typer

from fracture_edge.cli_options import ArtifactsOption, DataOption, ForceOption, SplitsOption, quiet_tensorflow

app = typer.Typer(add_completion=False, rich_markup_mode=None)


@app.command()
def train(
    model: Annotated[str, typer.Argument(help="edge or custom_cnn.")],
    data: DataOption,
    splits: SplitsOption,
    out: ArtifactsOption = Path("artifacts"),
    recipe: Annotated[
        str, typer.Option(help="Name of a recipe that ships with the package, or a .toml file.")
    ] = "corrected",
    weights: Annotated[
        str,
        typer.Option(
            help="Initial weights: none, imagenet, or a file (.npz of EfficientNet-Lite0 for edge, .keras or "
            ".weights.h5 of the same architecture)."
        ),
    ] = "none",
    epochs: Annotated[int | None, typer.Option(min=1, help="Epochs of the recipe's last phase.")] = None,
    image_size: Annotated[int | None, typer.Option(min=32, help="Rows and columns of the input.")] = None,
    seed: Annotated[int, typer.Option(help="Seed of weights, order and augmentation.")] = 0,
    force: ForceOption = False,
) -> None:
    """Train MODEL and write artifacts/MODEL: model.keras, training.json, history.csv, curves.png and more.

    Probability, threshold and uncertain band are settled on the validation split; the test split is not
    touched. The folder appears when everything in it is complete.

    Example: fracture-edge train edge --data fracatlas --splits splits.csv --weights lite0.npz
    """
    quiet_tensorflow()
    from train.recipe import load_recipe, override
    from train.run import train_model

    if weights == "none" and model == "edge":
        print("starting from random weights; --weights imagenet usually does much better", file=sys.stderr)
    chosen = override(load_recipe(model, recipe), epochs=epochs, image_size=image_size)
    folder = train_model(
        chosen, data=data, splits=splits, out=out, weights=weights, recipe_name=recipe, seed=seed, force=force
    )
    print(folder)
