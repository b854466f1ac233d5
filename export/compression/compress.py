"""Optional compression before export: factorise, prune, cluster, in that order."""

import keras
import numpy as np
import numpy.typing as npt

from export.compression.prune_and_cluster import FineTuning, cluster, prune
from export.keras_passes.factorise import factorise
from train.export_record import Compression

#: Number of training images for the principal directions of `export.keras_passes.factorise`.
FACTORISE_IMAGES = 1024


def compress(
    model: keras.Model,
    pixels: npt.NDArray[np.uint8],
    targets: npt.NDArray[np.floating],
    compression: Compression,
    learning_rate: float,
) -> keras.Model:
    """Factorise, prune and cluster a model, each only if it is requested.

    Args:
        model: Model as saved by training; not changed.
        pixels: Training images, uint8 [N, H, W, 1].
        targets: P(fractured) of these images by the model, [N]; not used by factorising.
        compression: Requested operations and their parameters, see `export.keras_passes.factorise.factorise`,
            `export.compression.prune_and_cluster.prune` and `cluster`.
        learning_rate: Learning rate of fine-tuning.

    Returns:
        The compressed model.
    """
    tuning = FineTuning(
        pixels,
        targets,
        epochs=compression.epochs,
        learning_rate=learning_rate,
        seed=compression.seed,
    )
    if compression.rank is not None:
        rows = np.sort(np.random.default_rng(compression.seed).permutation(len(pixels))[:FACTORISE_IMAGES])
        model = factorise(model, pixels[rows], compression.rank)
    if compression.sparsity is not None:
        model = prune(model, compression.sparsity, tuning)
    if compression.clusters is not None:
        model = cluster(model, compression.clusters, tuning)
    return model
