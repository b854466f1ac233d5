"""Result of the study `where-it-points`, and its table."""

from dataclasses import dataclass

from train.evaluation.formatting import interval, markdown_table
from train.evaluation.metrics import Estimate


@dataclass(frozen=True, slots=True, kw_only=True)
class WhereItPoints:
    """Pointing game of localisers and of cells, of the same networks, on images that they were not trained on.

    Attributes:
        model: Name of the architecture.
        recipe: Name of the recipe.
        input: Size of the input, ``HEIGHTxWIDTH``.
        data_fingerprint: Checksum of the images of all folds.
        folds: Number of folds.
        images: Number of images in all folds.
        fractured: Number of fractured images.
        marked: Number of these with marked fractures.
        auroc: AUROC of the images as they are.
        covered: AUROC with the fractures covered.
        scanner: AUROC of the images changed as by another scanner.
        cells: Share of the marked images whose strongest cell lies in or near a fracture.
        localiser: Share of those in which the maximum of the localiser does.
        change: Share of the localiser minus that of the cells.
    """

    model: str
    recipe: str
    input: str
    data_fingerprint: str
    folds: int
    images: int
    fractured: int
    marked: int
    auroc: Estimate
    covered: Estimate
    scanner: Estimate
    cells: Estimate
    localiser: Estimate
    change: Estimate


def table_of(result: WhereItPoints) -> str:
    """Render the comparison as a Markdown table with a line about images and networks."""
    rows = [
        ("cells", interval(result.cells)),
        ("localiser", interval(result.localiser)),
        ("localiser minus cells", interval(result.change)),
    ]
    table = markdown_table(("heat map", "pointing game"), rows)
    return (
        f"{table}\n`{result.model}`, {result.input}, {result.folds} folds: {result.images} images, "
        f"{result.fractured} fractured, {result.marked} of them marked. AUROC {interval(result.auroc)}, fractures "
        f"covered {interval(result.covered)}, another scanner {interval(result.scanner)}. 95 % intervals: "
        "Wilson's for the shares, bootstrap over groups for all others.\n"
    )
