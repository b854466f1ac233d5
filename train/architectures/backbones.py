"""Networks with a published backbone: `resnet50`, `vgg16`, `densenet121`, `efficientnetv2b0`.

The backbones are those of `keras.applications`, without their classifier; their layers are part of the model
itself (not a nested model), under Keras's own names. The head of the first two is the reference's.
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
    """Published backbone, its input normalisation and its head.

    Attributes:
        application: Function that builds the backbone, see `keras.applications`.
        scale: Factors of the grey level, 0 to 255, for the three channels.
        offset: Offsets of the three channels, added after scaling.
        last: Name of the last layer of the backbone.
        flatten: Whether the head flattens the features; otherwise it averages them over the image.
        units: Number of units of the head's hidden layer; 0 for none.
    """

    application: Callable[..., keras.Model]
    scale: _Channels
    offset: _Channels
    last: str
    flatten: bool = False
    units: int = 256


#: Mean and standard deviation of ImageNet, R, G, B in 0 to 1; Keras and PyTorch publish the same values.
_MEAN, _DEVIATION = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
_STANDARDISED = (
    (1 / (255 * _DEVIATION[0]), 1 / (255 * _DEVIATION[1]), 1 / (255 * _DEVIATION[2])),
    (-_MEAN[0] / _DEVIATION[0], -_MEAN[1] / _DEVIATION[1], -_MEAN[2] / _DEVIATION[2]),
)
#: "caffe" preprocessing of `keras.applications`: B, G, R in 0 to 255 minus their ImageNet means, not scaled.
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
        name: Name of the backbone, a key of `BACKBONES`.
        height: Height of the input in pixels, at least 32.
        width: Width of the input in pixels, at least 32.
        normalisation: ``backbone`` for what the published weights expect, ``unit`` for grey / 255, as in the
            reference notebook for every network.
        units: Number of units of the hidden layer, 0 for none; the backbone's default when ``None``.
        dropout: Share of the last features dropped during training.

    Returns:
        A model from ``image`` uint8 [N, height, width, 1] to ``probability`` float32 [N, 1].

    Raises:
        FractureEdgeError: The normalisation is unknown, or the image too small for the backbone.
    """
    backbone = BACKBONES[name]
    if normalisation not in ("backbone", "unit"):
        raise FractureEdgeError(f"normalisation: must be one of: 'backbone', 'unit'; not {normalisation!r}")
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
    """Number DenseNet's padding layers within the model: their default names depend on Keras's global counter."""
    paddings = [layer for layer in keras.Model(image, features).layers if isinstance(layer, layers.ZeroPadding2D)]
    for number, layer in enumerate(paddings, start=1):
        if layer.name.startswith("zero_padding2d"):
            layer.name = f"padding{number}"
