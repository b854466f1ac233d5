"""Compare localiser and cells out of fold: `python -m benchmarks.studies where-it-points artifacts/edge-folds`.

The folder is one of `fracture-edge train edge --folds 5 --keep-models`. A localiser is fitted to the network of
each fold and its training images; then localiser and cells are asked where the marked fractures of the fold are,
which neither has seen.
"""

from dataclasses import replace
from pathlib import Path
from typing import Annotated

import keras
import numpy as np
import typer
from scipy.special import expit

from benchmarks.studies.edge_model.looking import FOLDS, Pool, score
from benchmarks.studies.edge_model.looking_result import Scores, figures, pointing, pointing_change
from benchmarks.studies.edge_model.points_result import WhereItPoints, table_of
from benchmarks.studies.robustness.pointing import hit, peak
from fracture_edge.console import say
from fracture_edge.errors import FractureEdgeError
from fracture_edge.images.image_file import load_image
from fracture_edge.preprocess import Preprocessing
from train.cli.options import DataOption, SplitsOption
from train.data.dataset import ImageTable
from train.data.localisation import Marks, fracture_masks
from train.data.pixel_store import PixelStore
from train.data.splits import folds_apart
from train.device import prepare
from train.evaluation.localiser import Localiser, fit_localiser, maps_of
from train.evaluation.predictions import groups_of
from train.evaluation.record import FOLDS_FILE, FOLDS_SCHEMA, CrossValidationRecord
from train.json_records import from_plain, read_versioned, write_record
from train.recipes.recipe import Recipe, recipe_of
from train.recipes.tables import of_this_version
from train.runs.cross_validation import FOLD_MODEL

app = typer.Typer(add_completion=False, rich_markup_mode=None)


def localiser_hits(
    localiser: Localiser,
    model: keras.Model,
    part: ImageTable,
    store: PixelStore,
    marks: dict[str, Marks],
    preprocessing: Preprocessing,
) -> tuple[bool | None, ...]:
    """Return whether the maximum of a localiser lies in or near a marked fracture; ``None`` without a mark.

    Args:
        localiser: Localiser of the network.
        model: Network.
        part: Labelled images, N.
        store: Decoded images.
        marks: Boxes of the fractures by file name.
        preprocessing: Preprocessing of the images.

    Returns:
        One entry for each image, N.
    """
    found: list[bool | None] = []
    log_odds = np.concatenate([localiser.log_odds(maps) for maps in maps_of(model, store.of(part))])
    for item, heatmap in zip(part, expit(log_odds), strict=True):
        boxes = marks.get(Path(item.path).name) if item.label else None
        if boxes is None:
            found.append(None)
            continue
        height, width = load_image(part.file(item)).shape
        found.append(hit(peak(heatmap, preprocessing, (width, height)), boxes))
    return tuple(found)


def compare(folder: Path, record: CrossValidationRecord, pool: Pool, recipe: Recipe) -> WhereItPoints:
    """Fit a localiser to the network of each fold and its training images, and compare it with its cells.

    Args:
        folder: Folder of the cross-validation.
        record: Its record.
        pool: Its images.
        recipe: Its recipe.

    Raises:
        FractureEdgeError: The network of a fold was not kept, or the images have no boxes.
    """
    preprocessing = recipe.preprocessing
    store = PixelStore(pool.table, preprocessing)
    labels: list[int] = []
    groups: list[str] = []
    by_cells: list[Scores] = []
    by_localiser: list[Scores] = []
    for fold in range(FOLDS):
        path = folder / f"fold-{fold + 1}" / FOLD_MODEL
        if not path.is_file():
            raise FractureEdgeError(f"{path}: is missing; cross-validate with --keep-models")
        say(f"fold {fold + 1} of {FOLDS}")
        model = keras.saving.load_model(path, compile=False)
        apart = folds_apart(fold, FOLDS, chooses_epochs=recipe.chooses_epochs)
        training = pool.part([number for number in range(FOLDS) if number not in apart])
        masks = fracture_masks(training, preprocessing)
        if masks is None:
            raise FractureEdgeError(f"{training.root}: has no boxes around fractures")
        localiser = fit_localiser(
            maps_of(model, store.of(training)), masks, np.array(training.labels), seed=record.seed
        )
        tested = pool.part([fold])
        scores = score(model, tested, pool.marks, preprocessing, seed=fold)
        hits = localiser_hits(localiser, model, tested, store, pool.marks, preprocessing)
        labels += tested.labels
        groups += groups_of(tested)
        by_cells.append(scores)
        by_localiser.append(replace(scores, hits=hits))
    cells, located = Scores.joined(by_cells), Scores.joined(by_localiser)
    plain, covered, scanner = figures(labels, groups, cells)
    return WhereItPoints(
        model=record.model,
        recipe=record.recipe_name,
        input=f"{preprocessing.height}x{preprocessing.width}",
        data_fingerprint=record.data_fingerprint,
        folds=FOLDS,
        images=len(labels),
        fractured=sum(labels),
        marked=sum(entry is not None for entry in cells.hits),
        auroc=plain,
        covered=covered,
        scanner=scanner,
        cells=pointing(cells),
        localiser=pointing(located),
        change=pointing_change(groups, cells, located),
    )


@app.command()
def where_it_points(
    folder: Annotated[Path, typer.Argument(metavar="FOLDS", help="Folder of train --folds 5 --keep-models.")],
    data: DataOption,
    splits: SplitsOption,
    output: Annotated[Path, typer.Option("--output", "-o", metavar="FILE.json", help="Write the figures here.")],
) -> None:
    """Fit a localiser to the network of each fold, and compare its pointing game with that of the cells."""
    prepare("float32", distribute=False)
    path = folder / FOLDS_FILE
    record = from_plain(CrossValidationRecord, read_versioned(path, FOLDS_SCHEMA), str(path))
    if record.model != "edge" or len(record.folds) != FOLDS:
        raise FractureEdgeError(f"{folder}: is not one of `train edge --folds {FOLDS}`")
    recipe = recipe_of(of_this_version(record.recipe))
    result = compare(folder, record, Pool.read(data, splits, record.seed), recipe)
    write_record(output, result)
    print(table_of(result), end="")
