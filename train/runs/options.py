"""Options that all training commands have beside the recipe."""

from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

import keras

from fracture_edge.errors import FractureEdgeError


@dataclass(frozen=True, slots=True, kw_only=True)
class RunOptions:
    """Options of a run: input, output, device.

    Attributes:
        data: Data folder.
        splits: Split file; see `train.data.splits.read_table_with_splits` for ``None``.
        out: Folder of all artefacts; every run has a folder of its own in it.
        weights: Initial weights, see `train.weights.initialise`; the recipe's when ``None``.
        recipe_name: Name of the recipe in the training record.
        seed: Random seed of initialisation, order and augmentation.
        precision: Precision, see `train.device.prepare`.
        distribute: Whether to share every batch among all devices (JAX only).
        keep_models: Whether a cross-validation keeps the network of each fold.
        tensorboard: Folder for TensorBoard's logs; none are written when ``None``.
        resume: Whether to continue an interrupted run.
        force: Whether an existing folder, or an unfinished run, may be replaced.
    """

    data: Path
    splits: Path | None = None
    out: Path = Path("artifacts")
    weights: str | None = None
    recipe_name: str = "corrected"
    seed: int = 0
    precision: str = "auto"
    distribute: bool = False
    keep_models: bool = False
    tensorboard: Path | None = None
    resume: bool = False
    force: bool = False


def tensorboard(options: RunOptions, name: str) -> list[keras.callbacks.Callback]:
    """Create the callback that writes TensorBoard's logs; an empty list if they are not requested.

    Raises:
        FractureEdgeError: The package `tensorboard` is missing.
    """
    if options.tensorboard is None:
        return []
    if find_spec("tensorboard") is None:
        raise FractureEdgeError("--tensorboard needs tensorboard: pip install 'fracture-edge[tensorboard]'")
    return [keras.callbacks.TensorBoard(options.tensorboard / name)]
