"""Results of the study `where-it-looks`, and their table."""

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from train.evaluation import bootstrap
from train.evaluation.formatting import interval, markdown_table
from train.evaluation.metrics import Estimate, auroc, percentile, wilson
from train.evaluation.paired import compare_pairs
from train.json_records import WRITTEN_ALWAYS

#: Number of resamples of the bootstrap.
RESAMPLES = 2000


@dataclass(frozen=True, slots=True)
class Answers:
    """Answers of one way of training to images that it was not trained on.

    Attributes:
        plain: P(fractured) of the images as they are, N.
        covered: P(fractured) with the boxes of the fractures, or those of another image, covered, N.
        scanner: P(fractured) of the images changed as by another scanner, N.
        hits: Whether the strongest cell lies on a marked fracture, N; ``None`` for images without one.
    """

    plain: tuple[float, ...]
    covered: tuple[float, ...]
    scanner: tuple[float, ...]
    hits: tuple[bool | None, ...]

    @classmethod
    def joined(cls, parts: Sequence["Answers"]) -> "Answers":
        """Join the answers to several folds, one fold after the other."""
        return cls(*(tuple(itertools.chain(*(getattr(part, name) for part in parts))) for name in cls.__slots__))


@dataclass(frozen=True, slots=True)
class Round:
    """One trained network, asked about one fold.

    Attributes:
        answers: Answers to the images of the fold.
        epochs: Number of epochs trained.
        seconds: Duration of the training.
    """

    answers: Answers
    epochs: int
    seconds: float


@dataclass(frozen=True, slots=True)
class Change:
    """Figures of a way of training minus those of the first one, on the same images.

    Attributes:
        auroc: Change of AUROC.
        covered: Change of AUROC with the fractures covered.
        scanner: Change of AUROC on images changed as by another scanner.
        pointing: Change of the share of fractured images whose strongest cell lies on the fracture.
    """

    auroc: Estimate
    covered: Estimate
    scanner: Estimate
    pointing: Estimate


@dataclass(frozen=True, slots=True, kw_only=True)
class Way:
    """One way of training, judged on images that it was not trained on.

    Attributes:
        name: Name of the way.
        settings: Values of the recipe that are changed, ``KEY=VALUE``.
        epochs: Number of epochs trained in each round.
        seconds: Duration of the training of each round.
        auroc: AUROC of the images as they are.
        covered: AUROC with the fractures covered.
        scanner: AUROC of the images changed as by another scanner.
        pointing: Share of fractured images whose strongest cell lies on the fracture.
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
    """Ways of training `edge`, judged on the same folds.

    Attributes:
        recipe: Name of the recipe.
        initial_weights: Name of the initial weights.
        input: Size of the input, ``HEIGHTxWIDTH``.
        seed: Random seed of folds and training.
        device: Device and backend, in words.
        precision: Keras dtype policy.
        data_fingerprint: Checksum of data and splits.
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


def pointing(answers: Answers) -> Estimate:
    """Compute the share of hits among the images with a marked fracture, with a 95 % interval of Wilson."""
    known = [hit for hit in answers.hits if hit is not None]
    return wilson(sum(known), len(known))


def figures(labels: Sequence[int], groups: Sequence[str], answers: Answers) -> tuple[Estimate, Estimate, Estimate]:
    """Compute the AUROC of the images plain, covered, and as from another scanner, with 95 % intervals.

    Args:
        labels: Labels, 0 or 1, [N].
        groups: Group of each image, [N].
        answers: Answers to these images.
    """

    def of(scores: Sequence[float]) -> Estimate:
        return auroc(labels, np.array(scores), groups, resamples=RESAMPLES)

    return of(answers.plain), of(answers.covered), of(answers.scanner)


def change(labels: Sequence[int], groups: Sequence[str], first: Answers, other: Answers) -> Change:
    """Compute the figures of `other` minus those of `first`, by a paired bootstrap over groups.

    Args:
        labels: Labels, 0 or 1, [N].
        groups: Group of each image, [N].
        first: Answers of the way to compare with.
        other: Answers of the other way to the same images.
    """

    def of(before: Sequence[float], after: Sequence[float]) -> Estimate:
        pair = np.array(before), np.array(after)
        return compare_pairs(labels, groups, *pair, 0.5, resamples=RESAMPLES).auroc_change

    marked = np.array([hit is not None for hit in first.hits])
    gains = np.array(other.hits, float) - np.array(first.hits, float)
    gains[~marked] = 0

    def mean_gain(weights: bootstrap.Floats) -> Mapping[str, bootstrap.Floats]:
        return {"pointing": (weights @ gains) / (weights @ marked)}

    truth = np.asarray(labels) == 1
    samples = bootstrap.resampled(mean_gain, truth, groups, resamples=RESAMPLES, seed=0)["pointing"]
    return Change(
        auroc=of(first.plain, other.plain),
        covered=of(first.covered, other.covered),
        scanner=of(first.scanner, other.scanner),
        pointing=percentile(float(gains[marked].mean()), samples),
    )


def table_of(result: WhereItLooks) -> str:
    """Render the ways as a Markdown table, changes below the figures, with a line about images and training."""
    header = ("way", "epochs", "minutes", "AUROC", "fractures covered", "another scanner", "pointing game")
    rows: list[tuple[str, ...]] = []
    for way in result.ways:
        epochs = "-".join(str(count) for count in sorted({min(way.epochs), max(way.epochs)}))
        four = (way.auroc, way.covered, way.scanner, way.pointing)
        rows.append((way.name, epochs, f"{sum(way.seconds) / 60:.0f}", *map(interval, four)))
        if way.change:
            less = (way.change.auroc, way.change.covered, way.change.scanner, way.change.pointing)
            rows.append((f"less {result.ways[0].name}", "", "", *map(interval, less)))
    return (
        f"{markdown_table(header, rows)}\n`edge`, recipe `{result.recipe}`, {result.input}, from "
        f"{result.initial_weights}, {result.precision}, seed {result.seed}; {result.rounds} of {result.folds} "
        f"folds: {result.images} images, {result.fractured} fractured, {result.marked} of them marked. "
        f"{result.device}. 95 % intervals of a bootstrap over groups, of the pointing game by Wilson.\n"
    )
