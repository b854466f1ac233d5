"""Cross-validate ways of training `edge` and ask where they look: `python -m benchmarks.studies where-it-looks`.

Each way is judged on images of folds that it was not trained on, by four figures: AUROC; AUROC with the marked
fractures covered (and the same boxes in images without fracture), which comes from something other than the
fracture; AUROC on images changed as by another scanner; and the share of marked images whose strongest cell lies
in or near the fracture.
"""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import typer

from benchmarks.studies.edge_model.looking import FOLDS, Pool, score
from benchmarks.studies.edge_model.looking_result import (
    Round,
    Scores,
    Way,
    WhereItLooks,
    change,
    figures,
    pointing,
    table_of,
)
from fracture_edge.console import say
from fracture_edge.errors import FractureEdgeError
from train.cli.options import DataOption, EpochsOption, PrecisionOption, SeedOption, SetOption, SplitsOption
from train.data.batches import fingerprint
from train.data.pixel_store import PixelStore
from train.data.splits import folds_apart
from train.device import prepare
from train.evaluation.predictions import groups_of
from train.json_records import from_plain, read_json, write_record
from train.recipes.recipe import Recipe, load_recipe, override
from train.trainer.callbacks import clear_state
from train.trainer.train_once import train_once

app = typer.Typer(add_completion=False, rich_markup_mode=None)
#: Settings of a way, in its folder.
PLAN = "plan.json"


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """Settings of a way of training, kept in its folder.

    Attributes:
        recipe_name: Name of the recipe.
        recipe: Values of the recipe as it is trained.
        settings: Values that were changed, ``KEY=VALUE``.
        initial_weights: Name of the initial weights.
        seed: Random seed of folds and training.
        device: Device and backend, in words.
        precision: Keras dtype policy.
        data_fingerprint: Checksum of the images.
        rounds: Number of folds to test on.
    """

    recipe_name: str
    recipe: dict[str, Any]
    settings: tuple[str, ...]
    initial_weights: str
    seed: int
    device: str
    precision: str
    data_fingerprint: str
    rounds: int

    def unlike(self, other: "Plan") -> str:
        """Name the first setting that keeps two ways from being compared; empty if they can be."""
        for name in (
            "data_fingerprint",
            "seed",
            "rounds",
            "device",
            "precision",
            "recipe_name",
            "initial_weights",
        ):
            if getattr(self, name) != getattr(other, name):
                return name
        return "" if self.recipe["preprocessing"] == other.recipe["preprocessing"] else "preprocessing"


def train_and_score(recipe: Recipe, pool: Pool, folder: Path, *, weights: str, seed: int, rounds: int) -> None:
    """Train and test the rounds of a way that are not yet in its folder.

    Round k tests on fold k, chooses epoch and calibration on fold k + 1, and trains on the rest.

    Args:
        recipe: Recipe of the training.
        pool: Images in folds.
        folder: Folder of the way.
        weights: Initial weights, see `train.weights.initialise`.
        seed: Random seed of the training.
        rounds: Number of folds to test on.

    Raises:
        FractureEdgeError: An image cannot be read, the weights do not fit, or a training diverged.
    """
    store = PixelStore(pool.table, recipe.preprocessing)
    for fold in range(rounds):
        if (folder / f"fold-{fold + 1}.json").is_file():
            continue
        place = folder / f"fold-{fold + 1}"
        place.mkdir(parents=True, exist_ok=True)
        apart = folds_apart(fold, FOLDS, chooses_epochs=True)
        outcome = train_once(
            recipe,
            store,
            pool.part([number for number in range(FOLDS) if number not in apart]),
            pool.part(list(apart - {fold})),
            folder=place,
            weights=weights,
            seed=seed,
        )
        tested = pool.part([fold])
        scores = score(outcome.model, tested, pool.marks, recipe.preprocessing, seed=fold)
        paths = tuple(item.path for item in tested)
        done = Round(paths, scores, len(outcome.history.rows), outcome.seconds)
        write_record(folder / f"fold-{fold + 1}.json", done)
        clear_state(place)


def collect(folder: Path, pool: Pool, first: str) -> WhereItLooks:
    """Compute the figures of all finished ways in a folder that can be compared with the first one.

    Args:
        folder: Folder with a folder for each way.
        pool: Images in folds.
        first: Name of the way that the others are compared with.

    Raises:
        FractureEdgeError: The first way is missing or unfinished, or a way was tested on other images.
    """
    plans = read_plans(folder)
    common = plans.get(first)
    reference = _rounds(folder / first, pool, common.rounds) if common else None
    if common is None or reference is None:
        raise FractureEdgeError(f"{folder}: has no finished way '{first}' to compare with; train it first")
    parts = [pool.part([fold]) for fold in range(common.rounds)]
    labels = [item.label for part in parts for item in part]
    groups = [group for part in parts for group in groups_of(part)]
    ways = []
    for name in sorted(plans, key=lambda name: (name != first, name)):
        rounds = _rounds(folder / name, pool, common.rounds) if not plans[name].unlike(common) else None
        if rounds is None:
            say(f"{name}: left out, it is not finished or cannot be compared with {first}")
            continue
        scores = Scores.joined([each.scores for each in rounds])
        plain, covered, scanner = figures(labels, groups, scores)
        before = Scores.joined([each.scores for each in reference])
        ways.append(
            Way(
                name=name,
                settings=plans[name].settings,
                epochs=tuple(each.epochs for each in rounds),
                seconds=tuple(each.seconds for each in rounds),
                auroc=plain,
                covered=covered,
                scanner=scanner,
                pointing=pointing(scores),
                change=None if name == first else change(labels, groups, before, scores),
            )
        )
    size = common.recipe["preprocessing"]
    return WhereItLooks(
        recipe=common.recipe_name,
        initial_weights=common.initial_weights,
        input=f"{size['height']}x{size['width']}",
        seed=common.seed,
        device=common.device,
        precision=common.precision,
        data_fingerprint=common.data_fingerprint,
        folds=FOLDS,
        rounds=common.rounds,
        images=len(labels),
        fractured=sum(labels),
        marked=sum(hit is not None for each in reference for hit in each.scores.hits),
        ways=tuple(ways),
    )


def read_plans(folder: Path) -> dict[str, Plan]:
    """Read the plans of all ways in a folder, by name."""
    return {path.parent.name: from_plain(Plan, read_json(path), str(path)) for path in folder.glob(f"*/{PLAN}")}


def _rounds(folder: Path, pool: Pool, count: int) -> list[Round] | None:
    """Read the rounds of a way; ``None`` if it is not finished."""
    files = [folder / f"fold-{number + 1}.json" for number in range(count)]
    if not all(file.is_file() for file in files):
        return None
    rounds = [from_plain(Round, read_json(file), str(file)) for file in files]
    for fold, each in enumerate(rounds):
        if each.paths != tuple(item.path for item in pool.part([fold])):
            raise FractureEdgeError(f"{files[fold]}: was tested on other images; give another --folder")
    return rounds


@app.command()
def where_it_looks(
    name: Annotated[str, typer.Argument(metavar="NAME", help="Name of the way, and of its folder.")],
    data: DataOption,
    splits: SplitsOption,
    folder: Annotated[Path, typer.Option(help="Folder of all ways; what is finished in it is not trained again.")],
    output: Annotated[Path, typer.Option("--output", "-o", metavar="FILE.json", help="Write the figures here.")],
    settings: SetOption = None,
    recipe: Annotated[str, typer.Option(help="Name of a recipe, or path of a .toml file.")] = "probed",
    weights: Annotated[str | None, typer.Option(help="Initial weights. Default: those of the recipe.")] = None,
    epochs: EpochsOption = None,
    image_size: Annotated[
        int | None, typer.Option(min=32, help="Height and width of the input in pixels.")
    ] = None,
    rounds: Annotated[int, typer.Option(min=1, max=FOLDS, help="Number of the five folds to test on.")] = FOLDS,
    against: Annotated[str, typer.Option(help="Name of the way that all are compared with.")] = "plain",
    precision: PrecisionOption = "auto",
    seed: SeedOption = 0,
) -> None:
    """Cross-validate one way of training `edge`, compare all ways in the folder, and print the table.

    \b
    python -m benchmarks.studies where-it-looks scanner --set augmentation.scanner=0.5 --data fracatlas
    --splits splits.csv --folder runs -o looks.json
    """  # noqa: D301
    device = prepare(precision, distribute=False)
    chosen = override(
        load_recipe("edge", recipe), epochs=epochs, image_size=image_size, settings=tuple(settings or ())
    )
    start = chosen.weights if weights is None else weights
    pool = Pool.read(data, splits, seed)
    plan = Plan(
        recipe_name=Path(recipe).stem,
        # In the form in which it is read from JSON again, for the comparison below.
        recipe=json.loads(json.dumps(chosen.to_dict())),
        settings=tuple(settings or ()),
        initial_weights=Path(start).name,
        seed=seed,
        device=device.name,
        precision=device.precision,
        data_fingerprint=fingerprint(pool.table),
        rounds=rounds,
    )
    plans = read_plans(folder)
    if name in plans and plans[name] != plan:
        raise FractureEdgeError(f"{folder / name}: was trained with other settings; give another NAME or --folder")
    if name != against:
        if against not in plans:
            raise FractureEdgeError(f"{folder}: has no way '{against}' to compare with; train it first")
        if unlike := plan.unlike(plans[against]):
            raise FractureEdgeError(
                f"{folder / against}: was trained with another {unlike}; it cannot be compared"
            )
    place = folder / name
    place.mkdir(parents=True, exist_ok=True)
    write_record(place / PLAN, plan)
    say(f"{name}: {device.name}, {device.precision}")
    train_and_score(chosen, pool, place, weights=start, seed=seed, rounds=rounds)
    result = collect(folder, pool, against)
    write_record(output, result)
    print(table_of(result), end="")
