"""The networks with a published backbone: `resnet50`, `vgg16`, `densenet121`, `efficientnetv2b0`.

The backbones are those of `keras.applications`, without their classifier, laid flat into the model (no model
within a model) under Keras's own layer names. The head of the first two is the reference's.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from types import MappingProxyType
from typing import Any

import keras
from keras import layers

from fracture_edge.errors import FractureEdgeError

_Channels = tuple[float, float, float]


@dataclass(frozen=True, slots=True)
class Backbone:
    """A published feature extractor and how radiographs enter it.

    Attributes:
        application: Builds it, see `keras.applications`.
        scale: Factors of grey level 0 to 255 for the three channels.
        offset: Added after that.
        last: Name of its last layer.
        flatten: The head flattens its features where it does not average them over the image.
        units: Of the head's hidden layer; 0: there is none.
    """

    application: Callable[..., keras.Model]
    scale: _Channels
    offset: _Channels
    last: str
    flatten: bool = False
    units: int = 256


#: Of ImageNet, R, G, B in 0 to 1; Keras and PyTorch publish the same figures.
_MEAN, _DEVIATION = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
_STANDARDISED = (
    (1 / (255 * _DEVIATION[0]), 1 / (255 * _DEVIATION[1]), 1 / (255 * _DEVIATION[2])),
    (-_MEAN[0] / _DEVIATION[0], -_MEAN[1] / _DEVIATION[1], -_MEAN[2] / _DEVIATION[2]),
)
#: "caffe" preprocessing of `keras.applications`: B, G, R in 0 to 255 less their ImageNet means, not scaled.
_CAFFE = ((1.0, 1.0, 1.0), (-103.939, -116.779, -123.68))

BACKBONES: MappingProxyType[str, Backbone] = MappingProxyType(
    {
        "resnet50": Backbone(keras.applications.ResNet50, *_CAFFE, last="conv5_block3_out"),
        "vgg16": Backbone(keras.applications.VGG16, *_CAFFE, last="block5_pool", flatten=True),
        "densenet121": Backbone(keras.applications.DenseNet121, *_STANDARDISED, last="relu", units=0),
        "efficientnetv2b0": Backbone(
            partial(keras.applications.EfficientNetV2B0, include_preprocessing=False),
            *_STANDARDISED,
            last="top_activation",
            units=0,
        ),
    }
)


def build(
    name: str,
    height: int,
    width: int,
    *,
    normalisation: str = "backbone",
    units: int | None = None,
    dropout: float = 0.0,
) -> keras.Model:
    """Build a backbone with its head, randomly initialised.

    The head is GlobalAveragePooling (VGG16: Flatten), for the reference's networks a Dense layer of 256 with
    ReLU, and the sigmoid.

    Args:
        name: A key of `BACKBONES`.
        height: Rows of the input; at least 32.
        width: Columns of the input; likewise.
        normalisation: ``backbone``: what its published weights expect; ``unit``: grey / 255, as the reference
            notebook does for every network.
        units: Of the hidden layer, where it is not the backbone's own; 0 leaves it out.
        dropout: Share of the last features dropped while training.

    Returns:
        A model from ``image`` uint8 [N, height, width, 1] to ``probability`` float32 [N, 1].

    Raises:
        FractureEdgeError: An unknown normalisation, or an image too small for the backbone.
    """
    backbone = BACKBONES[name]
    if normalisation not in ("backbone", "unit"):
        raise FractureEdgeError(f"normalisation {normalisation!r} is none of 'backbone', 'unit'")
    image = keras.Input((height, width, 1), dtype="uint8", name="image")
    grey = layers.Rescaling(1.0, name="grey_levels", dtype="float32")(image)
    x = layers.Concatenate(name="three_channels", dtype="float32")([grey, grey, grey])
    if normalisation == "unit":
        x = layers.Rescaling(1 / 255, name="normalise", dtype="float32")(x)
    else:
        x = layers.Rescaling(list(backbone.scale), list(backbone.offset), name="normalise", dtype="float32")(x)
    try:
        features: Any = backbone.application(include_top=False, weights=None, input_tensor=x).output
    except ValueError as error:
        raise FractureEdgeError(f"{name} at {height}x{width}: {error}") from error
    _name_paddings(image, features)
    x = (layers.Flatten if backbone.flatten else layers.GlobalAveragePooling2D)(name="pool")(features)
    count = backbone.units if units is None else units
    if count:
        x = layers.Dense(count, activation="relu", name="hidden")(x)
    if dropout:
        x = layers.Dropout(dropout, name="dropout")(x)
    probability = layers.Dense(1, activation="sigmoid", name="probability", dtype="float32")(x)
    return keras.Model(image, probability, name=name)


def _name_paddings(image: keras.KerasTensor, features: keras.KerasTensor) -> None:
    """DenseNet leaves its padding layers to Keras's global counter: number them within the model instead."""
    paddings = [layer for layer in keras.Model(image, features).layers if isinstance(layer, layers.ZeroPadding2D)]
    for number, layer in enumerate(paddings, start=1):
        if layer.name.startswith("zero_padding2d"):
            layer.name = f"padding{number}"
