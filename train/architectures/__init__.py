"""The networks, by name.

Every builder returns a Keras model that takes grey uint8 images ``[N, height, width, 1]`` under the name
``image`` and returns ``probability`` ``[N, 1]``, P(fractured). Its first layer, ``grey_levels``, only makes
the bytes float32 in 0 to 255, so that augmentation can be put between it and the rest while training;
normalisation follows inside the network. A layer called ``cells``, where there is one, gives a logit for each
cell of the last feature map, [N, h, w, 1], which can be trained on marked fractures. No `tf.*`: the builders
run on every Keras backend.
"""

from collections.abc import Callable
from types import MappingProxyType
from typing import Any

import keras

from fracture_edge.errors import FractureEdgeError
from train.architectures import custom_cnn, edge

ARCHITECTURES: MappingProxyType[str, Callable[..., keras.Model]] = MappingProxyType(
    {"edge": edge.build, "custom_cnn": custom_cnn.build}
)


def build(name: str, height: int, width: int, **options: Any) -> keras.Model:
    """Build the architecture called `name`, randomly initialised.

    Args:
        name: A key of `ARCHITECTURES`.
        height: Rows of the input.
        width: Columns of the input.
        **options: What the builder takes beyond the size.

    Raises:
        FractureEdgeError: No such architecture, or an option that it does not have.
    """
    if name not in ARCHITECTURES:
        raise FractureEdgeError(f"no architecture '{name}'; there are {', '.join(sorted(ARCHITECTURES))}")
    try:
        return ARCHITECTURES[name](height, width, **options)
    except TypeError as error:
        raise FractureEdgeError(f"architecture '{name}': {error}") from error


def after_grey_levels(model: keras.Model, outputs: Any = None) -> keras.Model:
    """The part of `model` behind ``grey_levels``, sharing its layers: float32 0..255 in, `outputs` out."""
    if outputs is None:
        outputs = model.output
    return keras.Model(model.get_layer("grey_levels").output, outputs, name=f"{model.name}_body")
