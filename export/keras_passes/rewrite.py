"""Rewrite a network before its conversion: what no converter does, and what makes 8 bits go further."""

from collections.abc import Mapping
from typing import Any

import keras
import numpy as np
import numpy.typing as npt

from export.keras_passes.equalise_channels import equalise_channels
from export.keras_passes.fold_batch_norms import fold_batch_norms, output_scales
from export.keras_passes.merge_equal_channels import merge_equal_channels


def rewrite(
    model: keras.Model, images: npt.NDArray[np.uint8]
) -> tuple[keras.Model, Mapping[str, npt.NDArray[np.floating[Any]]]]:
    """Fold batch norms, merge equal input channels and equalise the channels of convolutions.

    Args:
        model: Model from ``image`` uint8 [N, H, W, 1] to ``probability`` [N, 1].
        images: Training images for the ranges of the channels, uint8 [N, H, W, 1].

    Returns:
        A model with the same layer names whose predictions equal those of `model` except for rounding, and the
        factors by which the outputs of its layers have been multiplied, by name, [channels] each.
    """
    scales = dict(output_scales(model))
    rewritten, factors = equalise_channels(merge_equal_channels(fold_batch_norms(model)), images)
    for name, factor in factors.items():
        scales[name] = scales.get(name, 1.0) * factor
    return rewritten, scales
