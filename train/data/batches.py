"""Images of a table as one uint8 array in memory, and batches from it."""

import hashlib
import math
import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import keras
import numpy as np
import numpy.typing as npt
from tqdm import tqdm

from fracture_edge.errors import ImageError
from fracture_edge.preprocess import Preprocessing
from train.data.dataset import DataError, ImageTable
from train.data.local_evidence import LocalEvidence
from train.data.mixing import Mixing
from train.data.scanners import ScannerVariation
from train.data.soft_targets import soften


def load_pixels(
    table: ImageTable, preprocessing: Preprocessing, *, label: str = "reading"
) -> npt.NDArray[np.uint8]:
    """Decode and preprocess every image, on all cores.

    Args:
        table: Images.
        preprocessing: Preprocessing, the same as that of the exported model.
        label: Label of the progress bar.

    Returns:
        Images, uint8 [N, height, width, 1]: 83 kB per image at 288 x 288, 0.3 GB for FracAtlas.

    Raises:
        DataError: Images cannot be read; the message names the first one and their number.
    """
    pixels = np.empty((len(table), preprocessing.height, preprocessing.width, 1), np.uint8)
    failures: list[ImageError] = []

    def load(row: int) -> None:
        try:
            pixels[row] = preprocessing.load(table.file(table.items[row]))
        except ImageError as error:
            failures.append(error)

    with ThreadPoolExecutor(os.cpu_count() or 1) as pool:
        # disable=None: a bar only on a terminal.
        for _ in tqdm(pool.map(load, range(len(table))), label, len(table), unit="img", disable=None):
            pass
    if failures:
        first = min(failures, key=lambda error: error.source)
        raise DataError(
            f"{len(failures)} images cannot be read, first: {first}. `fracture-edge data split` leaves such "
            "images out"
        )
    return pixels


def fingerprint(table: ImageTable) -> str:
    """Compute the SHA-256 of path, label, split and content of every image, in the table's order."""
    digest = hashlib.sha256()
    for item in table:
        content = hashlib.sha256(table.file(item).read_bytes()).hexdigest()
        digest.update(f"{item.path}\t{item.label}\t{item.split}\t{content}\n".encode("utf-8", "surrogateescape"))
    return digest.hexdigest()


def class_weights(labels: Sequence[int]) -> dict[int, float]:
    """Compute class weights that balance both classes, with a mean of 1 over the images."""
    counts = {label: list(labels).count(label) for label in (0, 1)}
    return {label: len(labels) / (2 * count) for label, count in counts.items()}


def batch_multiple(batch_size: int, images: int, sharing: int) -> int:
    """Return the number that the sizes of training batches must be a multiple of, see `Batches`.

    JAX compiles the network for each batch size, which takes as long as many epochs: with JAX all batches are
    full. With other backends only the devices that share a batch need equal parts.

    Args:
        batch_size: Number of images per batch.
        images: Number of images per epoch; fewer than `batch_size` still form one batch.
        sharing: Number of devices that share a batch.
    """
    return batch_size if keras.backend.backend() == "jax" and images >= batch_size else sharing


class Batches(keras.utils.PyDataset):
    """Batches of (images, targets, weights), shuffled and mixed by a seed and the number of the epoch."""

    def __init__(
        self,
        pixels: npt.NDArray[np.uint8],
        labels: Sequence[int],
        *,
        batch_size: int,
        masks: npt.NDArray[np.uint8] | None = None,
        predictions: npt.NDArray[np.float64] | None = None,
        share: float = 0.0,
        classes: npt.NDArray[np.bool_] | None = None,
        weights: dict[int, float] | None = None,
        seed: int | None = None,
        scanners: ScannerVariation | None = None,
        local: LocalEvidence | None = None,
        mixing: Mixing | None = None,
        multiple: int = 1,
        **kwargs: Any,
    ) -> None:
        """Create the batches.

        Args:
            pixels: Images, uint8 [N, H, W, 1].
            labels: Labels, 0 or 1, [N].
            batch_size: Number of images per batch; the last batch may be smaller.
            masks: Masks of fractures, uint8 [N, H, W, 1], added to the images as a second channel.
            predictions: P(fractured) by teacher models, [N], see `train.data.soft_targets.soften`.
            share: Share of these predictions in the targets, 0 to 1.
            classes: Class of each image, [N, L], a row without True for none; appended to the targets as L
                columns: the target probability of the image's own label in the column of its class, 0 elsewhere.
            weights: Weight of each class in the loss; all 1 when ``None``.
            seed: Random seed of the shuffling; the order is kept when ``None``.
            scanners: Changes of some images as by another scanner; none if ``None``.
            local: Covers and windows whose label follows the fracture; needs `masks`; none if ``None``.
            mixing: MixUp or CutMix of the images of a batch.
            multiple: Number that the batch sizes are a multiple of; the remaining images of an epoch are skipped.
            **kwargs: Further arguments of `keras.utils.PyDataset`.
        """
        # With several workers Keras prefetches by itself. With one it leaves that to tf.data, whose tuning thread
        # is asleep when an epoch ends and delays it until it wakes: for as long again as a short epoch took, a
        # minute after a long one. Mixing uses one stream of random numbers, so it must have one worker.
        super().__init__(workers=2 if mixing is None else 1, **kwargs)
        self.pixels = pixels
        self.masks = masks
        known = labels if predictions is None else predictions
        targets, self.weights = soften(labels, known, share, weights or {0: 1.0, 1: 1.0})
        self.targets = targets[:, np.newaxis]
        if classes is not None:
            likely = np.where(np.asarray(labels) == 1, targets, 1 - targets)
            self.targets = np.column_stack([self.targets, likely[:, np.newaxis] * classes])
        self.batch_size = batch_size
        self.seed = seed
        self.scanners = scanners
        self.local = local
        self.fractured = np.asarray(labels) == 1
        self.negative_weight = (weights or {0: 1.0})[0]
        self.mixing = mixing
        self.multiple = multiple
        self.start_epoch(0)

    def start_epoch(self, number: int) -> None:
        """Shuffle for epoch `number`, counted from 0; without a seed the order is always the same."""
        self.epoch = number
        self.order = np.arange(len(self.targets))
        if self.seed is not None:
            np.random.default_rng([self.seed, number]).shuffle(self.order)
        if self.mixing is not None:
            self.mixing.start_epoch(number)

    def __len__(self) -> int:
        return math.ceil(self._usable / self.batch_size)

    @property
    def _usable(self) -> int:
        return len(self.order) - len(self.order) % self.multiple

    def __getitem__(self, index: int) -> tuple[npt.NDArray[Any], ...]:
        rows = self.order[: self._usable][index * self.batch_size : (index + 1) * self.batch_size]
        images = self.pixels[rows]
        if self.scanners is not None:
            images = self.scanners(images, self.epoch, index)
        if self.masks is not None:
            images = np.concatenate([images, self.masks[rows]], axis=-1)
        if self.local is not None:
            images, fractured = self.local(images, self.fractured[rows], self.epoch, index)
            lost = self.fractured[rows] & ~fractured
            targets = np.where(lost[:, np.newaxis], np.float32(0), self.targets[rows])
            return images, targets, np.where(lost, np.float32(self.negative_weight), self.weights[rows])
        if self.mixing is not None:
            return self.mixing(images, self.targets[rows], self.weights[rows])
        return images, self.targets[rows], self.weights[rows]

    @property
    def has_masks(self) -> bool:
        """Whether the images have a mask of the fractures as second channel."""
        return self.masks is not None
