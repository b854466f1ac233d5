"""What can be done to a network before it is exported, in the order in which it is done."""

from collections.abc import Sequence

import keras
import numpy as np
import numpy.typing as npt

from export.compression.prune_and_cluster import FineTuning, cluster, prune
from export.keras_passes.factorise import factorise

#: Training images whose sums decide the directions that `export.keras_passes.factorise` keeps.
FACTORISE_IMAGES = 1024


def compressed(
    model: keras.Model,
    pixels: npt.NDArray[np.uint8],
    labels: Sequence[int],
    *,
    rank: int | None = None,
    sparsity: float | None = None,
    clusters: int | None = None,
    epochs: int = 1,
    seed: int = 0,
) -> keras.Model:
    """Factorise, prune and cluster a network, as far as each is asked for.

    Args:
        model: As saved by training; not changed.
        pixels: Training images, uint8 [N, H, W, 1].
        labels: Of these, 0 or 1.
        rank: See `export.keras_passes.factorise.factorise`.
        sparsity: See `export.compression.prune_and_cluster.prune`.
        clusters: See `export.compression.prune_and_cluster.cluster`.
        epochs: Of fine-tuning after pruning and after clustering.
        seed: Of the order of images in fine-tuning, and of the draw for factorising.

    Returns:
        The new network.
    """
    if rank is not None:
        rows = np.sort(np.random.default_rng(seed).permutation(len(pixels))[:FACTORISE_IMAGES])
        model = factorise(model, pixels[rows], rank)
    tuning = FineTuning(pixels, labels, epochs=epochs, seed=seed)
    if sparsity is not None:
        model = prune(model, sparsity, tuning)
    if clusters is not None:
        model = cluster(model, clusters, tuning)
    return model
