"""Localiser: where the features of a trained network are those of marked fractures.

A regression tells for each position of the feature maps whether a fracture box covers it. The network stays as it
is, and so does P(fractured). Cells that are trained with the network see a fracture line only as the last map has
it, 32 pixels a cell; the localiser reads maps of 16 pixels. It reads none of the last: those know the training
images too well, and point worse at what is new (docs/lab-notes.md#where-it-points).
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any

import keras
import numpy as np
import numpy.typing as npt
from keras import layers
from sklearn.linear_model import LogisticRegression
from sklearn.preprocessing import StandardScaler

from fracture_edge.errors import FractureEdgeError
from fracture_edge.files import atomic_path
from train.evaluation.predict import outputs
from train.trainer.cell_loss import FULL_COVERAGE

FILE = "localiser.npz"
#: Name of the layer with one logit for each cell, see `train.architectures`; only such networks have a localiser.
CELLS = "cells"
#: Inverse strength of the L2 penalty on standardised features, times their number (choice: docs/lab-notes.md).
STRENGTH = 3.0
#: Largest number of positions without fracture; half of them are of images with one.
MOST_POSITIONS = 30_000
#: Ending of the names of the layers that are read: the wide maps in which a block computes.
_WIDE = "_expand_relu"
#: Number of images whose maps are computed together.
_PART = 32

Floats = npt.NDArray[np.floating[Any]]


@dataclass(frozen=True, slots=True)
class Localiser:
    """Linear map from features to the log-odds that a fracture covers a position.

    Attributes:
        kernel: Kernel for the channels of all maps, one map after the other, [K].
        bias: Bias of the log-odds.
    """

    kernel: Floats
    bias: float

    def log_odds(self, maps: Floats) -> Floats:
        """Compute the log-odds, [N, h, w], of feature maps [N, h, w, K]."""
        return averaged(maps) @ self.kernel + self.bias

    def save(self, path: Path) -> None:
        """Write the localiser to an ``.npz`` file."""
        with atomic_path(path) as temporary, temporary.open("wb") as stream:
            np.savez(stream, kernel=self.kernel, bias=np.float64(self.bias))


def load_localiser(path: Path) -> Localiser:
    """Read a file written by `Localiser.save`.

    Raises:
        FractureEdgeError: The file cannot be read.
    """
    try:
        with np.load(path, allow_pickle=False) as held:
            return Localiser(held["kernel"], float(held["bias"]))
    except (OSError, ValueError, KeyError) as error:
        raise FractureEdgeError(f"{path}: cannot be read ({error}); train again with --force") from error


def sample_positions(
    masks: npt.NDArray[np.uint8], labels: npt.NDArray[np.integer[Any]], grid: tuple[int, int], *, seed: int
) -> tuple[npt.NDArray[np.bool_], npt.NDArray[np.bool_]]:
    """Choose the positions that the localiser is fitted to.

    Positions that a box covers all count. Of the others as many are sampled of images with a fracture as of images
    without; those of fractured images without a box are left out.

    Args:
        masks: Masks of the fracture boxes, 0 or 255, uint8 [N, H, W, 1].
        labels: Labels, 0 or 1, [N].
        grid: Height and width of the grid of positions.
        seed: Random seed.

    Returns:
        Whether each position is covered, and whether it is sampled as one that is not, [N, h, w] each.
    """
    count, rows, columns = len(masks), *grid
    height, width = (-(-side // places) for side, places in zip(masks.shape[1:3], grid, strict=True))
    # Filled up where the last positions reach beyond the image, as convolutions of stride 2 do.
    beyond = ((0, 0), (0, rows * height - masks.shape[1]), (0, columns * width - masks.shape[2]))
    blocks = np.pad(masks[..., 0], beyond).reshape(count, rows, height, columns, width)
    coverage = blocks.mean(axis=(2, 4), dtype=np.float32) / 255
    covered, free = coverage >= FULL_COVERAGE, coverage == 0
    marked = masks.any(axis=(1, 2, 3))
    random = np.random.default_rng(seed)
    sampled = np.zeros_like(free)
    for part in (marked, np.equal(labels, 0)):
        places = np.flatnonzero(free & np.reshape(part, (-1, 1, 1)))
        chosen = random.permutation(places)[: MOST_POSITIONS // 2]
        sampled.ravel()[chosen] = True
    return covered, sampled


def averaged(maps: Floats) -> Floats:
    """Average maps [N, h, w, K] over a position and its neighbours, nine or, at the rim, as many as there are."""
    counts = _neighbourhoods(np.ones((1, *maps.shape[1:3], 1), maps.dtype))
    return _neighbourhoods(maps) / counts


def _neighbourhoods(maps: Floats) -> Floats:
    """Sum maps over a position and its neighbours."""
    height, width = maps.shape[1:3]
    padded = np.pad(maps, ((0, 0), (1, 1), (1, 1), (0, 0)))
    shifted = (padded[:, row : row + height, left : left + width] for row in range(3) for left in range(3))
    return np.asarray(sum(shifted))


def fit_localiser(
    batches: Iterable[Floats],
    masks: npt.NDArray[np.uint8],
    labels: npt.NDArray[np.integer[Any]],
    *,
    seed: int,
    strength: float = STRENGTH,
) -> Localiser:
    """Fit a localiser to the feature maps of training images.

    Args:
        batches: Feature maps of the images, [n, h, w, K] each, in order.
        masks: Masks of the fracture boxes, 0 or 255, uint8 [N, H, W, 1].
        labels: Labels, 0 or 1, [N].
        seed: Random seed of the positions.
        strength: Inverse strength of the L2 penalty, times the number of features.

    Raises:
        FractureEdgeError: No box covers a position.
    """
    rows: list[Floats] = []
    truth: list[npt.NDArray[np.bool_]] = []
    done = 0
    covered = sampled = np.empty((0, 0, 0), bool)
    for maps in batches:
        if not done:
            height, width = maps.shape[1:3]
            covered, sampled = sample_positions(masks, labels, (height, width), seed=seed)
        part = slice(done, done + len(maps))
        wanted = covered[part] | sampled[part]
        rows.append(averaged(maps)[wanted])
        truth.append(covered[part][wanted])
        done += len(maps)
    features, is_covered = np.concatenate(rows), np.concatenate(truth)
    if not is_covered.any():
        raise FractureEdgeError("no box covers a position of the feature maps: a localiser cannot be fitted")
    scaler = StandardScaler()
    regression = LogisticRegression(C=strength / features.shape[1], class_weight="balanced", max_iter=1000)
    regression.fit(scaler.fit_transform(features), is_covered)
    kernel = regression.coef_[0] / scaler.scale_
    # Both kinds had the same weight; with the shares of all positions a sigmoid is the chance of being covered.
    prior = np.log(covered.sum() / (covered.size - covered.sum()))
    return Localiser(kernel, float(regression.intercept_[0] - kernel @ scaler.mean_ + prior))


def map_layers(model: keras.Model) -> tuple[str, ...]:
    """Return the names of the layers that the localiser reads.

    They are the wide maps of exactly twice the resolution of the cells, the last one of each width. Detectors on
    mobile networks read such a map too (Sandler et al., MobileNetV2, CVPR 2018, section 6.2).

    Returns:
        Names in the network's order; empty if it has no cells or no such maps.
    """
    maps = {layer.name: layer for layer in model.layers}
    if CELLS not in maps:
        return ()
    twice = tuple(2 * side for side in maps[CELLS].input.shape[1:3])
    found: dict[int, str] = {}
    for name, layer in maps.items():
        if name.endswith(_WIDE) and layer.output.shape[1:3] == twice:
            found[layer.output.shape[-1]] = name
    return tuple(found.values())


def maps_of(model: keras.Model, pixels: npt.NDArray[np.uint8]) -> Iterator[Floats]:
    """Compute the feature maps that the localiser reads, batch by batch.

    Args:
        model: Network for which `map_layers` finds some.
        pixels: Images, uint8 [N, H, W, 1].

    Yields:
        Feature maps of some images, [n, h, w, K], in order.
    """
    maps = [model.get_layer(name).output for name in map_layers(model)]
    extractor = keras.Model(model.input, layers.concatenate(maps) if len(maps) > 1 else maps[0])
    # Part by part: the maps of all images would take gigabytes.
    for start in range(0, len(pixels), _PART):
        yield outputs(extractor, pixels[start : start + _PART], _PART).astype(np.float32)


def graph_log_odds(
    model: keras.Model,
    localiser: Localiser,
    scales: Mapping[str, Floats] = MappingProxyType({}),
) -> keras.KerasTensor:
    """Return the log-odds of the localiser in the graph of a network.

    Args:
        model: Network, also as rewritten for export.
        localiser: Localiser that was fitted to it.
        scales: Factors by which the outputs of layers have been multiplied since, by name, [channels] each.

    Returns:
        Log-odds, [N, h, w, 1].

    Raises:
        FractureEdgeError: The network has other feature maps than those of the localiser.
    """
    names = map_layers(model)
    maps = [model.get_layer(name).output for name in names]
    terms: list[keras.KerasTensor] = []
    for name, part, kernel in zip(names, maps, split(localiser, [part.shape[-1] for part in maps]), strict=True):
        layer = layers.Conv2D(1, 1, use_bias=not terms, name=f"localiser_{name}", dtype="float32")
        terms.append(layer(part))
        values = (kernel / scales.get(name, 1.0)).reshape(1, 1, -1, 1)
        layer.set_weights([values, np.array([localiser.bias])][: len(layer.weights)])
    total = layers.add(terms) if len(terms) > 1 else terms[0]
    # Of the log-odds, which are linear in the features: one channel and not a thousand.
    return layers.AveragePooling2D(3, 1, "same", name="localiser")(total)


def split(localiser: Localiser, widths: Sequence[int]) -> list[Floats]:
    """Split the kernel into those of the maps.

    Args:
        localiser: Localiser.
        widths: Number of channels of each map.

    Raises:
        FractureEdgeError: The localiser is for other maps.
    """
    if not widths or sum(widths) != len(localiser.kernel):
        raise FractureEdgeError(
            f"{FILE}: {len(localiser.kernel)} channels, but the network has {sum(widths)}: "
            "written by another version; train again with --force"
        )
    return np.split(localiser.kernel, np.cumsum(widths)[:-1])
