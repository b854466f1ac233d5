"""What every training command is told beside the recipe."""

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True, kw_only=True)
class RunOptions:
    """Where a run reads and writes, and how it runs.

    Attributes:
        data: The data folder.
        splits: The split file; see `train.data.division.divided_table` for ``None``.
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
