"""Training of several models one after the other, and their comparison (`fracture-edge train-all`)."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from fracture_edge.console import say
from fracture_edge.errors import FractureEdgeError
from train.data.dataset import read_splits, read_table
from train.evaluation.compare import Comparison, compare_models
from train.evaluation.evaluate import evaluate_model
from train.recipes.recipe import Recipe
from train.runs.options import RunOptions
from train.runs.run_folder import unfinished, worth_resuming
from train.runs.train_model import train_model


@dataclass(frozen=True, slots=True)
class Outcomes:
    """Results of training several models.

    Attributes:
        trained: Names of the models that were trained.
        failed: Error messages of the other models, by name.
        comparison: Comparison of the trained models; ``None`` if there is none.
    """

    trained: tuple[str, ...]
    failed: Mapping[str, str]
    comparison: Comparison | None


def train_all(
    recipes: Mapping[str, Recipe],
    options: RunOptions,
    *,
    recipe_names: Mapping[str, str],
    weights: Mapping[str, str],
    split: str = "val",
) -> Outcomes:
    """Train models one after the other and compare them; a failure does not stop the others.

    Args:
        recipes: Recipes by model.
        options: Options of all runs. With ``resume``, finished models are not trained again.
        recipe_names: Name of each model's recipe, for the training record.
        weights: Initial weights by model, where they are not the recipe's.
        split: Split to compare on: ``val``, or ``test`` for the final evaluation.

    Raises:
        FractureEdgeError: The data folder or the split file is invalid.
    """
    if options.splits is None:
        read_table(options.data)
    else:
        read_splits(options.data, options.splits)
    trained: list[str] = []
    failed: dict[str, str] = {}
    for number, (model, recipe) in enumerate(recipes.items(), start=1):
        say(f"--- {model} ({number} of {len(recipes)})")
        target = options.out / model
        if options.resume and (target / "training.json").is_file() and not unfinished(target).is_dir():
            say(f"{target} is finished")
            trained.append(model)
            continue
        resume = options.resume and worth_resuming(unfinished(target))
        try:
            train_model(
                recipe,
                replace(
                    options,
                    recipe_name=recipe_names[model],
                    weights=weights.get(model, options.weights),
                    resume=resume,
                ),
            )
        except FractureEdgeError as error:
            failed[model] = str(error)
            say(f"fracture-edge: {model}: {error}")
        else:
            trained.append(model)
    if not trained:
        return Outcomes((), failed, None)
    if split != "val":
        for model in trained:
            evaluate_model(options.out / model, split)
    return Outcomes(tuple(trained), failed, compare_models(trained, options.out, split))


def weights_of(settings: Sequence[str], models: Sequence[str]) -> dict[str, str]:
    """Parse ``MODEL=WEIGHTS`` settings.

    Raises:
        FractureEdgeError: A setting is not of this form, names a model that is not trained, or a missing file.
    """
    result = {}
    for setting in settings:
        model, equals, weights = setting.partition("=")
        if not equals or model not in models:
            raise FractureEdgeError(f"--weights {setting}: expected MODEL=WEIGHTS with one of {', '.join(models)}")
        if weights not in ("none", "imagenet", "embedded") and not Path(weights).is_file():
            raise FractureEdgeError(f"--weights {setting}: no such file")
        result[model] = weights
    return result
