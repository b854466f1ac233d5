"""Initialisation of the head by linear probing before fine-tuning (LP-FT).

A random head sends gradients through the network that have little to do with the task, and distorts pretrained
features before it has learned to use them (Kumar et al., "Fine-Tuning can Distort Pretrained Features and
Underperform Out-of-Distribution", ICLR 2022). A logistic regression on the features of the initial network is a
better initial head. It is valid for those features only, so it should be combined with frozen batch norms.
"""

from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import keras
import numpy as np
import numpy.typing as npt
from sklearn.linear_model import LogisticRegression
from sklearn.preprocessing import StandardScaler

from fracture_edge.errors import FractureEdgeError
from train.evaluation.predict import outputs

#: Inverse strength of the L2 penalty on standardised features, times their number, by the study `frozen-features`.
#: It is the variance of the log-odds under the prior that the penalty implies, whatever the number of features.
STRENGTH = 1.28


def fit_head(
    model: keras.Model, views: Iterable[npt.NDArray[np.uint8]], labels: Sequence[int], *, balanced: bool
) -> None:
    """Initialise the head by a logistic regression on the model's pooled features; all cells start equal.

    Args:
        model: Network `edge`; its layers ``pooled_evidence`` and ``cells`` are changed.
        views: Views of the training images, uint8 [N, H, W, 1] each, see `views_of`.
        labels: Labels, 0 or 1, [N], the same for every view.
        balanced: Whether both classes have the same total weight.

    Raises:
        FractureEdgeError: The network has no such head.
    """
    names = {layer.name for layer in model.layers}
    if "cells" in names and "pooled_evidence" not in names:
        features = np.concatenate([features_of(model, view) for view in views])
        kernel, bias = regress(features, np.tile(labels, len(features) // len(labels)), balanced=balanced)
        model.get_layer("cells").set_weights([kernel[np.newaxis, np.newaxis, :, np.newaxis], np.array([bias])])
        return
    if "pooled_evidence" not in names:
        raise FractureEdgeError(f"recipe.probe: is for 'edge', '{model.name}' has no single layer to fit")
    features = np.concatenate([features_of(model, view) for view in views])
    kernel, bias = regress(features, np.tile(labels, len(features) // len(labels)), balanced=balanced)
    cells = model.get_layer("cells")
    cell_kernel, cell_bias = cells.get_weights()
    cells.set_weights([np.zeros_like(cell_kernel), cell_bias])
    # All cells now give their bias as logit; subtracted here, so that it does not count twice.
    model.get_layer("pooled_evidence").set_weights([kernel[:, np.newaxis], bias - cell_bias])


def views_of(pixels: npt.NDArray[np.uint8], *, mirrored: bool) -> Iterator[npt.NDArray[np.uint8]]:
    """Yield the views that the head is fitted to: the images, and their mirror images if training flips them.

    Args:
        pixels: Training images, uint8 [N, H, W, 1].
        mirrored: Whether to yield the mirror images too.

    Yields:
        Images, uint8 [N, H, W, 1], once or twice.
    """
    yield pixels
    if mirrored:
        yield pixels[:, :, ::-1]


def features_of(model: keras.Model, pixels: npt.NDArray[np.uint8]) -> npt.NDArray[np.float64]:
    """Compute the pooled features, [N, F], of images, uint8 [N, H, W, 1], by the network `edge`."""
    names = {layer.name for layer in model.layers}
    if "pooled_evidence" in names:
        return outputs(keras.Model(model.input, model.get_layer("pooled_evidence").input), pixels)
    pooled = keras.layers.GlobalAveragePooling2D()(model.get_layer("cells").input)
    return outputs(keras.Model(model.input, pooled), pixels)


def regress(
    features: npt.NDArray[np.float64],
    labels: npt.NDArray[np.integer[Any]],
    *,
    balanced: bool,
    strength: float | None = None,
) -> tuple[npt.NDArray[np.float64], float]:
    """Fit a logistic regression to standardised features.

    Args:
        features: Features, [N, F].
        labels: Labels, 0 or 1, [N].
        balanced: Whether both classes have the same total weight.
        strength: Inverse strength of the L2 penalty; `STRENGTH` / F when ``None``.

    Returns:
        Kernel [F] and bias for features that are not standardised: ``features @ kernel + bias`` are the log-odds.
    """
    scaler = StandardScaler()
    strength = STRENGTH / features.shape[1] if strength is None else strength
    regression = LogisticRegression(C=strength, class_weight="balanced" if balanced else None, max_iter=1000)
    regression.fit(scaler.fit_transform(features), labels)
    kernel = regression.coef_[0] / scaler.scale_
    return kernel, float(regression.intercept_[0] - kernel @ scaler.mean_)
