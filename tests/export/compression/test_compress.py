"""Compression in its order, with fine-tuning only where something is fine-tuned."""

import numpy as np
import pytest

from export.compression.compress import compress
from export.compression.prune_and_cluster import compressible_layers
from train.architectures import build
from train.evaluation.predict import predict
from train.export_record import Compression


def test_factorised_then_pruned() -> None:
    model = build("custom_cnn", 32, 32, filters=(8, 12, 16), units=32)
    pixels = np.random.default_rng(0).integers(0, 256, (16, 32, 32, 1), np.uint8)
    both = Compression(rank=8, sparsity=0.5, epochs=1, seed=0)
    found = compress(model, pixels, predict(model, pixels), both, 1e-4)
    assert found.get_layer("hidden_factor").units == 8
    kernels = [found.get_layer(name).get_weights()[0] for name in compressible_layers(found)]
    assert kernels
    assert [1 - np.count_nonzero(kernel) / kernel.size for kernel in kernels] == pytest.approx(
        [0.5] * len(kernels), abs=0.01
    )
    # Factorising alone needs no answers of the network.
    alone = Compression(rank=8, epochs=1, seed=0)
    assert (both.tunes, alone.tunes) == (True, False)
    assert compress(model, pixels, np.empty(0), alone, 1e-4).get_layer("hidden_factor").units == 8
