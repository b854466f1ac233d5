"""Measure AUROC by the size of the training set: `python -m benchmarks.studies learning-curve`.

The training sets are random samples of complete groups, and each contains the smaller ones. All models are trained
for the same number of steps: with a smaller set the number of epochs is larger. They are evaluated on the
validation images. Each point is written when it is done; running the same command again continues after the last
one.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import typer

from fracture_edge.console import say
from fracture_edge.errors import FractureEdgeError
from train.cli.options import DataOption, SplitsOption
from train.data.batches import fingerprint
from train.data.dataset import ImageTable, join_tables
from train.data.pixel_store import PixelStore
from train.data.splits import read_table_with_splits
from train.device import prepare
from train.evaluation.evaluate import metrics_of
from train.evaluation.formatting import interval
from train.evaluation.metrics import Estimate
from train.evaluation.predictions import groups_of
from train.figure import COLOURS, saved_figure
from train.json_records import from_plain, read_json, write_record
from train.recipes.recipe import Recipe, load_recipe, override
from train.recipes.tables import of_this_version
from train.trainer.callbacks import clear_state
from train.trainer.train_once import train_once

app = typer.Typer(add_completion=False, rich_markup_mode=None)
SHARES = (0.125, 0.25, 0.5, 1.0)


@dataclass(frozen=True, slots=True)
class Plan:
    """Settings that all points of a curve share.

    Attributes:
        recipe: Training recipe.
        weights: Initial weights, see `train.weights.initialise`.
        epochs: Number of epochs with the complete training set; divided by the share for a smaller one.
        seed: Random seed of sampling and training.
    """

    recipe: Recipe
    weights: str
    epochs: int
    seed: int


@dataclass(frozen=True, slots=True)
class Counts:
    """Number of images, and number of fractured images among them."""

    images: int
    fractured: int


@dataclass(frozen=True, slots=True)
class Point:
    """Point of a curve: a model trained on a share of the training images.

    Attributes:
        share: Share of the training images.
        images: Number of training images.
        fractured: Number of fractured training images.
        epochs: Number of epochs trained.
        auroc: AUROC of the validation images.
    """

    share: float
    images: int
    fractured: int
    epochs: int
    auroc: Estimate


@dataclass(frozen=True, slots=True, kw_only=True)
class Curve:
    """AUROC by the size of the training set.

    Attributes:
        model: Name of the architecture.
        recipe: Recipe, of this version or an older one.
        initial_weights: Name of the initial weights.
        epochs: Number of epochs with the complete training set.
        seed: Random seed of sampling and training.
        device: Device and backend, in words.
        data_fingerprint: Checksum of data and splits.
        validation: Numbers of validation images.
        points: Points measured so far.
    """

    model: str
    recipe: dict[str, Any]
    initial_weights: str
    epochs: int
    seed: int
    device: str
    data_fingerprint: str
    validation: Counts
    points: tuple[Point, ...]


def sample_share(table: ImageTable, share: float, *, seed: int) -> ImageTable:
    """Sample about a share of the images, in complete groups; a larger share contains the smaller ones.

    Args:
        table: Images with groups.
        share: Share of the images, greater than 0 and at most 1.
        seed: Random seed for sampling the groups.
    """
    groups = groups_of(table)
    order = np.random.default_rng(seed).permutation(sorted(set(groups))).tolist()
    sizes = np.cumsum([groups.count(group) for group in order])
    kept = set(order[: int(np.searchsorted(sizes, share * len(table))) + 1])
    items = tuple(item for item, group in zip(table, groups, strict=True) if group in kept)
    return replace(table, items=items)


def measure(plan: Plan, table: ImageTable, shares: Sequence[float], output: Path) -> Curve:
    """Train one model for each share that is missing from `output`, and write `output` after each.

    Args:
        plan: Settings of the training.
        table: Images with splits; the test images are not used.
        shares: Shares of the training images, greater than 0 and at most 1.
        output: Path of the ``.json`` file; a plot is written beside it as ``.png``.

    Raises:
        FractureEdgeError: A share is out of range or lacks a class, or `output` was measured with other settings.
    """
    if not all(0 < share <= 1 for share in shares):
        raise FractureEdgeError(f"shares must be above 0 and at most 1, not {', '.join(map(str, shares))}")
    train_part, val_part = table.where("train"), table.where("val")
    device = prepare("auto", distribute=False)
    result = Curve(
        model=plan.recipe.architecture,
        # In the form in which it is read from JSON again, for the comparison below.
        recipe=json.loads(json.dumps(plan.recipe.to_dict())),
        initial_weights=Path(plan.weights).name,
        epochs=plan.epochs,
        seed=plan.seed,
        device=device.name,
        data_fingerprint=fingerprint(table),
        validation=Counts(len(val_part), sum(val_part.labels)),
        points=(),
    )
    if output.is_file():
        held = from_plain(Curve, read_json(output), str(output))
        if replace(held, points=(), recipe=of_this_version(held.recipe)) != result:
            raise FractureEdgeError(f"{output}: was measured with another recipe, seed, data set or device")
        result = held
    # Written at once, so that the remains of an interrupted point are known to belong to this plan.
    write_record(output, result)
    store = PixelStore(join_tables(train_part, val_part), plan.recipe.preprocessing)
    for share in sorted(shares):
        if any(point.share == share for point in result.points):
            continue
        part = sample_share(train_part, share, seed=plan.seed)
        if set(part.labels) != {0, 1}:
            raise FractureEdgeError(f"a share of {share:g} of the training images lacks a class")
        say(f"share {share:g}: {len(part)} training images")
        point = _point(plan, store, part, val_part, share, output.with_suffix(f".{share:g}.run"))
        result = replace(result, points=(*result.points, point))
        write_record(output, result)
        _plot(result, output.with_suffix(".png"))
    return result


def _point(
    plan: Plan, store: PixelStore, part: ImageTable, val_part: ImageTable, share: float, folder: Path
) -> Point:
    epochs = max(1, round(plan.epochs / share))
    folder.mkdir(exist_ok=True)
    outcome = train_once(
        override(plan.recipe, epochs=epochs),
        store,
        part,
        val_part,
        folder=folder,
        weights=plan.weights,
        seed=plan.seed,
    )
    clear_state(folder)
    (folder / "history.csv").unlink(missing_ok=True)
    folder.rmdir()
    found = metrics_of(val_part, outcome.validation, 0.5)
    return Point(
        share=share,
        images=len(part),
        fractured=sum(part.labels),
        epochs=len(outcome.history.rows),
        auroc=found.metrics["auroc"],
    )


def _plot(result: Curve, path: Path) -> None:
    points = sorted(result.points, key=lambda point: point.images)
    images = [point.images for point in points]
    values = [point.auroc.value for point in points]
    lows, highs = [point.auroc.low for point in points], [point.auroc.high for point in points]
    title = f"{result.model}: AUROC of validation images over the training set (95 % intervals)"
    with saved_figure(path, width=7, height=4.2, title=title) as figure:
        axes = figure.subplots()
        axes.fill_between(images, lows, highs, color=COLOURS[0], alpha=0.2)
        axes.plot(images, values, "o-", color=COLOURS[0])
        axes.set(xscale="log", xlabel="training images", ylabel="AUROC", xticks=images)
        axes.set_xticklabels([str(count) for count in images])
        axes.minorticks_off()
        axes.grid(alpha=0.3)


@app.command()
def learning_curve(
    model: Annotated[str, typer.Argument(metavar="MODEL", help="Name of the architecture.")],
    data: DataOption,
    splits: SplitsOption,
    output: Annotated[
        Path,
        typer.Option("--output", "-o", metavar="FILE.json", help="Write the JSON here, and a plot beside it."),
    ],
    recipe: Annotated[str, typer.Option(help="Name of a recipe, or path of a .toml file.")] = "corrected",
    weights: Annotated[str | None, typer.Option(help="Initial weights. Default: those of the recipe.")] = None,
    epochs: Annotated[int, typer.Option(min=1, help="Number of epochs with the complete training set.")] = 6,
    shares: Annotated[
        list[float] | None,
        typer.Option(help="Share of the training images; may be repeated. Default: 0.125, 0.25, 0.5 and 1."),
    ] = None,
    seed: Annotated[int, typer.Option(help="Random seed of sampling and training.")] = 0,
) -> None:
    """Train on shares of the training images, and evaluate each model on the validation images.

    Each point is written when it is done; running the same command again continues after the last one.

    \b
    python -m benchmarks.studies learning-curve edge --data fracatlas --splits splits.csv --shares 0.5
    --shares 1 -o curve.json
    """  # noqa: D301
    chosen = load_recipe(model, recipe)
    plan = Plan(chosen, weights or chosen.weights, epochs, seed)
    table = read_table_with_splits(data, splits, seed=seed)
    result = measure(plan, table, shares or SHARES, output)
    for point in result.points:
        print(f"{point.images:6} images  {interval(point.auroc)}")
