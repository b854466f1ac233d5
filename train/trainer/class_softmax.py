"""Training of classes in place of the binary answer, see `train.evaluation.classes`.

The log-odds of the classes are computed from the features that all further outputs have, and their loss trains the
network in front of these features. Exported files compute class probabilities with
`train.evaluation.attributes.with_attributes`.
"""

from collections.abc import Sequence
from typing import Any

import keras
import numpy as np
from keras import layers, ops

from fracture_edge.attributes import CLASSES_NAME
from train.evaluation.attributes import Head
from train.evaluation.classes import sides
from train.evaluation.typicality import described_features

_HEAD = f"{CLASSES_NAME}_head"


def with_classes(model: keras.Model, fractured: Sequence[bool]) -> keras.Model:
    """Add the classes to the output of a network; the layers are shared.

    Args:
        model: Network built by `train.architectures`.
        fractured: Whether each class is one of fractures, L.

    Returns:
        A model from ``image`` to [N, 1 + L]: P(fractured), and of each class its probability among those of its
        side, equal at first.
    """
    # A random head would distort the features before it has learnt to use them.
    head = layers.Dense(len(fractured), kernel_initializer="zeros", name=_HEAD, dtype="float32")
    broken, whole = sides(head(described_features(model, model.name)), fractured)
    answer = layers.Concatenate(name="answer", dtype="float32")([model.output, broken + whole])
    return keras.Model(model.input, answer, name=model.name)


def head_of(model: keras.Model, names: Sequence[str], fractured: Sequence[bool]) -> Head:
    """Return the trained head of a network made by `with_classes`.

    Args:
        model: Trained network.
        names: Names of the classes, L.
        fractured: Whether each class is one of fractures, L.
    """
    kernel, bias = (np.asarray(weights, np.float64) for weights in model.get_layer(_HEAD).get_weights())
    return Head(tuple(names), kernel, bias, 0.5, exclusive=True, fractured=tuple(fractured))


class ClassLoss(keras.losses.Loss):
    """Categorical cross-entropy of the classes.

    Images without a class contribute only the binary cross-entropy.
    """

    def __init__(self, label_smoothing: float = 0.0, **kwargs: Any) -> None:
        """Create the loss.

        Args:
            label_smoothing: Label smoothing of the binary target; class targets are not smoothed.
            **kwargs: Further arguments of `keras.losses.Loss`.
        """
        super().__init__(**kwargs)
        self.label_smoothing = label_smoothing

    def call(self, y_true: Any, y_pred: Any) -> Any:
        """Compute the loss of each image, [N].

        Args:
            y_true: Targets, [N, 1 + L]: fractured, and the share of each class, 0 everywhere if none is known.
            y_pred: Output of a network made by `with_classes`, [N, 1 + L].
        """
        answer = keras.losses.binary_crossentropy(
            y_true[:, :1], y_pred[:, :1], label_smoothing=self.label_smoothing
        )
        shares = ops.clip(y_pred[:, 1:], keras.config.epsilon(), 1.0)
        return answer - ops.sum(y_true[:, 1:] * ops.log(shares), axis=-1)
