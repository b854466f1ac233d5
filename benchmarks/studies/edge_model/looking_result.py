"""Results of the study `where-it-looks`, and their table."""

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from train.evaluation import bootstrap
from train.evaluation.formatting import interval, markdown_table
from train.evaluation.metrics import UNDEFINED, Estimate, auroc, percentile, wilson
from train.evaluation.paired import compare_pairs
from train.json_records import WRITTEN_ALWAYS

#: Number of resamples of the bootstrap.
RESAMPLES = 2000


@dataclass(frozen=True, slots=True)
class Scores:
    """Predictions of one network, or of several for their test folds, for images that it was not trained on.

    Attributes:
        plain: P(fractured) of the images as they are, N.
        covered: P(fractured) with the boxes of the fractures, or those of another image, covered, N.
        scanner: P(fractured) of the images changed as by another scanner, N.
        hits: Whether the strongest cell lies within a marked fracture or 5 % of the image's sides from one, N;
            ``None`` for images without a mark.
    """

    plain: tuple[float, ...]
    covered: tuple[float, ...]
    scanner: tuple[float, ...]
    hits: tuple[bool | None, ...]

    @classmethod
    def joined(cls, parts: Sequence["Scores"]) -> "Scores":
        """Join the scores of several folds, one fold after the other."""
        return cls(*(tuple(itertools.chain(*(getattr(part, name) for part in parts))) for name in cls.__slots__))


@dataclass(frozen=True, slots=True)
class Round:
    """Network trained in one round, and its scores of the test fold.

    Attributes:
        paths: Paths of the images, relative to the data folder, N.
        scores: Scores of these images.
        epochs: Number of epochs trained.
        seconds: Duration of the training.
    """

    paths: tuple[str, ...]
    scores: Scores
    epochs: int
    seconds: float


@dataclass(frozen=True, slots=True)
class Change:
    """Figures of a way of training minus those of the first one, on the same images.

    Attributes:
        auroc: Change of AUROC.
        covered: Change of AUROC with the fractures covered.
        scanner: Change of AUROC on images changed as by another scanner.
        pointing: Change of the share of hits.
    """

    auroc: Estimate
    covered: Estimate
    scanner: Estimate
    pointing: Estimate


@dataclass(frozen=True, slots=True, kw_only=True)
class Way:
    """One way of training, evaluated on images that it was not trained on.

    Attributes:
        name: Name of the way.
        settings: Values of the recipe that are changed, ``KEY=VALUE``.
        epochs: Number of epochs trained in each round.
        seconds: Duration of the training of each round.
        auroc: AUROC of the images as they are.
        covered: AUROC with the fractures covered.
        scanner: AUROC of the images changed as by another scanner.
        pointing: Share of hits among the images with a marked fracture, see `Scores`.
        change: Figures minus those of the first way; ``None`` for that one.
    """

    name: str
    settings: tuple[str, ...]
    epochs: tuple[int, ...]
    seconds: tuple[float, ...]
    auroc: Estimate
    covered: Estimate
    scanner: Estimate
    pointing: Estimate
    change: Change | None = field(default=None, metadata=WRITTEN_ALWAYS)


@dataclass(frozen=True, slots=True, kw_only=True)
class WhereItLooks:
    """Ways of training `edge`, evaluated on the same folds.

    Attributes:
        recipe: Name of the recipe.
        initial_weights: Name of the initial weights.
        input: Size of the input, ``HEIGHTxWIDTH``.
        seed: Random seed of folds and training.
        device: Device and backend, in words.
        precision: Keras dtype policy.
        data_fingerprint: Checksum of the images of all folds.
        folds: Number of folds.
        rounds: Number of folds that were tested on.
        images: Number of images in the tested folds.
        fractured: Number of fractured images among them.
        marked: Number of these with marked fractures.
        ways: Ways of training.
    """

    recipe: str
    initial_weights: str
    input: str
    seed: int
    device: str
    precision: str
    data_fingerprint: str
    folds: int
    rounds: int
    images: int
    fractured: int
    marked: int
    ways: tuple[Way, ...]


def pointing(scores: Scores) -> Estimate:
    """Compute the share of hits, with a 95 % interval of Wilson; NaN without marked fractures."""
    known = [hit for hit in scores.hits if hit is not None]
    return wilson(sum(known), len(known)) if known else UNDEFINED


def figures(labels: Sequence[int], groups: Sequence[str], scores: Scores) -> tuple[Estimate, Estimate, Estimate]:
    """Compute the AUROC of the images plain, covered, and as from another scanner, with 95 % intervals.

    Args:
        labels: Labels, 0 or 1, [N].
        groups: Group of each image, [N].
        scores: Scores of these images.
    """

    def of(values: Sequence[float]) -> Estimate:
        return auroc(labels, np.array(values), groups, resamples=RESAMPLES)

    return of(scores.plain), of(scores.covered), of(scores.scanner)


def change(labels: Sequence[int], groups: Sequence[str], first: Scores, other: Scores) -> Change:
    """Compute the figures of `other` minus those of `first`, by a paired bootstrap over groups.

    Args:
        labels: Labels, 0 or 1, [N].
        groups: Group of each image, [N].
        first: Scores of the way to compare with.
        other: Scores of the other way for the same images.
    """

    def of(before: Sequence[float], after: Sequence[float]) -> Estimate:
        pair = np.array(before), np.array(after)
        return compare_pairs(labels, groups, *pair, 0.5, resamples=RESAMPLES).auroc_change

    return Change(
        auroc=of(first.plain, other.plain),
        covered=of(first.covered, other.covered),
        scanner=of(first.scanner, other.scanner),
        pointing=pointing_change(groups, first, other),
    )


def pointing_change(groups: Sequence[str], first: Scores, other: Scores) -> Estimate:
    """Compute the share of hits of `other` minus that of `first`, by a paired bootstrap over groups; else NaN."""
    marked = np.array([hit is not None for hit in first.hits])
    if marked.all() or not marked.any():
        return UNDEFINED
    before, after = (np.array([bool(hit) for hit in scores.hits]) for scores in (first, other))

    def gain(weights: bootstrap.Floats) -> Mapping[str, bootstrap.Floats]:
        shares = [bootstrap.share(hits, marked, weights) for hits in (before, after)]
        return {"pointing": shares[1] - shares[0]}

    value = gain(np.ones((1, len(marked))))["pointing"][0]
    samples = bootstrap.resampled(gain, marked, groups, resamples=RESAMPLES, seed=0)["pointing"]
    return percentile(float(value), samples)


def table_of(result: WhereItLooks) -> str:
    """Render the ways as a Markdown table, changes below the figures, with a line about images and training."""
    header = ("way", "epochs", "minutes", "AUROC", "fractures covered", "another scanner", "pointing game")
    rows: list[tuple[str, ...]] = []
    for way in result.ways:
        name = f"{way.name} (`{'`, `'.join(way.settings)}`)" if way.settings else way.name
        epochs = "-".join(str(count) for count in sorted({min(way.epochs), max(way.epochs)}))
        four = (way.auroc, way.covered, way.scanner, way.pointing)
        rows.append((name, epochs, f"{sum(way.seconds) / 60:.0f}", *map(interval, four)))
        if way.change:
            less = (way.change.auroc, way.change.covered, way.change.scanner, way.change.pointing)
            rows.append((f"minus {result.ways[0].name}", "", "", *map(interval, less)))
    return (
        f"{markdown_table(header, rows)}\n`edge`, recipe `{result.recipe}`, {result.input}, from "
        f"{result.initial_weights}, {result.precision}, seed {result.seed}; {result.rounds} of {result.folds} "
        f"folds: {result.images} images, {result.fractured} fractured, {result.marked} of them marked. "
        f"{result.device}. 95 % intervals: bootstrap over groups, Wilson's for the shares of the pointing game.\n"
    )
