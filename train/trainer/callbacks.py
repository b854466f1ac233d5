"""What happens between steps and epochs: seeds, history, progress, and what a killed run goes on from.

Everything that a resumed run must know is in the run's folder, committed once per epoch by renaming
``state.json``; an epoch draws its order and its augmentation from the seed and its own number, so that it is
the same epoch whether the process is new or old.
"""

import csv
import json
import math
import sys
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, TypeAlias

import keras
import numpy as np
from tqdm import tqdm

from fracture_edge.files import atomic_path, atomic_write_text
from train.data.batches import Batches
from train.recipes.recipe import Recipe

#: File that a resumed run starts from.
STATE_FILE = "state.json"
_WEIGHTS = "*.weights.h5"

COLUMNS = (
    "epoch", "phase", "learning_rate", "loss", "accuracy", "auroc",
    "val_loss", "val_accuracy", "val_auroc", "seconds",
)  # fmt: skip


#: One epoch of a history: `COLUMNS` by name.
EpochRow: TypeAlias = dict[str, float]


@dataclass(frozen=True, slots=True)
class State:
    """Where a run stands after an epoch.

    Attributes:
        phase: Counted from 0.
        rows: Of the history, of all phases.
        kept: Epoch whose weights are kept so far, counted from 1; 0: none of this phase is worth keeping.
    """

    phase: int
    rows: list[EpochRow]
    kept: int

    @classmethod
    def read(cls, folder: Path) -> "State | None":
        """The state of the run in `folder`; ``None`` when it has finished no epoch."""
        path = folder / STATE_FILE
        return cls(**json.loads(path.read_text(encoding="utf-8"))) if path.is_file() else None

    def write(self, folder: Path) -> None:
        """Make this the state that a resumed run starts from."""
        atomic_write_text(folder / STATE_FILE, json.dumps(asdict(self)))
        needed = {state_file(len(self.rows)), kept_file(self.kept)}
        for path in folder.glob(_WEIGHTS):
            if path.name not in needed:
                path.unlink()


def clear_state(folder: Path) -> None:
    """Remove what only a resumed run would need."""
    for path in (folder / STATE_FILE, *folder.glob(_WEIGHTS)):
        path.unlink(missing_ok=True)


def state_file(epoch: int) -> str:
    """Name of the file with weights and optimizer after `epoch` epochs."""
    return f"state-{epoch:04d}.weights.h5"


def kept_file(epoch: int) -> str:
    """Name of the file with the weights that are kept, those of `epoch`."""
    return f"kept-{epoch:04d}.weights.h5"


def rows_of(rows: Sequence[EpochRow], phase: int) -> list[EpochRow]:
    """The rows of one phase, counted from 0."""
    return [row for row in rows if row["phase"] == phase + 1]


def best_of(rows: Sequence[EpochRow], monitor: str) -> EpochRow | None:
    """The row with the greatest ``val_auroc`` or smallest ``val_loss``, the earliest of equals.

    ``None`` when the network gave no numbers in any row; its AUROC is one even then.
    """
    sign = 1.0 if monitor == "val_auroc" else -1.0
    sound = (row for row in rows if math.isfinite(row["val_loss"]))
    return max(sound, key=lambda row: sign * row[monitor], default=None)


def stalled(rows: Sequence[EpochRow], recipe: Recipe) -> bool:
    """Whether early stopping ends a phase after `rows`: no better epoch among the last `patience`."""
    if recipe.patience == 0:
        return False
    best = best_of(rows, recipe.monitor)
    since = len(rows) if best is None else rows[-1]["epoch"] - best["epoch"]
    return since >= recipe.patience


class Seeds(keras.callbacks.Callback):
    """Sets order, mixing, augmentation and dropout of every epoch by the seed and the epoch's number."""

    def __init__(self, history: "History", training: Batches, seed: int) -> None:
        super().__init__()
        self.history, self.training, self.seed = history, training, seed

    def on_epoch_begin(self, epoch: int, logs: dict[str, float] | None = None) -> None:
        """Set them."""
        number = len(self.history.rows)
        self.training.start_epoch(number)
        states = [variable for variable in self.model.variables if variable.path.endswith("seed_generator_state")]
        for index, variable in enumerate(states):
            entropy = np.random.SeedSequence([self.seed, number, index])
            variable.assign(entropy.generate_state(2).astype(variable.dtype))


class History(keras.callbacks.Callback):
    """Collects one row per epoch over all phases and keeps `path` current, whole at every moment."""

    def __init__(self, path: Path, state: State | None = None) -> None:
        super().__init__()
        self.path = path
        self.rows: list[EpochRow] = list(state.rows) if state else []
        self.phase = state.phase if state else 0
        #: Epoch whose weights are kept, counted from 1; 0: none of this phase so far.
        self.kept = state.kept if state else 0
        self._started = 0.0

    def on_epoch_begin(self, epoch: int, logs: dict[str, float] | None = None) -> None:
        """Start the clock."""
        self._started = time.monotonic()

    def on_epoch_end(self, epoch: int, logs: dict[str, float] | None = None) -> None:
        """Add the row and write the file."""
        values = {name: float(value) for name, value in (logs or {}).items()}
        row: EpochRow = {"epoch": len(self.rows) + 1, "phase": self.phase + 1}
        row["learning_rate"] = float(self.model.optimizer.learning_rate)
        row["seconds"] = round(time.monotonic() - self._started, 1)
        row |= {name: round(values[name], 6) for name in COLUMNS if name in values}
        self.rows.append(row)
        with atomic_path(self.path) as temporary, temporary.open("w", newline="", encoding="utf-8") as stream:
            writer = csv.DictWriter(stream, COLUMNS, restval="")
            writer.writeheader()
            writer.writerows(self.rows)

    def of_phase(self) -> list[EpochRow]:
        """The rows of the phase that runs."""
        return rows_of(self.rows, self.phase)


class Progress(keras.callbacks.Callback):
    """A bar with the remaining time on a terminal, and one line per epoch everywhere; all on stderr."""

    def __init__(self, history: History, epochs: int) -> None:
        super().__init__()
        self.history = history
        self.epochs = epochs
        self.bar: Any = None

    def on_epoch_begin(self, epoch: int, logs: dict[str, float] | None = None) -> None:
        """Open the bar."""
        label = f"epoch {len(self.history.rows) + 1}/{self.epochs}"
        self.bar = tqdm(total=self.params.get("steps"), desc=label, unit="step", leave=False, disable=None)

    def on_train_batch_end(self, batch: int, logs: dict[str, float] | None = None) -> None:
        """Advance the bar."""
        self.bar.update(1)

    def on_epoch_end(self, epoch: int, logs: dict[str, float] | None = None) -> None:
        """Print the epoch's figures."""
        self.bar.close()
        rows = self.history.rows
        row = rows[-1]
        left = (self.epochs - len(rows)) * sum(entry["seconds"] for entry in rows) / len(rows)
        print(
            f"epoch {row['epoch']}/{self.epochs}  loss {row['loss']:.4f}  auroc {row['auroc']:.4f}  "
            f"val_loss {row['val_loss']:.4f}  val_auroc {row['val_auroc']:.4f}  "
            f"lr {row['learning_rate']:.1e}  {row['seconds']:.0f} s"
            + (f"  (at most {_duration(left)} to go)" if len(rows) < self.epochs else ""),
            file=sys.stderr,
            flush=True,
        )


def _duration(seconds: float) -> str:
    minutes = seconds / 60
    if minutes < 1:
        return f"{seconds:.0f} s"
    return f"{minutes:.0f} min" if minutes < 120 else f"{minutes / 60:.1f} h"


class SaveState(keras.callbacks.Callback):
    """Writes weights and optimizer after an epoch. Runs before the averaged weights take their place."""

    def __init__(self, history: History, folder: Path) -> None:
        super().__init__()
        self.history, self.folder = history, folder

    def on_epoch_end(self, epoch: int, logs: dict[str, float] | None = None) -> None:
        """Write them; `Commit` makes them count."""
        self.model.save_weights(self.folder / state_file(len(self.history.rows)))


class Commit(keras.callbacks.Callback):
    """Keeps the weights that the recipe wants, commits the epoch, stops early. Runs last."""

    def __init__(self, history: History, recipe: Recipe, network: keras.Model, folder: Path) -> None:
        super().__init__()
        self.history, self.recipe, self.network, self.folder = history, recipe, network, folder

    def on_epoch_end(self, epoch: int, logs: dict[str, float] | None = None) -> None:
        """Do all three, in this order."""
        history, rows = self.history, self.history.of_phase()
        best = best_of(rows, self.recipe.monitor)
        if best is rows[-1] or (self.recipe.keep == "last" and math.isfinite(rows[-1]["val_loss"])):
            history.kept = int(rows[-1]["epoch"])
            self.network.save_weights(self.folder / kept_file(history.kept))
        State(history.phase, history.rows, history.kept).write(self.folder)
        if stalled(rows, self.recipe):
            self.model.stop_training = True


#: What is left of a finished fold of a cross-validation.
FOLD_FILE = "fold.json"
