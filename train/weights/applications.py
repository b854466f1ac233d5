"""ImageNet weights of the backbones of `keras.applications`."""

import sys
from collections.abc import Mapping
from contextlib import redirect_stdout
from pathlib import Path
from typing import Any

import keras
import numpy as np
import numpy.typing as npt

from train.architectures import backbone_layers
from train.architectures.backbones import BACKBONES
from train.weights.errors import WeightsError


def load_published(model: keras.Model) -> None:
    """Load the weights that Keras publishes; they are downloaded once and cached.

    Raises:
        WeightsError: The weights cannot be downloaded.
    """
    try:
        # Keras reports the download on stdout, which is for data here.
        with redirect_stdout(sys.stderr):
            published = _application(model, "imagenet")
    except Exception as error:
        # `keras.utils.get_file` raises a bare Exception when there is no network.
        raise WeightsError(
            f"the ImageNet weights of '{model.name}' cannot be downloaded ({_first_line(error)}). With a network, "
            f"python -c 'import keras; keras.applications.{_name(model)}(include_top=False)' stores them in "
            "~/.keras/models: copy that folder here, or give the file with --weights, or --weights none"
        ) from error
    _copy(published, model)


def load_file(model: keras.Model, path: Path) -> None:
    """Load an ``.h5`` file as published by Keras (without the classifier)."""
    _copy(_application(model, path), model)


def load_arrays(model: keras.Model, arrays: Mapping[str, npt.NDArray[np.generic]], path: Path) -> None:
    """Load arrays named ``LAYER/VARIABLE`` (``block1_conv1/kernel``): exactly the variables of the backbone.

    Raises:
        WeightsError: An array is missing, has the wrong shape, or matches no variable.
    """
    if model.name not in BACKBONES:
        raise WeightsError(f"{path}: backbone weights do not fit '{model.name}', which has no published backbone")
    wanted = {
        f"{layer.name}/{variable.name}": variable for layer in backbone_layers(model) for variable in layer.weights
    }
    if missing := set(wanted) - set(arrays):
        raise WeightsError(f"{path}: {len(missing)} arrays are missing, first: {min(missing)}")
    if unused := set(arrays) - set(wanted):
        raise WeightsError(f"{path}: {len(unused)} arrays match no variable of the model, first: {min(unused)}")
    for name, variable in wanted.items():
        if arrays[name].shape != tuple(variable.shape):
            raise WeightsError(f"{path}: {name} is {arrays[name].shape}, the model's is {tuple(variable.shape)}")
    for name, variable in wanted.items():
        variable.assign(np.asarray(arrays[name], np.float32))


def _application(model: keras.Model, weights: Any) -> keras.Model:
    application = BACKBONES[model.name].application
    return application(include_top=False, weights=weights, input_shape=(None, None, 3))


def _name(model: keras.Model) -> str:
    application: Any = BACKBONES[model.name].application
    return str(getattr(application, "func", application).__name__)


def _copy(source: keras.Model, model: keras.Model) -> None:
    published = {layer.name: layer for layer in source.layers}
    for layer in backbone_layers(model):
        if layer.weights:
            layer.set_weights(published[layer.name].get_weights())


def _first_line(error: Exception) -> str:
    return str(error).partition("\n")[0]
