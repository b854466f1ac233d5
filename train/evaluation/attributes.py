"""Body part, view and classes of an image by logistic regressions on the features of a trained network.

The network stays as it is, and so does P(fractured). The features are those of `train.evaluation.typicality`: in a
network trained to find fractures the last feature map has forgotten some of the body part that earlier ones show.
Every label has a regression of its own, because an image may show several body parts and views. Classes, folders
that a recipe names, exclude each other: they have a softmax, which may also be trained with the network, in place
of the binary answer (`train.trainer.class_softmax`).
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any

import keras
import numpy as np
import numpy.typing as npt
from keras import layers
from scipy.special import expit, softmax
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import log_loss
from sklearn.preprocessing import StandardScaler

from fracture_edge.attributes import CLASSES_NAME
from fracture_edge.errors import FractureEdgeError
from fracture_edge.files import atomic_path
from fracture_edge.modelfile import OUTPUT_NAME
from train.data.dataset import ATTRIBUTES, ImageTable
from train.evaluation.classes import class_truth, side_offsets, sides
from train.evaluation.predict import outputs
from train.evaluation.typicality import described_features, scaled_features
from train.trainer.linear_probe import STRENGTH, regress

FILE = "attributes.npz"
#: Strengths of the penalty that validation chooses from, as multiples of `STRENGTH`. Body part and view are easier
#: to tell than fractures, for which `STRENGTH` is.
STRENGTHS = (1.0, 3.0, 10.0, 30.0, 100.0)
#: Thresholds that validation chooses from.
THRESHOLDS = tuple(np.arange(30, 71) / 100)

Floats = npt.NDArray[np.float64]
Truth = npt.NDArray[np.bool_]


@dataclass(frozen=True, slots=True)
class Head:
    """Logistic regressions of the L labels of one attribute on K features.

    Attributes:
        labels: Names of the labels.
        kernel: Weights, [K, L].
        bias: Biases, [L].
        threshold: Probability from which a label is named.
        exclusive: Whether exactly one label holds for each image, so that the probabilities add up to 1.
        fractured: Whether each label is a class of fractures, if the classes were trained in place of the binary
            answer: they share P(fractured), see `train.evaluation.classes`. Empty for all other heads.
    """

    labels: tuple[str, ...]
    kernel: Floats
    bias: Floats
    threshold: float
    exclusive: bool = False
    fractured: tuple[bool, ...] = ()

    def probabilities(self, features: npt.NDArray[Any]) -> Floats:
        """Compute the probability of each label, [N, L], from features, [N, K].

        Of classes that share P(fractured) it is the one among the classes of the same side.
        """
        log_odds = np.asarray(features, np.float64) @ self.kernel + self.bias
        if self.fractured:
            return np.sum([softmax(log_odds + each, axis=1) for each in side_offsets(self.fractured)], axis=0)
        return np.asarray(softmax(log_odds, axis=1) if self.exclusive else expit(log_odds))

    @property
    def metadata(self) -> dict[str, Any]:
        """Entry of this attribute in `fracture_edge.modelfile.ModelInfo.attributes`; classes have none."""
        return {"labels": list(self.labels), "threshold": self.threshold}


def truth_of(part: ImageTable, labels: tuple[str, ...]) -> Truth:
    """Return which labels hold for each image, [N, L], by the metadata of the data set."""
    return np.array([[item.metadata.get(label) == "1" for label in labels] for item in part])


def fit_heads(
    training: ImageTable,
    features: npt.NDArray[Any],
    validation: ImageTable,
    held_out: npt.NDArray[Any],
    classes: tuple[str, ...] = (),
) -> dict[str, Head]:
    """Fit the head of each attribute that the data set has, and that of the classes.

    Args:
        training: Training images.
        features: Their features, [N, K].
        validation: Validation images, for the choice of penalty and threshold.
        held_out: Their features, [M, K].
        classes: Names of the folders of the classes, see `class_truth`; none for no such head.

    Returns:
        Heads by name of the output.
    """
    heads = {
        name: fit_head(labels, features, truth_of(training, labels), held_out, truth_of(validation, labels))
        for name, labels in labelled(training, validation).items()
    }
    if classes:
        truth, wanted = class_truth(training, classes), class_truth(validation, classes)
        rows, others = truth.any(axis=1), wanted.any(axis=1)
        heads[CLASSES_NAME] = fit_head(
            classes, features[rows], truth[rows], held_out[others], wanted[others], exclusive=True
        )
    return heads


def labelled(training: ImageTable, validation: ImageTable) -> dict[str, tuple[str, ...]]:
    """Return the labels of the attributes whose every label some images of both splits have, and some have not."""
    found = {}
    for name, labels in ATTRIBUTES.items():
        shares = np.stack([truth_of(part, labels).mean(axis=0) for part in (training, validation)])
        if ((shares > 0) & (shares < 1)).all():
            found[name] = labels
    return found


def fit_head(
    labels: tuple[str, ...],
    features: npt.NDArray[Any],
    truth: Truth,
    held_out: npt.NDArray[Any],
    wanted: Truth,
    *,
    exclusive: bool = False,
    strengths: Sequence[float] = STRENGTHS,
) -> Head:
    """Fit one head; penalty and threshold are chosen on validation.

    The penalty is the one with the least log loss. The threshold gives the most images exactly their labels; of
    equally good ones it is the nearest to 0.5. Exclusive labels need none.

    Args:
        labels: Names of the labels.
        features: Features of training images, [N, K].
        truth: Labels of the training images, [N, L]; each label must hold for some of them and not for all.
        held_out: Features of validation images, [M, K].
        wanted: Labels of the validation images, [M, L].
        exclusive: Whether exactly one label holds for each image.
        strengths: Strengths of the penalty to choose from, as multiples of `STRENGTH`.
    """
    candidates = []
    for times in strengths:
        strength = times * STRENGTH / features.shape[1]
        if exclusive:
            kernel, bias = _softmax_regression(features, truth, strength)
        else:
            fits = [regress(features, column, balanced=False, strength=strength) for column in truth.T]
            kernel, bias = np.stack([fit[0] for fit in fits], axis=1), np.array([fit[1] for fit in fits])
        head = Head(labels, kernel, bias, 0.5, exclusive)
        found = head.probabilities(held_out)
        loss = np.mean([log_loss(wanted[:, k], found[:, k], labels=[0, 1]) for k in range(len(labels))])
        candidates.append((float(loss), head, found))
    _, head, found = min(candidates, key=lambda candidate: candidate[0])
    if exclusive:
        return head
    exact = {each: float(((found >= each) == wanted).all(axis=1).mean()) for each in THRESHOLDS}
    threshold = max(THRESHOLDS, key=lambda each: (exact[each], -abs(each - 0.5)))
    return Head(labels, head.kernel, head.bias, float(threshold))


def _softmax_regression(features: npt.NDArray[Any], truth: Truth, strength: float) -> tuple[Floats, Floats]:
    """Fit a multinomial logistic regression; return kernel [K, L] and bias [L] for plain features."""
    scaler = StandardScaler()
    regression = LogisticRegression(C=strength, max_iter=1000)
    regression.fit(scaler.fit_transform(features), truth.argmax(axis=1))
    slopes, biases = regression.coef_, regression.intercept_
    if truth.shape[1] == 2:
        # scikit-learn gives the log-odds of the second class alone.
        slopes, biases = np.concatenate([0 * slopes, slopes]), np.concatenate([0 * biases, biases])
    kernel = slopes.T / scaler.scale_[:, np.newaxis]
    return kernel, biases - scaler.mean_ @ kernel


def measure_attributes(
    model: keras.Model,
    architecture: str,
    training: ImageTable,
    pixels: npt.NDArray[np.uint8],
    validation: ImageTable,
    held_out: npt.NDArray[np.uint8],
    classes: tuple[str, ...] = (),
) -> dict[str, Head]:
    """Compute the features of a trained network and fit the heads, none if the data set has no such labels.

    Args:
        model: Model from ``image`` to ``probability``.
        architecture: Name of the architecture.
        training: Training images.
        pixels: Their pixels, uint8 [N, H, W, 1].
        validation: Validation images.
        held_out: Their pixels, uint8 [M, H, W, 1].
        classes: Names of the folders of the classes; none for no such head.
    """
    if not (classes or labelled(training, validation)):
        return {}
    extractor = keras.Model(model.input, described_features(model, architecture))
    return fit_heads(training, outputs(extractor, pixels), validation, outputs(extractor, held_out), classes)


def save_heads(heads: Mapping[str, Head], path: Path) -> None:
    """Write heads to an ``.npz`` file."""
    arrays = {f"{name}/{key}": getattr(head, key) for name, head in heads.items() for key in Head.__slots__}
    with atomic_path(path) as temporary, temporary.open("wb") as stream:
        np.savez(stream, **arrays)


def load_heads(path: Path) -> dict[str, Head]:
    """Read a file written by `save_heads`.

    Raises:
        FractureEdgeError: The file cannot be read.
    """
    try:
        with np.load(path, allow_pickle=False) as held:
            names = dict.fromkeys(key.partition("/")[0] for key in held)
            return {
                name: Head(
                    tuple(map(str, held[f"{name}/labels"])),
                    held[f"{name}/kernel"],
                    held[f"{name}/bias"],
                    float(held[f"{name}/threshold"]),
                    bool(held[f"{name}/exclusive"]),
                    # Missing in older files.
                    tuple(map(bool, held.get(f"{name}/fractured", ()))),
                )
                for name in names
            }
    except (OSError, ValueError, KeyError) as error:
        raise FractureEdgeError(f"{path}: cannot be read ({error}); train again with --force") from error


def with_attributes(
    model: keras.Model,
    architecture: str,
    heads: Mapping[str, Head],
    scales: Mapping[str, npt.NDArray[np.floating[Any]]] = MappingProxyType({}),
) -> keras.Model:
    """Add the probabilities of the labels as model outputs.

    Args:
        model: Model from ``image`` to ``probability``, or to a dictionary of outputs.
        architecture: Name of the architecture.
        heads: Heads by name of the output.
        scales: Factors of the outputs of layers, as for `train.evaluation.typicality.with_typicality`.

    Returns:
        A model from the same input to a dictionary of the outputs of `model` and one for each head, float32
        [N, L].

    Raises:
        FractureEdgeError: A head is for a different number of features.
    """
    features = scaled_features(model, architecture, scales)
    present = model.output if isinstance(model.output, Mapping) else {OUTPUT_NAME: model.output}
    added = {}
    for name, head in heads.items():
        if features.shape[-1] != len(head.kernel):
            raise FractureEdgeError(
                f"{FILE}: {len(head.kernel)} features, but {architecture} has {features.shape[-1]}: "
                "written by another version; train again with --force"
            )
        activation = None if head.fractured else "softmax" if head.exclusive else "sigmoid"
        layer = layers.Dense(len(head.labels), activation, name=f"{name}_head", dtype="float32")
        added[name] = layer(features)
        if head.fractured:
            broken, whole = sides(added[name], head.fractured)
            added[name] = present[OUTPUT_NAME] * broken + (1 - present[OUTPUT_NAME]) * whole
        layer.set_weights([head.kernel.astype(np.float32), head.bias.astype(np.float32)])
    return keras.Model(model.input, {**present, **added}, name=model.name)
