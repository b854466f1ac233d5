"""Initial weights: published ImageNet weights of a backbone, those of the embedded model, or a file."""

from pathlib import Path
from zipfile import BadZipFile

import keras
import numpy as np

from train.architectures.backbones import BACKBONES
from train.weights import applications, embedded, lite
from train.weights.errors import WeightsError

__all__ = ["WeightsError", "initialise"]


def initialise(model: keras.Model, weights: str) -> str:
    """Load the initial weights of `model`.

    Args:
        model: Network built by `train.architectures`; changed in place.
        weights: ``none`` (stay random), ``imagenet`` (published weights of the backbone), ``embedded`` (those of
            the model that ships with fracture-edge, for `edge`), or the path of a file: ``.npz`` or ``.h5`` with
            backbone weights, ``.weights.h5`` or ``.keras`` with those of the complete architecture.

    Returns:
        Description of the weights, for the training record.

    Raises:
        WeightsError: The weights are not available, or do not fit the model.
    """
    if weights == "none":
        return "random"
    if weights == "imagenet":
        return _imagenet(model)
    if weights == "embedded":
        return embedded.load(model)
    path = Path(weights)
    if not path.is_file():
        raise WeightsError(f"{path}: no such weights file")
    try:
        _load_file(model, path)
    except (OSError, EOFError, ValueError, KeyError, BadZipFile) as error:
        raise WeightsError(f"{path}: does not fit '{model.name}' ({error})") from error
    return path.name


def _load_file(model: keras.Model, path: Path) -> None:
    if path.suffix == ".npz":
        with np.load(path, allow_pickle=False) as arrays:
            (lite.load if model.name == "edge" else applications.load_arrays)(model, dict(arrays), path)
    elif path.suffix == ".keras":
        model.set_weights(keras.saving.load_model(path, compile=False).get_weights())
    elif path.name.endswith(".weights.h5"):
        model.load_weights(path)
    elif path.suffix == ".h5" and model.name in BACKBONES:
        applications.load_file(model, path)
    else:
        raise WeightsError(f"{path}: must be one of: .npz, .keras, .weights.h5, or .h5 of a published backbone")


def _imagenet(model: keras.Model) -> str:
    if model.name == "edge":
        arrays = lite.published()
        try:
            lite.load(model, arrays, Path("imagenet"))
        except (ValueError, KeyError) as error:
            raise WeightsError(f"the published weights do not fit 'edge' with these options ({error})") from error
        return f"EfficientNet-Lite0 ImageNet (package {lite.PACKAGE})"
    if model.name in BACKBONES:
        applications.load_published(model)
        return f"{model.name} ImageNet (keras.applications)"
    raise WeightsError(f"no ImageNet weights are known for '{model.name}'; give --weights none, or a file")
