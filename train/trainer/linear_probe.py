"""A head that fits the features it starts on: linear probing before fine-tuning (LP-FT).

A random head sends gradients through the network that have little to do with the task, and distorts pretrained
features before it has learned what to do with them (Kumar et al., "Fine-Tuning can Distort Pretrained Features and
Underperform Out-of-Distribution", ICLR 2022). A logistic regression on the features of the network as it comes is
a better head to begin with. It holds for those features only, so it belongs with norms that keep their statistics.
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

#: Inverse strength of the L2 penalty on standardised features times their number, by the study `frozen-features`.
#: The log-odds vary by so much under the prior that the penalty stands for, however many features there are.
STRENGTH = 1.28


def fit_head(
    model: keras.Model, views: Iterable[npt.NDArray[np.uint8]], labels: Sequence[int], *, balanced: bool
) -> None:
    """Give `model` the head of a logistic regression on its own pooled features; the cells begin as equals.

    Args:
        model: `edge`; its layers ``pooled_evidence`` and ``cells`` are changed.
        views: The training images, uint8 [N, H, W, 1], and what else it is to fit, see `views_of`.
        labels: 0 or 1, N of them, the same for every view.
        balanced: Whether both classes count the same.

    Raises:
        FractureEdgeError: The network has no such head.
    """
    names = {layer.name for layer in model.layers}
    if "pooled_evidence" not in names:
        raise FractureEdgeError(f"recipe.probe: is for 'edge', '{model.name}' has no single layer to fit")
    features = np.concatenate([features_of(model, view) for view in views])
    kernel, bias = regress(features, np.tile(labels, len(features) // len(labels)), balanced=balanced)
    cells = model.get_layer("cells")
    cell_kernel, cell_bias = cells.get_weights()
    cells.set_weights([np.zeros_like(cell_kernel), cell_bias])
    # All cells say the same now, which must not count twice.
    model.get_layer("pooled_evidence").set_weights([kernel[:, np.newaxis], bias - cell_bias])


def views_of(pixels: npt.NDArray[np.uint8], *, mirrored: bool) -> Iterator[npt.NDArray[np.uint8]]:
    """Give what the head is fitted to: the images, and their mirror images where training mirrors.

    Args:
        pixels: Training images, uint8 [N, H, W, 1].
        mirrored: Whether to give the mirror images too.

    Yields:
        Images, uint8 [N, H, W, 1], once or twice.
    """
    yield pixels
    if mirrored:
        yield pixels[:, :, ::-1]


def features_of(model: keras.Model, pixels: npt.NDArray[np.uint8]) -> npt.NDArray[np.float64]:
    """What the head of `edge` pools: [N, H, W, 1] to [N, F]."""
    return outputs(keras.Model(model.input, model.get_layer("pooled_evidence").input), pixels)


def regress(
    features: npt.NDArray[np.float64],
    labels: npt.NDArray[np.integer[Any]],
    *,
    balanced: bool,
    strength: float | None = None,
) -> tuple[npt.NDArray[np.float64], float]:
    """Fit a logistic regression to standardised features.

    Args:
        features: [N, F].
        labels: 0 or 1, [N].
        balanced: Whether both classes count the same.
        strength: Inverse strength of the L2 penalty; `STRENGTH` by their number when ``None``.

    Returns:
        Kernel [F] and bias for the features as they are: ``features @ kernel + bias`` are the log-odds.
    """
    scaler = StandardScaler()
    strength = STRENGTH / features.shape[1] if strength is None else strength
    regression = LogisticRegression(C=strength, class_weight="balanced" if balanced else None, max_iter=1000)
    regression.fit(scaler.fit_transform(features), labels)
    kernel = regression.coef_[0] / scaler.scale_
    return kernel, float(regression.intercept_[0] - kernel @ scaler.mean_)
