"""Cross-validate ways of training `edge` and ask where they look: `python -m benchmarks.studies where-it-looks`.

Each way is judged on images of folds that it was not trained on, by four figures: AUROC; AUROC with the marked
fractures covered (and the same boxes in images without fracture), which comes from something other than the
fracture; AUROC on images changed as by another scanner; and the share of fractured images whose strongest cell
lies on the fracture.
"""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import typer

from benchmarks.studies.edge_model.first_stage import train_on_patches
from benchmarks.studies.edge_model.frozen_teachers import FrozenTeachers
from benchmarks.studies.edge_model.looking import FOLDS, Pool, ask
from benchmarks.studies.edge_model.looking_result import (
    Answers,
    Round,
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


def train_and_ask(
    recipe: Recipe,
    pool: Pool,
    folder: Path,
    *,
    weights: str,
    seed: int,
    rounds: int,
    patches: bool = False,
    teachers: FrozenTeachers | None = None,
) -> None:
    """Train and test the rounds of a way that are not yet in its folder.

    Round k tests on fold k, chooses epoch and calibration on fold k + 1, and trains on the rest.

    Args:
        recipe: Recipe of the training.
        pool: Images in folds.
        folder: Folder of the way.
        weights: Initial weights, see `train.weights.initialise`.
        seed: Random seed of the training.
        rounds: Number of folds to test on.
        patches: Whether the network is trained on patches at full resolution first.
        teachers: Regressions on frozen features that give soft targets; none if ``None``.
    """
    store = PixelStore(pool.table, recipe.preprocessing)
    for fold in range(rounds):
        if (folder / f"fold-{fold + 1}.json").is_file():
            continue
        place = folder / f"fold-{fold + 1}"
        place.mkdir(parents=True, exist_ok=True)
        following = (fold + 1) % FOLDS
        training = pool.part([number for number in range(FOLDS) if number not in (fold, following)])
        rows = np.flatnonzero(~np.isin(pool.folds, (fold, following)))
        start = train_on_patches(recipe, training, weights, place, seed=seed) if patches else weights
        outcome = train_once(
            recipe,
            store,
            training,
            pool.part([following]),
            folder=place,
            weights=start,
            seed=seed,
            taught=teachers.cross_fitted(rows, pool.folds) if teachers else None,
        )
        answers = ask(outcome.model, pool.part([fold]), pool.marks, recipe.preprocessing, seed=fold)
        done = Round(answers, len(outcome.history.rows), outcome.seconds)
        write_record(folder / f"fold-{fold + 1}.json", done)
        clear_state(place)


def collect(folder: Path, pool: Pool, first: str) -> WhereItLooks:
    """Compute the figures of all ways in a folder.

    Args:
        folder: Folder with a folder for each way.
        pool: Images in folds.
        first: Name of the way that the others are compared with.

    Raises:
        FractureEdgeError: The first way is missing or unfinished, or the ways are of other data, folds, input or
            device.
    """
    plans = {path.parent.name: from_plain(Plan, read_json(path), str(path)) for path in folder.glob(f"*/{PLAN}")}
    if first not in plans:
        raise FractureEdgeError(f"{folder}: has no way '{first}' to compare with; train it first")
    common = plans[first]
    parts = [pool.part([fold]) for fold in range(common.rounds)]
    labels = [item.label for part in parts for item in part]
    groups = [group for part in parts for group in groups_of(part)]
    compared: Answers | None = None
    ways = []
    for name in sorted(plans, key=lambda name: (name != first, name)):
        if _comparable(plans[name]) != _comparable(common):
            raise FractureEdgeError(
                f"{folder / name}: was trained on other data, folds, input or device than {first}"
            )
        files = [folder / name / f"fold-{number + 1}.json" for number in range(common.rounds)]
        if not all(file.is_file() for file in files):
            say(f"{name}: not finished, left out")
            continue
        rounds = [from_plain(Round, read_json(file), str(file)) for file in files]
        answers = Answers.joined([each.answers for each in rounds])
        compared = compared or answers
        plain, covered, scanner = figures(labels, groups, answers)
        ways.append(
            Way(
                name=name,
                settings=plans[name].settings,
                epochs=tuple(each.epochs for each in rounds),
                seconds=tuple(each.seconds for each in rounds),
                auroc=plain,
                covered=covered,
                scanner=scanner,
                pointing=pointing(answers),
                change=None if name == first else change(labels, groups, compared, answers),
            )
        )
    if compared is None or ways[0].name != first:
        raise FractureEdgeError(f"{folder / first}: is not finished; train it first")
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
        marked=int(np.sum([hit is not None for hit in compared.hits])),
        ways=tuple(ways),
    )


def _comparable(plan: Plan) -> tuple[Any, ...]:
    size = plan.recipe["preprocessing"]
    return plan.data_fingerprint, plan.seed, plan.rounds, plan.device, plan.precision, size


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
    patches: Annotated[bool, typer.Option("--patches", help="Train on patches at full resolution first.")] = False,
    frozen_teachers: Annotated[
        bool, typer.Option("--frozen-teachers", help="Soft targets by regressions on frozen features.")
    ] = False,
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
        recipe_name=recipe,
        # In the form in which it is read from JSON again, for the comparison below.
        recipe=json.loads(json.dumps(chosen.to_dict())),
        settings=(
            *(settings or ()),
            *(["patches first"] if patches else []),
            *(["frozen teachers"] if frozen_teachers else []),
        ),
        initial_weights=Path(start).name,
        seed=seed,
        device=device.name,
        precision=device.precision,
        data_fingerprint=fingerprint(pool.table),
        rounds=rounds,
    )
    place = folder / name
    place.mkdir(parents=True, exist_ok=True)
    if (place / PLAN).is_file():
        if from_plain(Plan, read_json(place / PLAN), str(place / PLAN)) != plan:
            raise FractureEdgeError(f"{place}: was trained with other settings; give another NAME or --folder")
    else:
        write_record(place / PLAN, plan)
    say(f"{name}: {device.name}, {device.precision}")
    teachers = FrozenTeachers.of(pool.table, start, folder) if frozen_teachers else None
    train_and_ask(
        chosen,
        pool,
        place,
        weights=start,
        seed=seed,
        rounds=rounds,
        patches=patches,
        teachers=teachers,
    )
    result = collect(folder, pool, against)
    write_record(output, result)
    print(table_of(result), end="")
