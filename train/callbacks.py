"""What happens between steps and epochs: a bar on a terminal, a line per epoch elsewhere, the history file."""

import csv
import sys
import time
from pathlib import Path
from typing import Any

import keras
from tqdm import tqdm

from fracture_edge.files import atomic_path

COLUMNS = (
    "epoch", "phase", "learning_rate", "loss", "accuracy", "auroc",
    "val_loss", "val_accuracy", "val_auroc", "seconds",
)  # fmt: skip


class History(keras.callbacks.Callback):
    """Collects one row per epoch over all phases and keeps `path` current, whole at every moment."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.path = path
        self.rows: list[dict[str, Any]] = []
        self.phase = 0
        self._started = 0.0

    def on_epoch_begin(self, epoch: int, logs: dict[str, float] | None = None) -> None:
        """Start the clock."""
        self._started = time.monotonic()

    def on_epoch_end(self, epoch: int, logs: dict[str, float] | None = None) -> None:
        """Add the row and write the file."""
        values = {name: float(value) for name, value in (logs or {}).items()}
        row: dict[str, Any] = {"epoch": len(self.rows) + 1, "phase": self.phase + 1}
        row["learning_rate"] = float(self.model.optimizer.learning_rate)
        row["seconds"] = round(time.monotonic() - self._started, 1)
        row |= {name: round(values[name], 6) for name in COLUMNS if name in values}
        self.rows.append(row)
        with atomic_path(self.path) as temporary, temporary.open("w", newline="", encoding="utf-8") as stream:
            writer = csv.DictWriter(stream, COLUMNS, restval="")
            writer.writeheader()
            writer.writerows(self.rows)

    def best(self, monitor: str) -> dict[str, Any]:
        """The row with the greatest ``val_auroc`` or the smallest ``val_loss``; the earliest of equals."""
        rows = [row for row in self.rows if row["phase"] == self.phase + 1]
        return max(rows, key=lambda row: row[monitor] if monitor == "val_auroc" else -row[monitor])


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
        row = self.history.rows[-1]
        print(
            f"epoch {row['epoch']}/{self.epochs}  loss {row['loss']:.4f}  auroc {row['auroc']:.4f}  "
            f"val_loss {row['val_loss']:.4f}  val_auroc {row['val_auroc']:.4f}  "
            f"lr {row['learning_rate']:.1e}  {row['seconds']:.0f} s",
            file=sys.stderr,
            flush=True,
        )
