"""Callbacks of the training loop: seeds, history, progress, and the state that an interrupted run resumes from.

The complete state of a run is in its folder, committed once per epoch by renaming ``state.json``. Order and
augmentation of an epoch depend only on the seed and the number of the epoch, so that an epoch is the same in a
resumed run.
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
from train.trainer.weights_file import save_weights

#: State that a run is resumed from, in its folder.
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
    """State of a run after an epoch.

    Attributes:
        phase: Number of the phase, counted from 0.
        rows: Rows of the history, of all phases.
        kept: Epoch whose weights are kept so far, counted from 1; 0 if none of this phase is.
    """

    phase: int
    rows: list[EpochRow]
    kept: int

    @classmethod
    def read(cls, folder: Path) -> "State | None":
        """Read the state of the run in `folder`; ``None`` if it has not completed an epoch."""
        path = folder / STATE_FILE
        return cls(**json.loads(path.read_text(encoding="utf-8"))) if path.is_file() else None

    def write(self, folder: Path) -> None:
        """Write the state to `folder` and remove weights that it does not need."""
        atomic_write_text(folder / STATE_FILE, json.dumps(asdict(self)))
        needed = {state_file(len(self.rows)), kept_file(self.kept)}
        for path in folder.glob(_WEIGHTS):
            if path.name not in needed:
                path.unlink()


def clear_state(folder: Path) -> None:
    """Remove the state and its weights, which only a resumed run needs."""
    for path in (folder / STATE_FILE, *folder.glob(_WEIGHTS)):
        path.unlink(missing_ok=True)


def state_file(epoch: int) -> str:
    """Return the name of the file with weights and optimizer state after `epoch` epochs."""
    return f"state-{epoch:04d}.weights.h5"


def kept_file(epoch: int) -> str:
    """Return the name of the file with the kept weights, those of `epoch`."""
    return f"kept-{epoch:04d}.weights.h5"


def rows_of(rows: Sequence[EpochRow], phase: int) -> list[EpochRow]:
    """Select the rows of one phase, counted from 0."""
    return [row for row in rows if row["phase"] == phase + 1]


def best_of(rows: Sequence[EpochRow], monitor: str) -> EpochRow | None:
    """Find the row with the greatest ``val_auroc`` or smallest ``val_loss``, the earliest if several are equal.

    Rows whose validation loss is missing, NaN or infinite are skipped (AUROC is finite even then); ``None`` if all
    are.
    """
    sign = 1.0 if monitor == "val_auroc" else -1.0
    sound = (row for row in rows if math.isfinite(row.get("val_loss", math.nan)))
    return max(sound, key=lambda row: sign * row[monitor], default=None)


def may_be_kept(row: EpochRow) -> bool:
    """Return whether the loss of an epoch is finite: on validation, or on training images without validation."""
    return math.isfinite(row.get("val_loss", row["loss"]))


def kept_epochs(rows: Sequence[EpochRow], recipe: Recipe) -> list[int]:
    """List the epoch that each phase kept, counted from 1 within the phase.

    Args:
        rows: Complete history of all phases, each with an epoch that may be kept.
        recipe: Recipe that was trained.
    """
    kept = []
    for number in range(len(recipe.phases)):
        of_phase = rows_of(rows, number)
        sound = [row for row in of_phase if may_be_kept(row)]
        row = sound[-1] if recipe.keep == "last" else best_of(sound, recipe.monitor)
        kept.append(of_phase.index(row) + 1 if row else len(of_phase))
    return kept


def stalled(rows: Sequence[EpochRow], recipe: Recipe) -> bool:
    """Return whether early stopping ends a phase after `rows`: no better epoch among the last `patience`."""
    if recipe.patience == 0:
        return False
    best = best_of(rows, recipe.monitor)
    since = len(rows) if best is None else rows[-1]["epoch"] - best["epoch"]
    return since >= recipe.patience


class Seeds(keras.callbacks.Callback):
    """Callback that seeds order, mixing, augmentation and dropout of every epoch by the seed and its number."""

    def __init__(self, history: "History", training: Batches, seed: int) -> None:
        super().__init__()
        self.history, self.training, self.seed = history, training, seed

    def on_epoch_begin(self, epoch: int, logs: dict[str, float] | None = None) -> None:
        """Set the seeds."""
        number = len(self.history.rows)
        self.training.start_epoch(number)
        states = [variable for variable in self.model.variables if variable.path.endswith("seed_generator_state")]
        for index, variable in enumerate(states):
            entropy = np.random.SeedSequence([self.seed, number, index])
            variable.assign(entropy.generate_state(2).astype(variable.dtype))


class History(keras.callbacks.Callback):
    """Callback that collects one row per epoch over all phases and writes them to `path`, atomically."""

    def __init__(self, path: Path, state: State | None = None) -> None:
        super().__init__()
        self.path = path
        self.rows: list[EpochRow] = list(state.rows) if state else []
        self.phase = state.phase if state else 0
        #: Epoch whose weights are kept, counted from 1; 0 if none of this phase is so far.
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
        """Select the rows of the current phase."""
        return rows_of(self.rows, self.phase)


class Progress(keras.callbacks.Callback):
    """Callback that shows progress on stderr: a bar on a terminal, and one line per epoch everywhere."""

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
        """Print the epoch's metrics."""
        self.bar.close()
        rows = self.history.rows
        row = rows[-1]
        left = (self.epochs - len(rows)) * sum(entry["seconds"] for entry in rows) / len(rows)
        validation = (
            f"val_loss {row['val_loss']:.4f}  val_auroc {row['val_auroc']:.4f}  " if "val_loss" in row else ""
        )
        print(
            f"epoch {row['epoch']}/{self.epochs}  loss {row['loss']:.4f}  auroc {row['auroc']:.4f}  {validation}"
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
    """Callback that saves weights and optimizer state. Must run before averaged weights replace them."""

    def __init__(self, history: History, folder: Path) -> None:
        super().__init__()
        self.history, self.folder = history, folder

    def on_epoch_end(self, epoch: int, logs: dict[str, float] | None = None) -> None:
        """Save the weights; they count once `Commit` has run."""
        save_weights(self.model, self.folder / state_file(len(self.history.rows)))


class Commit(keras.callbacks.Callback):
    """Callback that keeps the recipe's choice of weights, commits the epoch and stops early. Must be the last."""

    def __init__(self, history: History, recipe: Recipe, network: keras.Model, folder: Path) -> None:
        super().__init__()
        self.history, self.recipe, self.network, self.folder = history, recipe, network, folder

    def on_epoch_end(self, epoch: int, logs: dict[str, float] | None = None) -> None:
        """Keep weights, commit the epoch and stop early, in this order."""
        history, rows = self.history, self.history.of_phase()
        best = best_of(rows, self.recipe.monitor)
        if best is rows[-1] or (self.recipe.keep == "last" and may_be_kept(rows[-1])):
            history.kept = int(rows[-1]["epoch"])
            save_weights(self.network, self.folder / kept_file(history.kept))
        State(history.phase, history.rows, history.kept).write(self.folder)
        if stalled(rows, self.recipe):
            self.model.stop_training = True


#: Result of a finished fold of a cross-validation, in its folder.
FOLD_FILE = "fold.json"
