"""How unlike the training images a picture is, by the network's own features.

They are those of its last residual addition, where `train.architectures` says so, else the last ones. The last
features of a network that has learned to bear noise, wrong contrast and the like hardly tell a photograph from a
radiograph any more; what goes into its last layers does.

The pooled features of the training images are described by a normal distribution whose covariance is a few axes
and the same variance in all other directions: probabilistic principal component analysis (Tipping and Bishop,
J. R. Statist. Soc. B 61, 1999). The squared Mahalanobis distance from it (Lee et al., NeurIPS 2018, use the like
per class) is large for photographs, documents and noise. Labels play no part: a fracture does not make one odd.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
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
#: Share of validation images that are called unlike the training images by mistake.
FALSE_ALARMS = 0.02
#: Axes of the distribution: of the 192 features of `edge` these hold most of the variance.
AXES = 32

#: Training images are enough that describe so few axes; one more pass over thousands would take minutes.
MOST_IMAGES = 2048

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Typicality:
    """The distribution of K features.

    Attributes:
        mean: [K].
        axes: Orthonormal, [K, d].
        variances: Along the axes, [d].
        residual: Variance in every other direction.
        threshold: Greatest squared distance that still counts as like the training images.
    """

    mean: Floats
    axes: Floats
    variances: Floats
    residual: float
    threshold: float = np.inf

    def distances(self, features: npt.NDArray[Any]) -> Floats:
        """Squared Mahalanobis distances of features [N, K], [N]."""
        centred = np.asarray(features, np.float64) - self.mean
        along = centred @ self.axes
        beside = np.maximum((centred**2).sum(axis=1) - (along**2).sum(axis=1), 0)
        return np.asarray((along**2 / self.variances).sum(axis=1) + beside / self.residual)

    def save(self, path: Path) -> None:
        """Write it as ``.npz``."""
        with atomic_path(path) as temporary, temporary.open("wb") as stream:
            np.savez(stream, **{name: getattr(self, name) for name in self.__slots__})


def load_typicality(path: Path) -> Typicality:
    """Read what `Typicality.save` wrote.

    Raises:
        FractureEdgeError: It cannot be read.
    """
    try:
        with np.load(path, allow_pickle=False) as held:
            return Typicality(
                held["mean"], held["axes"], held["variances"], float(held["residual"]), float(held["threshold"])
            )
    except (OSError, ValueError, KeyError) as error:
        raise FractureEdgeError(f"{path}: cannot be read ({error}); train again with --force") from error


def fit_typicality(training: npt.NDArray[Any], validation: npt.NDArray[Any]) -> Typicality:
    """Fit the distribution to training features, and the threshold to validation features.

    Args:
        training: [N, K], N at least 2.
        validation: [M, K]; `FALSE_ALARMS` of them lie beyond the threshold.
    """
    values = np.asarray(training, np.float64)
    mean = values.mean(axis=0)
    _, singular, directions = np.linalg.svd(values - mean, full_matrices=False)
    found = singular**2 / len(values)
    # At least one direction is left to the residual.
    rank = min(AXES, len(found) - 1, values.shape[1] - 1)
    # Maximum likelihood: the mean of all other eigenvalues, of which those beyond the images' number are 0.
    residual = max(float(found[rank:].sum()) / (values.shape[1] - rank), _least_variance(values))
    fitted = Typicality(mean, directions[:rank].T, np.maximum(found[:rank], residual), residual)
    threshold = float(np.quantile(fitted.distances(validation), 1 - FALSE_ALARMS, method="higher"))
    return Typicality(mean, fitted.axes, fitted.variances, residual, threshold)


def _least_variance(values: Floats) -> float:
    """What float32 and another runtime's rounding make of features that do not vary.

    The graph takes the part along the axes from the whole, so that a residual far below the mean variance drowns;
    and features of different runtimes differ by some 1e-5 of their size, whose square is far below 1e-6.
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
    """Run a trained network on its images and fit its typicality.

    Args:
        model: From ``image`` to ``probability``.
        architecture: Name of its architecture.
        training: uint8 [N, H, W, 1]; `MOST_IMAGES` of them are drawn where there are more.
        validation: uint8 [M, H, W, 1].
        seed: Of the draw.
    """
    extractor = keras.Model(model.input, described_features(model, architecture))
    drawn = np.sort(np.random.default_rng(seed).permutation(len(training))[:MOST_IMAGES])
    return fit_typicality(outputs(extractor, training[drawn]), outputs(extractor, validation))


def pooled_features(model: keras.Model, architecture: str) -> keras.KerasTensor:
    """The last feature map of a network, averaged over positions: [N, K].

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
    """The feature map that the distance is taken of, averaged over positions: [N, K].

    Raises:
        FractureEdgeError: As `pooled_features`.
    """
    ending = ARCHITECTURES[architecture].described_by
    names = [layer.name for layer in model.layers if ending and layer.name.endswith(ending)]
    if not names:
        return pooled_features(model, architecture)
    return ops.mean(model.get_layer(names[-1]).output, axis=(1, 2))


def with_typicality(model: keras.Model, architecture: str, typicality: Typicality) -> keras.Model:
    """Add the squared distance as an output; of ordinary layers, so that every converter takes it.

    Args:
        model: From ``image`` to ``probability``, or to a dictionary of outputs.
        architecture: Name of its architecture.
        typicality: Fitted to its features.

    Returns:
        A model from the same input to a dictionary of what `model` gives and ``atypicality`` float32 [N, 1].

    Raises:
        FractureEdgeError: `typicality` is of other features.
    """
    features = described_features(model, architecture)
    if features.shape[-1] != len(typicality.mean):
        raise FractureEdgeError(
            f"{FILE}: of {len(typicality.mean)} features where {architecture} has {features.shape[-1]}: "
            "written by another version; train again with --force"
        )
    centred = features - typicality.mean.astype(np.float32)
    axes = layers.Dense(len(typicality.variances), use_bias=False, name="typicality_axes")
    along = ops.square(axes(centred))
    axes.set_weights([typicality.axes.astype(np.float32)])
    whole = ops.sum(ops.square(centred), axis=1, keepdims=True)
    # Along an axis a unit of square counts 1 / its variance in place of 1 / the residual.
    gain = (1 / typicality.variances - 1 / typicality.residual).astype(np.float32)
    distance = ops.sum(along * gain, axis=1, keepdims=True) + whole * np.float32(1 / typicality.residual)
    outputs = model.output if isinstance(model.output, Mapping) else {OUTPUT_NAME: model.output}
    return keras.Model(model.input, {**outputs, ATYPICALITY_NAME: distance}, name=model.name)
