"""The networks, by name.

Every builder returns a Keras model that takes grey uint8 images ``[N, height, width, 1]`` under the name
``image`` and returns ``probability`` ``[N, 1]``, P(fractured). Its first layer, ``grey_levels``, only makes
the bytes float32 in 0 to 255, so that augmentation can be put between it and the rest while training;
normalisation follows inside the network. A layer called ``cells``, where there is one, gives a logit for each
cell of a grid over the image, [N, h, w, 1], which can be trained on marked fractures. No `tf.*`: the builders
run on every Keras backend.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from types import MappingProxyType
from typing import Any

import keras

from fracture_edge.errors import FractureEdgeError
from train.architectures import backbones, custom_cnn, edge


@dataclass(frozen=True, slots=True)
class Architecture:
    """A network.

    Attributes:
        build: Takes height, width and options.
        backbone_end: Name of the last layer of the feature extractor; what follows is the head.
        described_by: How the names of the layers end the last of which tells what is unlike the training images,
            see `train.evaluation.typicality`; the end of the backbone where there is none.
    """

    build: Callable[..., keras.Model]
    backbone_end: str
    described_by: str | None = None


ARCHITECTURES: MappingProxyType[str, Architecture] = MappingProxyType(
    {
        "resnet50": Architecture(partial(backbones.build, "resnet50"), backbones.BACKBONES["resnet50"].last),
        "vgg16": Architecture(partial(backbones.build, "vgg16"), backbones.BACKBONES["vgg16"].last),
        # The norm behind it is folded away on export, and what lies between goes with it.
        "custom_cnn": Architecture(custom_cnn.build, "dropout3", described_by="conv3"),
        "edge": Architecture(edge.build, "top_relu", described_by="_add"),
        "densenet121": Architecture(
            partial(backbones.build, "densenet121"), backbones.BACKBONES["densenet121"].last
        ),
        "efficientnetv2b0": Architecture(
            partial(backbones.build, "efficientnetv2b0"), backbones.BACKBONES["efficientnetv2b0"].last
        ),
    }
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
        raise FractureEdgeError(f"no architecture '{name}'; there are {', '.join(ARCHITECTURES)}")
    try:
        return ARCHITECTURES[name].build(height, width, **options)
    except (TypeError, ValueError) as error:
        raise FractureEdgeError(f"architecture '{name}': {error}") from error


def backbone_layers(model: keras.Model) -> list[keras.layers.Layer]:
    """The layers of the feature extractor, first to last, without the input and its normalisation."""
    end = model.get_layer(ARCHITECTURES[model.name].backbone_end)
    names = [layer.name for layer in keras.Model(model.input, end.output).layers]
    return [model.get_layer(name) for name in names[names.index("normalise") + 1 :]]


def set_trainable(model: keras.Model, what: str, last_layers: int = 0, *, frozen_norms: bool = False) -> None:
    """Say what of `model` is trained.

    Args:
        model: As built by `build`.
        what: ``all`` layers, or the ``head``: what follows the backbone.
        last_layers: With ``head``: that many of the backbone's last layers too, counted as Keras lists them
            (activations, additions and pooling count).
        frozen_norms: Whether batch norms are not trained, wherever they are; while training, too, they then
            normalise by the statistics that they have.
    """
    backbone = backbone_layers(model)
    frozen = set() if what == "all" else {layer.name for layer in backbone[: max(0, len(backbone) - last_layers)]}
    for layer in model.layers:
        norm = frozen_norms and isinstance(layer, keras.layers.BatchNormalization)
        layer.trainable = layer.name not in frozen and not norm


def after_grey_levels(model: keras.Model, outputs: Any = None) -> keras.Model:
    """The part of `model` behind ``grey_levels``, sharing its layers: float32 0..255 in, `outputs` out."""
    if outputs is None:
        outputs = model.output
    return keras.Model(model.get_layer("grey_levels").output, outputs, name=f"{model.name}_body")
