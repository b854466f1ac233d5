"""What a model withstands and rests on: the record of `benchmarks.studies.robustness.stress`, and its tables."""

from collections.abc import Mapping
from dataclasses import dataclass

from benchmarks.records.environment import Environment
from train.evaluation.formatting import interval, markdown_table
from train.evaluation.metrics import UNDEFINED, Estimate


@dataclass(frozen=True, slots=True)
class Changed:
    """AUROC of changed images, or of some.

    Attributes:
        auroc: Area under the ROC curve.
        change: AUROC less that of the unchanged images; ``None`` for other images.
        images: Number of images, where they are not all.
    """

    auroc: Estimate
    change: Estimate | None = None
    images: int | None = None


@dataclass(frozen=True, slots=True)
class Hits:
    """Shares of the images where what points lies in a box: the heat map's maximum, and the image's centre."""

    model: Estimate
    centre: Estimate


@dataclass(frozen=True, slots=True)
class PointingGame:
    """How often the heat map points at the fracture.

    Attributes:
        images: Number of fractured images.
        margin: How much the boxes are grown, as a share of the image's sides.
        within_margin: Hits in the grown boxes.
        within_box: Hits in the boxes themselves.
    """

    images: int
    margin: float
    within_margin: Hits
    within_box: Hits


@dataclass(frozen=True, slots=True, kw_only=True)
class Stress:
    """What a model withstands and rests on.

    Attributes:
        model: Name of the model.
        model_sha256: Checksum of its file, hexadecimal.
        data_fingerprint: Checksum of data and splits.
        split: Name of the split.
        threshold: Threshold of the model.
        figures: Figures of the unchanged images by name.
        degraded: AUROC of degraded images by what was done to them.
        shortcuts: AUROC without what might tell in place of the fracture, by what was taken away.
        pointing: Pointing game; ``None`` where the model has no heat map or the data set no boxes.
        environment: Machine and versions.
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
    """Format the result, as Markdown."""
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
    """Compare the AUROC of several models, as Markdown.

    Args:
        results: Results by what heads the column; all of the same images.
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
    """Find the degradation with the lowest AUROC."""
    name, row = min(result.degraded.items(), key=lambda entry: entry[1].auroc.value)
    return name, row.auroc
