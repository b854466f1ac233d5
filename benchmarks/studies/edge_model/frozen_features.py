"""Evaluate frozen features of ImageNet weights: `python -m benchmarks.studies frozen-features`.

Fits a logistic regression to the pooled features of `edge`, cross-validated on the folds of `fracture-edge train
--folds`, as a baseline for trained networks. As it takes minutes only, it is done for several input sizes, penalty
strengths and shares of the training images, and evaluated on all images of the folds.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Annotated

import numpy as np
import numpy.typing as npt
import typer

from benchmarks.studies.edge_model.learning_curve import sample_share
from fracture_edge.console import say
from fracture_edge.errors import FractureEdgeError
from fracture_edge.preprocess import Preprocessing
from train.architectures import build
from train.cli.options import DataOption
from train.data.batches import fingerprint, load_pixels
from train.data.dataset import ImageTable
from train.data.splits import cross_validation_table, fold_numbers, folds_apart
from train.evaluation.formatting import interval, markdown_table
from train.evaluation.metrics import Estimate, auroc
from train.evaluation.predictions import groups_of
from train.json_records import WRITTEN_ALWAYS, write_record
from train.quiet_tensorflow import quiet_tensorflow
from train.trainer.linear_probe import STRENGTH, features_of, regress
from train.weights import initialise

app = typer.Typer(add_completion=False, rich_markup_mode=None)
#: Penalty strengths, as multiples of the one that `train.trainer.linear_probe` uses.
STRENGTHS = (0.1, 0.3, 1.0, 3.0)
SHARES = (0.125, 0.25, 0.5)
Floats = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Regression:
    """Cross-validated logistic regression.

    Attributes:
        size: Side of the square input, in pixels.
        strength: Inverse strength of the penalty, see `train.trainer.linear_probe.regress`.
        share: Share of the training images, in complete groups.
        training_images: Mean number of training images per fold.
        auroc: AUROC of all images together.
    """

    size: int
    strength: float
    share: float
    training_images: int
    auroc: Estimate


@dataclass(frozen=True, slots=True, kw_only=True)
class FrozenFeatures:
    """AUROC of regressions on frozen features.

    Attributes:
        weights: Name of the weights file.
        folds: Number of folds.
        seed: Random seed of the folds and of the sampled shares.
        variant: Variant of EfficientNet-Lite; another than ``lite0`` only in results of earlier versions.
        deep_evidence: Whether the features include earlier feature maps, as in results of version 0.1.
        images: Number of images.
        fractured: Number of fractured images.
        data_fingerprint: Checksum of the data.
        rows: Regressions.
    """

    weights: str
    folds: int
    seed: int
    variant: str = field(default="lite0", metadata=WRITTEN_ALWAYS)
    deep_evidence: bool = field(default=False, metadata=WRITTEN_ALWAYS)
    images: int
    fractured: int
    data_fingerprint: str
    rows: tuple[Regression, ...]


@dataclass(frozen=True, slots=True)
class Pool:
    """Images divided into folds.

    Attributes:
        table: N images with labels and groups.
        folds: Fold of each image, counted from 0, [N].
        seed: Random seed of the folds and of the sampled shares.
    """

    table: ImageTable
    folds: npt.NDArray[np.intp]
    seed: int

    def cross_validate(
        self, plain: Floats, mirrored: Floats, *, size: int, strength: float, share: float
    ) -> Regression:
        """Cross-validate a regression.

        In each round it is trained on all folds but two, like the networks (whose second fold is for validation),
        and evaluated on one of the two.

        Args:
            plain: Features of the images, [N, F].
            mirrored: Features of the mirrored images, [N, F]; used for training and averaged in the evaluation.
            size: Side of the input in pixels; stored with the result.
            strength: Inverse strength of the penalty, see `train.trainer.linear_probe.regress`.
            share: Share of the training images to use, in complete groups.

        Raises:
            FractureEdgeError: The share of the training images lacks a class.
        """
        labels, count = np.array(self.table.labels), int(self.folds.max()) + 1
        paths = [item.path for item in self.table]
        scores, sizes = np.empty(len(labels)), []
        for fold in range(count):
            left = ~np.isin(self.folds, list(folds_apart(fold, count, chooses_epochs=True)))
            items = tuple(item for item, kept in zip(self.table, left, strict=True) if kept)
            part = sample_share(replace(self.table, items=items), share, seed=self.seed)
            if set(part.labels) != {0, 1}:
                raise FractureEdgeError(f"a share of {share:g} of the training images lacks a class")
            rows = np.flatnonzero(np.isin(paths, [item.path for item in part]))
            sizes.append(len(rows))
            features = np.concatenate([plain[rows], mirrored[rows]])
            kernel, bias = regress(features, np.tile(labels[rows], 2), balanced=True, strength=strength)
            tested = self.folds == fold
            scores[tested] = (plain[tested] + mirrored[tested]) @ kernel / 2 + bias
        estimate = auroc(labels.tolist(), scores, groups_of(self.table))
        return Regression(size, strength, share, round(float(np.mean(sizes))), estimate)


def measure(
    data: Path,
    splits: Path | None,
    weights: str,
    sizes: Sequence[int],
    *,
    folds: int = 5,
    seed: int = 0,
) -> FrozenFeatures:
    """Evaluate the features for several input sizes.

    Args:
        data: Data folder.
        splits: Split file; its test images are not used.
        weights: Initial weights of `edge`, see `train.weights.initialise`.
        sizes: Sides of the square input, in pixels.
        folds: Number of folds, at least 3.
        seed: Random seed of the folds and of the sampled shares.

    Raises:
        FractureEdgeError: Data, splits or weights cannot be used.
    """
    table = cross_validation_table(data, splits)
    pool = Pool(table, np.array(fold_numbers(table, folds, seed=seed)), seed)
    rows = []
    for size in sizes:
        model = build("edge", size, size)
        initialise(model, weights)
        pixels = load_pixels(table, Preprocessing(size, size, "letterbox", "bicubic"))
        plain, mirrored = features_of(model, pixels), features_of(model, pixels[:, :, ::-1])
        usual = STRENGTH / plain.shape[1]
        plan = [(times * usual, 1.0) for times in STRENGTHS] + [(usual, share) for share in SHARES]
        for strength, share in plan:
            row = pool.cross_validate(plain, mirrored, size=size, strength=strength, share=share)
            rows.append(row)
            say(f"{size} {strength:.1g} {row.training_images} {interval(row.auroc)}")
    return FrozenFeatures(
        weights=Path(weights).name,
        folds=folds,
        seed=seed,
        images=len(table),
        fractured=sum(table.labels),
        data_fingerprint=fingerprint(table),
        rows=tuple(rows),
    )


def table_of(result: FrozenFeatures) -> str:
    """Render AUROC by input size, penalty and number of training images as a Markdown table."""
    rows = sorted(result.rows, key=lambda row: (row.size, row.strength, row.training_images))
    table = markdown_table(
        ("input", "penalty (C)", "training images", "AUROC"),
        (
            (f"{row.size}x{row.size}", f"{row.strength:.2g}", row.training_images, interval(row.auroc))
            for row in rows
        ),
    )
    pooled = "averages and maxima of several maps" if result.deep_evidence else "pooled features"
    return (
        f"{table}\nLogistic regression on the {pooled} of `edge`, {result.weights}, trained on and judged by "
        f"the mirror images too; {result.folds} folds of {result.images} images, {result.fractured} of them "
        f"fractured, seed {result.seed}. 95 % intervals of a bootstrap over groups.\n"
    )


@app.command()
def frozen_features(
    data: DataOption,
    output: Annotated[Path, typer.Option("--output", "-o", metavar="FILE.json", help="Write the JSON here.")],
    splits: Annotated[Path | None, typer.Option(help="Split file; its test images are not used.")] = None,
    weights: Annotated[str, typer.Option(help="Initial weights of edge.")] = "imagenet",
    size: Annotated[
        list[int] | None,
        typer.Option(help="Side of the input in pixels; may be repeated. Default: 288."),
    ] = None,
    seed: Annotated[int, typer.Option(help="Random seed of the folds and the sampled shares.")] = 0,
) -> None:
    """Cross-validate a logistic regression on the features of ImageNet weights, and print the table.

    \b
    python -m benchmarks.studies frozen-features --data fracatlas --size 224 --size 288 -o frozen.json
    """  # noqa: D301
    quiet_tensorflow()
    result = measure(data, splits, weights, size or [288], seed=seed)
    write_record(output, result)
    print(table_of(result), end="")
