"""Results of the robustness and shortcut tests of `benchmarks.studies.robustness.stress`, and their tables."""

from collections.abc import Mapping
from dataclasses import dataclass

from benchmarks.records.environment import Environment
from train.evaluation.formatting import interval, markdown_table
from train.evaluation.metrics import UNDEFINED, Estimate


@dataclass(frozen=True, slots=True)
class Changed:
    """AUROC of modified images, or of a subset.

    Attributes:
        auroc: Area under the ROC curve.
        change: AUROC minus that of the unchanged images; ``None`` for a subset.
        images: Number of images of a subset; ``None`` for all images.
    """

    auroc: Estimate
    change: Estimate | None = None
    images: int | None = None


@dataclass(frozen=True, slots=True)
class Hits:
    """Shares of images with a hit in the pointing game.

    Attributes:
        model: Share for the maximum of the heat map.
        centre: Share for the centre of the image, the baseline.
    """

    model: Estimate
    centre: Estimate


@dataclass(frozen=True, slots=True)
class PointingGame:
    """Results of the pointing game.

    Attributes:
        images: Number of fractured images.
        margin: Margin added to the boxes, as a share of the image's width and height.
        within_margin: Hits within the boxes with margin.
        within_box: Hits within the boxes themselves.
    """

    images: int
    margin: float
    within_margin: Hits
    within_box: Hits


@dataclass(frozen=True, slots=True, kw_only=True)
class Stress:
    """Results of the robustness and shortcut tests of a model.

    Attributes:
        model: Name of the model.
        model_sha256: SHA-256 checksum of the model file, hexadecimal.
        data_fingerprint: Checksum of data and splits.
        split: Name of the split.
        threshold: Decision threshold of the model.
        figures: Metrics of the unchanged images by name.
        degraded: AUROC of degraded images, by degradation.
        shortcuts: AUROC without possible shortcuts, by what was removed.
        pointing: Pointing game; ``None`` if the model has no heat map or the data set has no boxes.
        environment: Machine and package versions.
    """

    model: str
    model_sha256: str
    data_fingerprint: str
    split: str
    threshold: float
    figures: dict[str, Estimate]
    degraded: dict[str, Changed]
    shortcuts: dict[str, Changed]
    pointing: PointingGame | None
    environment: Environment


def tables_of(result: Stress) -> str:
    """Render the result as a Markdown table and a sentence about the pointing game."""
    changed = result.degraded | result.shortcuts
    text = markdown_table(
        ("images", "AUROC", "change"),
        [
            ("unchanged", interval(result.figures["auroc"]), ""),
            *((name, interval(row.auroc), interval(row.change)) for name, row in changed.items()),
        ],
    )
    if game := result.pointing:
        share, plain = game.within_margin, game.within_box
        text += (
            f"\nPointing game, {game.images} fractured images: the heat map's maximum lies within a box, grown "
            f"by {game.margin:.0%} of the image's sides, for {interval(share.model)} (the image's centre: "
            f"{interval(share.centre)}); within the box itself for {interval(plain.model)} "
            f"({interval(plain.centre)}).\n"
        )
    return text


def side_by_side(results: Mapping[str, Stress]) -> str:
    """Render the AUROC of several models side by side, as a Markdown table.

    Args:
        results: Results by title of their column, all of the same images.
    """
    names = list(next(iter(results.values())).degraded)
    rows = {"unchanged": [result.figures["auroc"] for result in results.values()]}
    rows |= {name: [result.degraded[name].auroc for result in results.values()] for name in names}
    rows["(pointing game: share)"] = [
        UNDEFINED if result.pointing is None else result.pointing.within_margin.model
        for result in results.values()
    ]
    return markdown_table(("images", *results), ((name, *map(interval, found)) for name, found in rows.items()))


def worst(result: Stress) -> tuple[str, Estimate]:
    """Return the name and AUROC of the degradation with the lowest AUROC."""
    name, row = min(result.degraded.items(), key=lambda entry: entry[1].auroc.value)
    return name, row.auroc
