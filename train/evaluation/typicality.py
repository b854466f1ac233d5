"""Out-of-distribution detection: distance of an image from the training images in the network's feature space.

The features are those of the last residual addition, where `train.architectures` says so, otherwise those of the
last layer of the backbone. In a network trained to be robust against noise and changes of contrast, the last
features hardly distinguish a photograph from a radiograph; the input of its last layers does.

The pooled features of the training images are modelled by a normal distribution whose covariance has a few
principal axes and the same variance in all other directions: probabilistic principal component analysis (Tipping
and Bishop, J. R. Statist. Soc. B 61, 1999). The squared Mahalanobis distance from it (Lee et al., NeurIPS 2018,
use one per class) is large for photographs, documents and noise. Labels are not used: a fracture does not make an
image atypical.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any

import keras
import numpy as np
import numpy.typing as npt
from keras import layers, ops

from fracture_edge.errors import FractureEdgeError
from fracture_edge.files import atomic_path
from fracture_edge.modelfile import ATYPICALITY_NAME, OUTPUT_NAME
from train.architectures import ARCHITECTURES
from train.evaluation.predict import outputs

FILE = "typicality.npz"
#: Share of validation images beyond the threshold, that is, wrongly flagged as atypical.
FALSE_ALARMS = 0.02
#: Number of principal axes: they hold most of the variance of the 192 features of `edge`.
AXES = 32

#: Largest number of training images used. They suffice for so few axes; all thousands would take minutes more.
MOST_IMAGES = 2048

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Typicality:
    """Normal distribution of K features, and the threshold of the distance from it.

    Attributes:
        mean: Mean of the features, [K].
        axes: Principal axes, orthonormal, [K, d].
        variances: Variances along the axes, [d].
        residual: Variance in every other direction.
        threshold: Largest squared distance at which an image counts as typical.
    """

    mean: Floats
    axes: Floats
    variances: Floats
    residual: float
    threshold: float = np.inf

    def distances(self, features: npt.NDArray[Any]) -> Floats:
        """Compute squared Mahalanobis distances, [N], of features [N, K]."""
        centred = np.asarray(features, np.float64) - self.mean
        along = centred @ self.axes
        beside = np.maximum((centred**2).sum(axis=1) - (along**2).sum(axis=1), 0)
        return np.asarray((along**2 / self.variances).sum(axis=1) + beside / self.residual)

    def save(self, path: Path) -> None:
        """Write the distribution to an ``.npz`` file."""
        with atomic_path(path) as temporary, temporary.open("wb") as stream:
            np.savez(stream, **{name: getattr(self, name) for name in self.__slots__})


def load_typicality(path: Path) -> Typicality:
    """Read a file written by `Typicality.save`.

    Raises:
        FractureEdgeError: The file cannot be read.
    """
    try:
        with np.load(path, allow_pickle=False) as held:
            return Typicality(
                held["mean"], held["axes"], held["variances"], float(held["residual"]), float(held["threshold"])
            )
    except (OSError, ValueError, KeyError) as error:
        raise FractureEdgeError(f"{path}: cannot be read ({error}); train again with --force") from error


def fit_typicality(training: npt.NDArray[Any], validation: npt.NDArray[Any]) -> Typicality:
    """Fit the distribution to training features and the threshold to validation features.

    Args:
        training: Features of training images, [N, K], N at least 2.
        validation: Features of validation images, [M, K]; a share of `FALSE_ALARMS` lies beyond the threshold.
    """
    values = np.asarray(training, np.float64)
    mean = values.mean(axis=0)
    _, singular, directions = np.linalg.svd(values - mean, full_matrices=False)
    found = singular**2 / len(values)
    # At least one direction is left for the residual.
    rank = min(AXES, len(found) - 1, values.shape[1] - 1)
    # Maximum likelihood: mean of all other eigenvalues; those beyond the number of images are 0.
    residual = max(float(found[rank:].sum()) / (values.shape[1] - rank), _least_variance(values))
    fitted = Typicality(mean, directions[:rank].T, np.maximum(found[:rank], residual), residual)
    threshold = float(np.quantile(fitted.distances(validation), 1 - FALSE_ALARMS, method="higher"))
    return Typicality(mean, fitted.axes, fitted.variances, residual, threshold)


def _least_variance(values: Floats) -> float:
    """Compute a lower bound of the residual variance, so that rounding errors do not dominate the distance.

    The exported graph subtracts the part along the axes from the total in float32, which loses a residual far
    below the mean variance; and features of different runtimes differ by some 1e-5 of their size, whose square is
    far below 1e-6.
    """
    energy, variance = float(np.square(values).mean()), float(values.var(axis=0).mean())
    return max(1e-6 * energy, 1e-3 * variance, float(np.finfo(np.float32).eps))


def measure_typicality(
    model: keras.Model,
    architecture: str,
    training: npt.NDArray[np.uint8],
    validation: npt.NDArray[np.uint8],
    *,
    seed: int,
) -> Typicality:
    """Compute the features of a trained network and fit their distribution.

    Args:
        model: Model from ``image`` to ``probability``.
        architecture: Name of the architecture.
        training: Training images, uint8 [N, H, W, 1]; at most `MOST_IMAGES` of them are sampled.
        validation: Validation images, uint8 [M, H, W, 1].
        seed: Random seed for sampling the training images.
    """
    extractor = keras.Model(model.input, described_features(model, architecture))
    sampled = np.sort(np.random.default_rng(seed).permutation(len(training))[:MOST_IMAGES])
    return fit_typicality(outputs(extractor, training[sampled]), outputs(extractor, validation))


def pooled_features(model: keras.Model, architecture: str) -> keras.KerasTensor:
    """Return the last feature map of the backbone, averaged over positions, [N, K].

    Raises:
        FractureEdgeError: The network lacks the layer that its architecture names.
    """
    name = ARCHITECTURES[architecture].backbone_end
    try:
        features = model.get_layer(name).output
    except ValueError as error:
        raise FractureEdgeError(f"this {architecture} has no layer '{name}'") from error
    return ops.mean(features, axis=(1, 2))


def described_features(model: keras.Model, architecture: str) -> keras.KerasTensor:
    """Return the feature map that typicality is computed from, averaged over positions, [N, K].

    Raises:
        FractureEdgeError: The network lacks the layer that its architecture names.
    """
    name = _described_layer(model, architecture)
    if name is None:
        return pooled_features(model, architecture)
    return ops.mean(model.get_layer(name).output, axis=(1, 2))


def scaled_features(
    model: keras.Model, architecture: str, scales: Mapping[str, npt.NDArray[np.floating[Any]]]
) -> keras.KerasTensor:
    """Return `described_features` as they were before outputs of layers were multiplied.

    Args:
        model: Model as rewritten for export.
        architecture: Name of the architecture.
        scales: Factors by which the outputs of layers have been multiplied, by name, [channels] each.
    """
    features = described_features(model, architecture)
    scale = scales.get(_described_layer(model, architecture) or "")
    return features if scale is None else features * (1 / scale).astype(np.float32)


def _described_layer(model: keras.Model, architecture: str) -> str | None:
    ending = ARCHITECTURES[architecture].described_by
    names = [layer.name for layer in model.layers if ending and layer.name.endswith(ending)]
    return names[-1] if names else None


def with_typicality(
    model: keras.Model,
    architecture: str,
    typicality: Typicality,
    scales: Mapping[str, npt.NDArray[np.floating[Any]]] = MappingProxyType({}),
) -> keras.Model:
    """Add the squared distance as a model output, built from standard layers that every converter supports.

    Args:
        model: Model from ``image`` to ``probability``, or to a dictionary of outputs.
        architecture: Name of the architecture.
        typicality: Distribution of the model's features.
        scales: Factors by which the outputs of layers have been multiplied since it was measured, by name,
            [channels] each.

    Returns:
        A model from the same input to a dictionary of the outputs of `model` and ``atypicality`` float32 [N, 1].

    Raises:
        FractureEdgeError: `typicality` has a different number of features.
    """
    features = scaled_features(model, architecture, scales)
    if features.shape[-1] != len(typicality.mean):
        raise FractureEdgeError(
            f"{FILE}: {len(typicality.mean)} features, but {architecture} has {features.shape[-1]}: "
            "written by another version; train again with --force"
        )
    centred = features - typicality.mean.astype(np.float32)
    axes = layers.Dense(len(typicality.variances), use_bias=False, name="typicality_axes")
    along = ops.square(axes(centred))
    axes.set_weights([typicality.axes.astype(np.float32)])
    total = ops.sum(ops.square(centred), axis=1, keepdims=True)
    # The total is divided by the residual; along an axis this is corrected to a division by its own variance.
    gain = (1 / typicality.variances - 1 / typicality.residual).astype(np.float32)
    distance = ops.sum(along * gain, axis=1, keepdims=True) + total * np.float32(1 / typicality.residual)
    outputs = model.output if isinstance(model.output, Mapping) else {OUTPUT_NAME: model.output}
    return keras.Model(model.input, {**outputs, ATYPICALITY_NAME: distance}, name=model.name)
