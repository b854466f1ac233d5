"""What every training command is told beside the recipe."""

from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

import keras

from fracture_edge.errors import FractureEdgeError


@dataclass(frozen=True, slots=True, kw_only=True)
class RunOptions:
    """Where a run reads and writes, and how it runs.

    Attributes:
        data: The data folder.
        splits: The split file; see `train.data.splits.read_table_with_splits` for ``None``.
        out: Folder of all artefacts; every run gets a folder of its own in it.
        weights: Initial weights, see `train.weights.initialise`; the recipe's when ``None``.
        recipe_name: Goes into the record.
        seed: Seed of initialisation, order and augmentation.
        precision: See `train.device.prepare`.
        distribute: Likewise.
        tensorboard: Folder for TensorBoard's logs.
        resume: Go on with a run that was cut off.
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
    tensorboard: Path | None = None
    resume: bool = False
    force: bool = False


def tensorboard(options: RunOptions, name: str) -> list[keras.callbacks.Callback]:
    """The callback that writes TensorBoard's logs, where they are asked for.

    Raises:
        FractureEdgeError: The package is missing.
    """
    if options.tensorboard is None:
        return []
    if find_spec("tensorboard") is None:
        raise FractureEdgeError("--tensorboard needs tensorboard: pip install 'fracture-edge[tensorboard]'")
    return [keras.callbacks.TensorBoard(options.tensorboard / name)]
