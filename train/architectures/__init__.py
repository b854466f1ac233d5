"""Network architectures, by name.

Every builder returns a Keras model with the input ``image``, grey uint8 ``[N, height, width, 1]``, and the output
``probability``, P(fractured), ``[N, 1]``. Its first layer, ``grey_levels``, only converts the bytes to float32 in
0 to 255, so that augmentation can be inserted behind it during training; normalisation follows inside the network.
A layer named ``cells``, where there is one, has a logit for each cell of a grid over the image, [N, h, w, 1],
which can be trained on boxes around fractures. No `tf.*`: the builders run on every Keras backend.
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
    """Network architecture.

    Attributes:
        build: Function of height, width and options that builds the network.
        backbone_end: Name of the last layer of the backbone; the layers behind it are the head.
        described_by: Ending of layer names; typicality is computed from the last such layer, see
            `train.evaluation.typicality`. ``None`` for the end of the backbone.
    """

    build: Callable[..., keras.Model]
    backbone_end: str
    described_by: str | None = None


ARCHITECTURES: MappingProxyType[str, Architecture] = MappingProxyType(
    {
        "resnet50": Architecture(partial(backbones.build, "resnet50"), backbones.BACKBONES["resnet50"].last),
        "vgg16": Architecture(partial(backbones.build, "vgg16"), backbones.BACKBONES["vgg16"].last),
        # Not a layer behind it: the batch norm behind it is folded on export, and the layers between are removed.
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
    """Build an architecture, randomly initialised.

    Args:
        name: Name of the architecture, a key of `ARCHITECTURES`.
        height: Height of the input in pixels.
        width: Width of the input in pixels.
        **options: Further arguments of the builder.

    Raises:
        FractureEdgeError: The architecture or an option is unknown, or an option is invalid.
    """
    if name not in ARCHITECTURES:
        raise FractureEdgeError(f"no architecture '{name}'; must be one of: {', '.join(ARCHITECTURES)}")
    try:
        return ARCHITECTURES[name].build(height, width, **options)
    except (TypeError, ValueError) as error:
        raise FractureEdgeError(f"architecture '{name}': {error}") from error


def backbone_layers(model: keras.Model) -> list[keras.layers.Layer]:
    """Return the layers of the backbone, first to last, without the input and its normalisation."""
    end = model.get_layer(ARCHITECTURES[model.name].backbone_end)
    names = [layer.name for layer in keras.Model(model.input, end.output).layers]
    return [model.get_layer(name) for name in names[names.index("normalise") + 1 :]]


def set_trainable(model: keras.Model, what: str, last_layers: int = 0, *, frozen_norms: bool = False) -> None:
    """Set which layers of `model` are trainable.

    Args:
        model: Network built by `build`.
        what: ``all`` layers, or only the ``head``, the layers behind the backbone.
        last_layers: Number of the backbone's last layers that are trained too with ``head``, counted as Keras
            lists them (activations, additions and pooling count).
        frozen_norms: Whether all batch norms are frozen; they then normalise by their stored statistics during
            training, too.
    """
    backbone = backbone_layers(model)
    frozen = set() if what == "all" else {layer.name for layer in backbone[: max(0, len(backbone) - last_layers)]}
    for layer in model.layers:
        norm = frozen_norms and isinstance(layer, keras.layers.BatchNormalization)
        layer.trainable = layer.name not in frozen and not norm


def after_grey_levels(model: keras.Model, outputs: Any = None) -> keras.Model:
    """Return the part of `model` behind ``grey_levels``, with shared layers: from float32 0..255 to `outputs`."""
    if outputs is None:
        outputs = model.output
    return keras.Model(model.get_layer("grey_levels").output, outputs, name=f"{model.name}_body")
