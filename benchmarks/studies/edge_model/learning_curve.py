"""AUROC over the size of the training set: `python -m benchmarks.studies learning-curve`.

Whole groups are left out at random, the same ones for every larger share, so that each set holds the smaller ones.
Every model gets as many images shown to it, in as many steps: a smaller set is gone through more often. Judged on
validation images. Each point is written when it is there; the same command again goes on after the last one.
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
from train.trainer.callbacks import clear_state
from train.trainer.train_once import train_once

app = typer.Typer(add_completion=False, rich_markup_mode=None)
SHARES = (0.125, 0.25, 0.5, 1.0)


@dataclass(frozen=True, slots=True)
class Plan:
    """What all points of a curve have in common.

    Attributes:
        recipe: How to train.
        weights: Initial weights, see `train.weights.initialise`.
        epochs: Over the whole training set; a share of it is gone through so much more often.
        seed: Of the draw and of training.
    """

    recipe: Recipe
    weights: str
    epochs: int
    seed: int


@dataclass(frozen=True, slots=True)
class Counts:
    """Number of images, and of the fractured ones among them."""

    images: int
    fractured: int


@dataclass(frozen=True, slots=True)
class Point:
    """One model of a curve.

    Attributes:
        share: Share of the training images.
        images: Number of its training images.
        fractured: Number of fractured ones.
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
    """AUROC over the size of the training set.

    Attributes:
        model: Name of the architecture.
        recipe: Recipe, of this version or an older one.
        initial_weights: Name of the initial weights.
        epochs: Epochs over the whole training set.
        seed: Seed of the draw and of training.
        device: Device and backend, in words.
        data_fingerprint: Checksum of data and splits.
        validation: Validation images.
        points: Models trained so far.
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


def part_of(table: ImageTable, share: float, *, seed: int) -> ImageTable:
    """About a `share` of the images: whole groups, drawn; those of a smaller share are among those of a larger.

    Args:
        table: Images with groups.
        share: Above 0, at most 1.
        seed: Of the draw.
    """
    groups = groups_of(table)
    order = np.random.default_rng(seed).permutation(sorted(set(groups))).tolist()
    sizes = np.cumsum([groups.count(group) for group in order])
    kept = set(order[: int(np.searchsorted(sizes, share * len(table))) + 1])
    items = tuple(item for item, group in zip(table, groups, strict=True) if group in kept)
    return replace(table, items=items)


def measure(plan: Plan, table: ImageTable, shares: Sequence[float], output: Path) -> Curve:
    """Train one model for each share that `output` does not hold yet, and write it after each.

    Args:
        plan: How.
        table: Images with splits; the test images are left alone.
        shares: Of the training images.
        output: A ``.json`` file; the curve is drawn beside it as ``.png``.

    Raises:
        FractureEdgeError: A share is none or lacks a class, or `output` is of another plan.
    """
    if not all(0 < share <= 1 for share in shares):
        raise FractureEdgeError(f"shares must be above 0 and at most 1, not {', '.join(map(str, shares))}")
    train_part, val_part = table.where("train"), table.where("val")
    device = prepare("auto", distribute=False)
    result = Curve(
        model=plan.recipe.architecture,
        # As it would be read again.
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
        if replace(held, points=()) != result:
            raise FractureEdgeError(f"{output}: is of another recipe, seed, data set or device")
        result = held
    # At once: what is left of a point that was cut off belongs to this plan.
    write_record(output, result)
    store = PixelStore(join_tables(train_part, val_part), plan.recipe.preprocessing)
    for share in sorted(shares):
        if any(point.share == share for point in result.points):
            continue
        part = part_of(train_part, share, seed=plan.seed)
        if set(part.labels) != {0, 1}:
            raise FractureEdgeError(f"a share of {share:g} of the training images lacks a class")
        say(f"share {share:g}: {len(part)} training images")
        point = _point(plan, store, part, val_part, share, output.with_suffix(f".{share:g}.run"))
        result = replace(result, points=(*result.points, point))
        write_record(output, result)
        _draw(result, output.with_suffix(".png"))
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


def _draw(result: Curve, path: Path) -> None:
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
        typer.Option("--output", "-o", metavar="FILE.json", help="Write the JSON here, and a picture beside it."),
    ],
    recipe: Annotated[str, typer.Option(help="Name of a recipe, or a .toml file.")] = "corrected",
    weights: Annotated[str | None, typer.Option(help="Initial weights, if not those of the recipe.")] = None,
    epochs: Annotated[int, typer.Option(min=1, help="Epochs over the whole training set.")] = 6,
    shares: Annotated[
        list[float] | None,
        typer.Option(help="Share of the training images; may be repeated. 0.125, 0.25, 0.5 and 1 if not given."),
    ] = None,
    seed: Annotated[int, typer.Option(help="Of the draw and of training.")] = 0,
) -> None:
    """Train on shares of the training images, and judge each model on the validation images.

    Each point is written when it is there; the same command again goes on after the last one.

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
